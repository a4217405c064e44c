// A picture that can be looked at closely: wheel, pinch and keys zoom, dragging moves.

import { make } from "./ui.js";

const LARGEST = 16;

export class Zoom {
  #scale = 1;
  #x = 0;
  #y = 0;
  #held = new Map();

  constructor() {
    this.picture = make("img", { draggable: false });
    this.element = make("div", { class: "zoom" }, this.picture);
    this.element.addEventListener("wheel", (event) => { event.preventDefault(); this.by(Math.exp(-event.deltaY / 400), event); }, { passive: false });
    this.element.addEventListener("dblclick", (event) => (this.#scale > 1 ? this.fit() : this.by(3, event)));
    this.element.addEventListener("pointerdown", (event) => { this.element.setPointerCapture(event.pointerId); this.#held.set(event.pointerId, event); });
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
