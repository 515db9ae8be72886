// Chat list: newest first, grouped by day, paginated; open, rename, delete with undo.
import { getDayGroup } from "./days.js";
import { askTitle } from "./dialogs.js";
import { arrange, el, icon, setText } from "./dom.js";
import { get, post } from "./http.js";
import { attachMenu } from "./menu.js";
import { data, t } from "./page-data.js";
import { getErrorMessage } from "./problems.js";
import { showToast } from "./toast.js";

const place = document.getElementById("threads");
const more = document.getElementById("more-threads");
const none = document.getElementById("no-threads");

export const getTitle = (thread) => thread?.atrium.title || t("new_chat");

export class ThreadList {
  #threads = new Map();
  #rows = new Map();
  #groups = new Map();
  #current = null;
  #hasMore = false;
  #last = null; // id of the last chat in the server's order, which is finer than seconds
  #open;
  #onRemoved;
  #onRenamed;

  constructor({ open, onRemoved, onRenamed }) {
    this.#open = open;
    this.#onRemoved = onRemoved;
    this.#onRenamed = onRenamed;
    this.#addPage(data.threads);
    more.addEventListener("click", () => this.#loadMore());
    new IntersectionObserver((seen) => seen[0].isIntersecting && this.#loadMore(), {
      root: place.parentElement, rootMargin: "0px 0px 200px 0px",
    }).observe(more);
  }

  /** Insert or update a chat. */
  put(thread) {
    const known = this.#threads.get(thread.id);
    if (known) this.#threads.set(thread.id, thread);
    else this.#threads = new Map([[thread.id, thread], ...this.#threads]);
    this.#draw();
  }

  remove(id) {
    const at = this.#listOrdered().findIndex((thread) => thread.id === id);
    const focused = this.#rows.get(id)?.contains(document.activeElement);
    this.#threads.delete(id);
    this.#rows.delete(id);
    if (id === this.#last) this.#last = this.#listOrdered().at(-1)?.id ?? null;
    this.#draw();
    if (focused) this.#focusNear(at);
  }

  // Move the focus from a removed row to the one in its place.
  #focusNear(at) {
    const rest = this.#listOrdered();
    const near = rest[Math.min(at, rest.length - 1)];
    (near ? this.#rows.get(near.id).firstElementChild : document.getElementById("new-chat")).focus();
  }

  select(id) {
    this.#current = id;
    this.#draw();
  }

  async rename(thread) {
    const title = await askTitle(getTitle(thread));
    if (title === null || title === getTitle(thread)) return;
    try {
      const renamed = await post(`${data.urls.threads}/${thread.id}/rename`, { title });
      this.put(renamed);
      this.#onRenamed(renamed);
    } catch (error) {
      showToast(getErrorMessage(error, "not_done"));
    }
  }

  async delete(thread) {
    try {
      await post(`${data.urls.threads}/${thread.id}/delete`);
    } catch (error) {
      showToast(getErrorMessage(error, "not_done"));
      return;
    }
    this.remove(thread.id);
    this.#onRemoved(thread);
    showToast(t("deleted", { title: getTitle(thread) }), { label: t("undo"), run: () => this.#restore(thread) });
  }

  async #restore(thread) {
    try {
      const restored = await post(`${data.urls.threads}/${thread.id}/restore`);
      this.put(restored);
      this.#open(restored.id);
    } catch (error) {
      showToast(getErrorMessage(error, "not_done"));
    }
  }

  #addPage(page) {
    for (const thread of page.data) this.#threads.set(thread.id, thread);
    this.#last = page.data.at(-1)?.id ?? this.#last;
    this.#hasMore = page.has_more;
    this.#draw();
  }

  async #loadMore() {
    if (!this.#hasMore || more.disabled || this.#last === null) return;
    more.disabled = true;
    try {
      const after = encodeURIComponent(this.#last);
      this.#addPage(await get(`${data.urls.threads}?after=${after}`));
    } catch {
      // The button stays as a way to retry.
    } finally {
      more.disabled = false;
    }
  }

  // The sort is stable: chats of the same second keep their order.
  #listOrdered() {
    return [...this.#threads.values()].sort((a, b) => b.atrium.updated_at - a.atrium.updated_at);
  }

  #draw() {
    const groups = new Map();
    for (const thread of this.#listOrdered()) {
      const name = getDayGroup(thread.atrium.updated_at);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(this.#updateRow(thread));
    }
    arrange(place, [...groups].map(([name, rows]) => this.#updateGroup(name, rows)));
    none.hidden = this.#threads.size > 0;
    more.hidden = !this.#hasMore;
  }

  #updateGroup(name, rows) {
    let group = this.#groups.get(name);
    if (!group) {
      group = el("section", { class: "day" }, el("h2", {}, name), el("ul", {}));
      this.#groups.set(name, group);
    }
    arrange(group.lastElementChild, rows);
    return group;
  }

  #updateRow(thread) {
    const row = this.#rows.get(thread.id) ?? this.#createRow(thread.id);
    const link = row.firstElementChild;
    setText(link, getTitle(thread));
    link.title = getTitle(thread);
    row.querySelector(".row-menu-button").setAttribute("aria-label", t("chat_actions", { title: getTitle(thread) }));
    if (thread.id === this.#current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    return row;
  }

  #createRow(id) {
    const link = el("a", { href: `${data.urls.chat}${id}`, on: { click: (event) => this.#handleClick(event, id) } });
    const button = el("button", { type: "button", class: "row-menu-button" }, icon("more"));
    const menu = el("div", { class: "menu row-menu", hidden: true },
      el("button", { type: "button", role: "menuitem", "data-do": "rename" }, icon("pencil"), t("rename")),
      el("button", { type: "button", role: "menuitem", "data-do": "delete", class: "risky" }, icon("bin"), t("delete")));
    const row = el("li", {}, link, button, menu);
    const control = attachMenu(button, menu);
    menu.addEventListener("click", (event) => {
      const action = event.target.closest("[data-do]")?.dataset.do;
      if (!action) return;
      control.close();
      this[action](this.#threads.get(id));
    });
    this.#rows.set(id, row);
    return row;
  }

  #handleClick(event, id) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    this.#open(id);
  }
}
