// Source panel: the cited passage, beside the chat or, on phones, as a sheet over it.
import { getContentUrl } from "./files.js";
import { get } from "./http.js";
import { data, t } from "./page-data.js";
import { renderPassage } from "./passage.js";

const panel = document.getElementById("source");
const title = document.getElementById("source-title");
const page = document.getElementById("source-page");
const note = document.getElementById("source-note");
const text = document.getElementById("source-text");
const save = document.getElementById("source-save");
const narrow = matchMedia("(max-width: 53.99rem)");

let opener = null;
let turn = 0;

function showPassage(passage, { message = null } = {}) {
  text.hidden = !passage.quote;
  text.replaceChildren(...renderPassage(passage));
  note.hidden = message === null;
  note.textContent = message ?? "";
  if (passage.quote) text.querySelector("mark").scrollIntoView({ block: "center" });
}

async function loadSource(citation) {
  const request = ++turn;
  const { file_id: id, store_file: store, start, end, quote } = citation;
  title.textContent = citation.file_name;
  page.textContent = citation.page ? t("page_number", { page: citation.page }) : "";
  save.href = getContentUrl(id);
  save.hidden = false;
  showPassage({ quote: quote ?? "" });
  const place = new URLSearchParams({ ...(store && { store_file: store }), start, end });
  try {
    const passage = await get(`${data.urls.files}/${id}/passage?${place}`);
    if (request !== turn) return;
    if (quote && passage.quote !== quote) showPassage({ quote }, { message: t("source_changed") });
    else showPassage(passage);
  } catch (error) {
    if (request !== turn) return;
    const gone = error.status === 404;
    save.hidden = gone;
    showPassage({ quote: quote ?? "" }, { message: t(gone ? "source_gone" : "source_unreachable") });
  }
}

// Open the source of `citation`; the focus returns to `from` on close.
function openSource(citation, from) {
  opener = from;
  if (!panel.open) {
    document.body.classList.add("source-open");
    if (narrow.matches) panel.showModal();
    else panel.show();
  }
  loadSource(citation);
  title.focus();
}

export function closeSource() {
  if (panel.open) panel.close();
}

panel.querySelector("[data-close]").addEventListener("click", closeSource);
panel.addEventListener("click", (event) => event.target === panel && closeSource());
panel.addEventListener("close", () => {
  turn += 1;
  document.body.classList.remove("source-open");
  const back = opener?.isConnected ? opener : document.getElementById("transcript");
  opener = null;
  back.focus({ preventScroll: true });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !panel.open || document.querySelector("dialog:modal")) return;
  event.preventDefault();
  closeSource();
});

/** Open sources on click on citation buttons in `area`. */
export function attachSources(area) {
  area.addEventListener("click", (event) => {
    const button = event.target.closest("[data-source]");
    if (button?.citation) openSource(button.citation, button);
  });
}
