// Toasts with at most one action. They stay while hovered or focused.
import { el } from "./dom.js";
import { t } from "./page-data.js";

const stack = document.getElementById("toasts");
const page = document.getElementById("transcript");
const DURATION_MS = 9000;

/** Show `text`; `action` is {label, run} or null. Returns a function that closes the toast. */
export function showToast(text, action = null) {
  let timer = null;
  let before = null;
  const close = () => {
    clearTimeout(timer);
    const focused = node.contains(document.activeElement);
    node.remove();
    if (focused) (before?.isConnected ? before : page).focus({ preventScroll: true });
  };
  const start = () => {
    timer = setTimeout(close, DURATION_MS);
  };
  const act = () => {
    close();
    action.run();
  };
  const node = el(
    "div",
    { class: "toast", on: { pointerenter: () => clearTimeout(timer), pointerleave: start } },
    el("span", {}, text),
    action && el("button", { type: "button", class: "toast-action", on: { click: act } }, action.label),
    el("button", { type: "button", class: "toast-close", "aria-label": t("close"), on: { click: close } }, "×"),
  );
  node.addEventListener("focusin", ({ relatedTarget }) => {
    clearTimeout(timer);
    if (!node.contains(relatedTarget)) before = relatedTarget;
  });
  node.addEventListener("focusout", start);
  stack.append(node);
  start();
  return close;
}
