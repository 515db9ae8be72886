// Images of a chat: thumbnails in messages, and a dialog with the full size and a download link.
import { el, icon } from "./dom.js";
import { getContentUrl, getFacts, getImageUrl } from "./files.js";
import { t } from "./page-data.js";

const dialog = document.getElementById("picture");
const large = document.getElementById("picture-large");
const title = document.getElementById("picture-title");
const save = document.getElementById("picture-save");

function openPicture(id, name) {
  title.textContent = name;
  large.src = getImageUrl(id);
  large.alt = name;
  // SVG scales without loss.
  large.classList.toggle("drawing", name.toLowerCase().endsWith(".svg"));
  save.href = getContentUrl(id);
  dialog.showModal();
}

dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
// A click on the backdrop closes the dialog.
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => large.removeAttribute("src"));

/** View of one image; `small` for attachments of the user. */
export class PictureView {
  constructor(id, { small = false } = {}) {
    this.id = id;
    this.image = el("img", { src: getImageUrl(id), alt: "", decoding: "async" });
    this.open = el("button", { type: "button", class: "picture-open", on: { click: () => openPicture(id, this.name) } },
      this.image);
    this.node = el("div", { class: small ? "picture small" : "picture" }, this.open);
    this.name = "";
  }

  update() {
    const facts = getFacts(this.id);
    if (facts === null) {
      this.#showDeleted();
      return;
    }
    this.name = facts?.name ?? t("picture");
    if (this.image.alt !== this.name) this.image.alt = this.name;
    this.open.title = t("enlarge");
  }

  #showDeleted() {
    this.node.replaceChildren(el("p", { class: "file-chip gone" }, icon("picture"), t("picture_gone")));
  }
}
