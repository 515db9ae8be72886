// The page follows growing text only while its reader is at the end.
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

  // Growing text never moves the view upwards: going up is the reader's doing.
  #noticed() {
    const { scrollTop, scrollHeight, clientHeight } = this.#area;
    // A box below that gives room back moves the view by itself: `settle` is about to come.
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

  /** After contents grew or shrank. */
  settle() {
    if (this.#following) this.#area.scrollTop = this.#area.scrollHeight;
    this.#measure();
  }

  toEnd() {
    this.#following = true;
    this.settle();
  }

  /** An empty chat is read from its beginning. */
  toStart() {
    this.#following = false;
    this.#area.scrollTop = 0;
    this.#measure();
  }

  /** Run `change`, which adds contents above, and keep what is read in place. */
  keepPlace(change) {
    const before = this.#area.scrollHeight - this.#area.scrollTop;
    change();
    this.#area.scrollTop = this.#area.scrollHeight - before;
    this.#measure();
  }
}
