// "Copy" buttons of answers, messages and code blocks.
import { setText } from "./dom.js";
import { t } from "./page-data.js";

async function writeClipboard(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // The Clipboard API needs a secure context: plain http in a local network has none.
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Handle the copy buttons in `area`; `textFor(button)` returns the text of a message. */
export function attachCopy(area, textFor) {
  area.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const code = button.closest(".code-block")?.querySelector("code");
    await writeClipboard(code ? code.textContent.replace(/\n$/, "") : textFor(button));
    const label = button.querySelector("span");
    setText(label, t("copied"));
    setTimeout(() => setText(label, t("copy")), 1600);
  });
}
