// DOM helpers.
const SVG = "http://www.w3.org/2000/svg";

/** Create an element. `on` has listeners; true sets an empty attribute, false and null omit it. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Create an icon from the page's sprite. Decorative: always next to text or an aria-label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Make `nodes` the children of `parent` in this order, moving only misplaced ones. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let previous = null;
  for (const node of nodes) {
    const place = previous === null ? parent.firstElementChild : previous.nextElementSibling;
    if (place !== node) parent.insertBefore(node, place);
    previous = node;
  }
}

/** Set text only if it differs, so that selections and screen readers are not disturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
