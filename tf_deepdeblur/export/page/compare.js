// The slider between the blurry and the restored photo, for mouse, touch and keyboard, and the view of single pixels.

const KEYS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };

export class Comparison {
  /** @param {HTMLElement} stage holds #pictures with #after, #before and #handle */
  constructor(stage) {
    this.stage = stage;
    [this.pictures, this.after, this.before, this.handle] = ["pictures", "after", "before", "handle"].map((id) =>
      stage.querySelector(`#${id}`),
    );
    this.handle.addEventListener("keydown", (event) => this.#press(event));
    stage.addEventListener("pointerdown", (event) => this.#grab(event));
  }

  /** Shows a photo, and what has become of it if that is known already. */
  show(blurry, restored) {
    this.before.src = blurry;
    this.after.hidden = this.handle.hidden = !restored;
    this.stage.classList.toggle("compared", Boolean(restored));
    if (restored) this.after.src = restored;
    else this.after.removeAttribute("src");
    this.#zoom(false);
    this.#split(50);
  }

  /** Switches between the whole photo and one point of the screen for each pixel; returns whether it is the latter. */
  async toggleActual() {
    await this.after.decode();
    return this.#zoom(!this.stage.classList.contains("actual"));
  }

  #zoom(actual) {
    this.stage.classList.toggle("actual", actual);
    this.stage.classList.toggle("fit", !actual);
    this.after.style.width = actual ? `${this.after.naturalWidth / devicePixelRatio}px` : "";
    if (actual) {
      this.stage.scrollLeft = (this.stage.scrollWidth - this.stage.clientWidth) / 2;
      this.stage.scrollTop = (this.stage.scrollHeight - this.stage.clientHeight) / 2;
    }
    return actual;
  }

  #split(percent) {
    this.percent = Math.min(100, Math.max(0, percent));
    this.pictures.style.setProperty("--split", `${this.percent}%`);
    const shown = Math.round(this.percent);
    this.handle.setAttribute("aria-valuenow", shown);
    this.handle.setAttribute("aria-valuetext", `${shown} % blurry, ${100 - shown} % restored`);
  }

  #press(event) {
    if (!(event.key in KEYS)) return;
    event.preventDefault();
    this.#split(this.percent + KEYS[event.key]);
  }

  /** The handle, and anything on a whole photo, moves the slider; elsewhere a mouse moves the enlarged photo. */
  #grab(event) {
    const isHandle = this.handle.contains(event.target);
    const isActual = this.stage.classList.contains("actual");
    if (this.handle.hidden || event.button !== 0 || (isActual && !isHandle && event.pointerType !== "mouse")) return;
    const slides = isHandle || !isActual;
    const { left, width } = this.pictures.getBoundingClientRect();
    const [scrollLeft, scrollTop] = [this.stage.scrollLeft, this.stage.scrollTop];
    const move = ({ clientX, clientY }) => {
      if (slides) this.#split(((clientX - left) / width) * 100);
      else this.stage.scrollTo(scrollLeft + event.clientX - clientX, scrollTop + event.clientY - clientY);
    };
    event.preventDefault(); // no selection of text
    this.stage.setPointerCapture(event.pointerId);
    if (slides) {
      this.handle.focus({ preventScroll: true });
      move(event);
    }
    this.stage.addEventListener("pointermove", move);
    const release = () => this.stage.removeEventListener("pointermove", move);
    for (const type of ["pointerup", "pointercancel"]) this.stage.addEventListener(type, release, { once: true });
  }
}
