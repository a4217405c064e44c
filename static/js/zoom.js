// A picture that can be looked at closely: wheel, pinch and keys zoom, dragging moves.

import { make } from "./ui.js";

const LARGEST = 16;
const SWIPE_PX = 60;

export class Zoom {
  #scale = 1;
  #x = 0;
  #y = 0;
  #held = new Map();
  #start = null;

  /** `onswipe` hears 1 or -1: a swipe to the left or to the right over the whole picture. */
  constructor(onswipe) {
    this.picture = make("img", { draggable: false });
    this.element = make("div", { class: "zoom" }, this.picture);
    this.element.addEventListener("wheel", (event) => { event.preventDefault(); this.by(Math.exp(-event.deltaY / 400), event); }, { passive: false });
    this.element.addEventListener("dblclick", (event) => (this.#scale > 1 ? this.fit() : this.by(3, event)));
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      this.#held.set(event.pointerId, event);
      this.#start = this.#held.size === 1 && this.#scale === 1 ? event : null;
    });
    this.element.addEventListener("pointerup", (event) => {
      const [across, down] = this.#start ? [event.clientX - this.#start.clientX, event.clientY - this.#start.clientY] : [0, 0];
      if (Math.abs(across) > SWIPE_PX && Math.abs(down) < SWIPE_PX) onswipe(across < 0 ? 1 : -1);
    });
    this.element.addEventListener("pointermove", (event) => this.#move(event));
    this.element.addEventListener("lostpointercapture", (event) => this.#held.delete(event.pointerId));
  }

  get scale() {
    return this.#scale;
  }

  show(source, name) {
    this.picture.hidden = !source;
    if (source) this.picture.src = source;
    this.picture.alt = name;
    this.fit();
  }

  fit() {
    [this.#scale, this.#x, this.#y] = [1, 0, 0];
    this.#apply();
  }

  /** Zoom by a factor; what is under the pointer stays there. */
  by(factor, at) {
    const scale = Math.max(1, Math.min(LARGEST, this.#scale * factor));
    const box = this.element.getBoundingClientRect();
    const [x, y] = at ? [at.clientX - box.left - box.width / 2, at.clientY - box.top - box.height / 2] : [0, 0];
    const real = scale / this.#scale;
    this.#x = scale === 1 ? 0 : x - (x - this.#x) * real;
    this.#y = scale === 1 ? 0 : y - (y - this.#y) * real;
    this.#scale = scale;
    this.#apply();
  }

  #move(event) {
    const before = this.#held.get(event.pointerId);
    if (!before) return;
    const others = [...this.#held.values()].filter((one) => one.pointerId !== event.pointerId);
    if (others.length) {
      const [other] = others;
      const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      this.by(distance(event) / distance(before), { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 });
    } else if (this.#scale > 1) {
      this.#x += event.clientX - before.clientX;
      this.#y += event.clientY - before.clientY;
      this.#apply();
    }
    this.#held.set(event.pointerId, event);
  }

  #apply() {
    this.picture.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
  }
}
