// "Copy" under answers and messages and in the head of code.
import { setText } from "./dom.js";
import { t } from "./page-data.js";

async function write(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Plain http in a local network has no clipboard interface.
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Serve every copy button in `area`; `textFor(button)` gives the text of answers and messages. */
export function attachCopy(area, textFor) {
  area.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const code = button.closest(".code-block")?.querySelector("code");
    await write(code ? code.textContent.replace(/\n$/, "") : textFor(button));
    const label = button.querySelector("span");
    setText(label, t("copied"));
    setTimeout(() => setText(label, t("copy")), 1600);
  });
}
