// Scrolls along with streaming text, but only while the user is at the end.
const NEAR = 56;

export class Follow {
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
    area.addEventListener("scroll", () => this.#noticed(), { passive: true });
    jump.addEventListener("click", () => {
      this.toEnd();
      area.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.settle()).observe(content);
    new ResizeObserver(() => this.settle()).observe(area);
  }

  get #distance() {
    return this.#area.scrollHeight - this.#area.clientHeight - this.#area.scrollTop;
  }

  // Streaming text never scrolls up: only the user does.
  #noticed() {
    const { scrollTop, scrollHeight, clientHeight } = this.#area;
    // A shrinking composer scrolls the area by itself: the resize observer calls `settle` next.
    if (clientHeight !== this.#room) return;
    if (scrollTop < this.#top - 1 && scrollHeight >= this.#height) this.#following = false;
    else if (this.#distance < NEAR) this.#following = true;
    this.#measure();
  }

  #measure() {
    this.#top = this.#area.scrollTop;
    this.#height = this.#area.scrollHeight;
    this.#room = this.#area.clientHeight;
    this.#jump.hidden = this.#distance < NEAR * 2 || !this.#content.hasChildNodes();
  }

  /** Adjust after a change of the content's or the area's size. */
  settle() {
    if (this.#following) this.#area.scrollTop = this.#area.scrollHeight;
    this.#measure();
  }

  toEnd() {
    this.#following = true;
    this.settle();
  }

  /** Show an empty chat from its start. */
  toStart() {
    this.#following = false;
    this.#area.scrollTop = 0;
    this.#measure();
  }

  /** Run `change`, which adds content above, and keep the scroll position. */
  keepPlace(change) {
    const before = this.#area.scrollHeight - this.#area.scrollTop;
    change();
    this.#area.scrollTop = this.#area.scrollHeight - before;
    this.#measure();
  }
}
