// Scrolls along with streaming text, but only while the user is at the end.
const NEAR_END = 56;

export class AutoScroll {
  #area;
  #content;
  #jump;
  #following = true;
  #height = 0;
  #top = 0;
  #room = 0;

  constructor(area, content, jump) {
    this.#area = area;
    this.#content = content;
    this.#jump = jump;
    area.addEventListener("scroll", () => this.#handleScroll(), { passive: true });
    jump.addEventListener("click", () => {
      this.scrollToEnd();
      area.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.settle()).observe(content);
    new ResizeObserver(() => this.settle()).observe(area);
  }

  get #distance() {
    return this.#area.scrollHeight - this.#area.clientHeight - this.#area.scrollTop;
  }

  // Streaming text never scrolls up: only the user does.
  #handleScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#area;
    // A shrinking composer scrolls the area by itself: the resize observer calls `settle` next.
    if (clientHeight !== this.#room) return;
    if (scrollTop < this.#top - 1 && scrollHeight >= this.#height) this.#following = false;
    else if (this.#distance < NEAR_END) this.#following = true;
    this.#measure();
  }

  #measure() {
    this.#top = this.#area.scrollTop;
    this.#height = this.#area.scrollHeight;
    this.#room = this.#area.clientHeight;
    this.#jump.hidden = this.#distance < NEAR_END * 2 || !this.#content.hasChildNodes();
  }

  /** Adjust after a change of the content's or the area's size. */
  settle() {
    if (this.#following) this.#area.scrollTop = this.#area.scrollHeight;
    this.#measure();
  }

  scrollToEnd() {
    this.#following = true;
    this.settle();
  }

  /** Show an empty chat from its start. */
  scrollToStart() {
    this.#following = false;
    this.#area.scrollTop = 0;
    this.#measure();
  }

  /** Run `change`, which adds content above, and keep the scroll position. */
  keepPosition(change) {
    const before = this.#area.scrollHeight - this.#area.scrollTop;
    change();
    this.#area.scrollTop = this.#area.scrollHeight - before;
    this.#measure();
  }
}
