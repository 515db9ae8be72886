// The page follows growing text only while its reader is at the end.
const NEAR = 56;

export class Follow {
  #area;
  #jump;
  #following = true;
  #height = 0;

  constructor(area, content, jump) {
    this.#area = area;
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

  // Growth also moves the end away: only the reader's own scrolling changes the mind.
  #noticed() {
    if (this.#area.scrollHeight === this.#height) this.#following = this.#distance < NEAR;
    this.#height = this.#area.scrollHeight;
    this.#jump.hidden = this.#distance < NEAR * 2;
  }

  /** After contents grew or shrank. */
  settle() {
    if (this.#following) this.#area.scrollTop = this.#area.scrollHeight;
    this.#height = this.#area.scrollHeight;
    this.#jump.hidden = this.#distance < NEAR * 2;
  }

  toEnd() {
    this.#following = true;
    this.settle();
  }

  /** Run `change`, which adds contents above, and keep what is read in place. */
  keepPlace(change) {
    const before = this.#area.scrollHeight - this.#area.scrollTop;
    change();
    this.#area.scrollTop = this.#area.scrollHeight - before;
    this.#height = this.#area.scrollHeight;
  }
}
