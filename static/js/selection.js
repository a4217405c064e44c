// What is chosen in a grid of cards, and the pointer that chooses: a rubber band over cards, or chosen cards carried to a place.

import { make } from "./ui.js";

const DRAG_PX = 6;
const EDGE_PX = 40;
const SCROLL_PX = 14;

export const keyOf = (card) => `${card.task_id}#${card.picture ?? ""}`;

/** The chosen cards, which stay chosen while the grid forgets them. Events: "change". */
export class Selection extends EventTarget {
  #cards = new Map();

  /** The place from which a range reaches; -1 before the first choice. */
  anchor = -1;

  get size() {
    return this.#cards.size;
  }

  get cards() {
    return [...this.#cards.values()];
  }

  /** Ids of the tasks, each once. */
  get tasks() {
    return [...new Set(this.cards.map((card) => card.task_id))];
  }

  /** Addresses of the pictures. */
  get pictures() {
    return this.cards.flatMap((card) => card.images);
  }

  has(card) {
    return this.#cards.has(keyOf(card));
  }

  toggle(card) {
    if (!this.#cards.delete(keyOf(card))) this.#cards.set(keyOf(card), card);
    this.#changed();
  }

  add(cards) {
    for (const card of cards) if (card) this.#cards.set(keyOf(card), card);
    this.#changed();
  }

  /** Choose these and no others. */
  only(cards) {
    this.#cards.clear();
    this.add(cards);
  }

  clear() {
    if (!this.size) return;
    this.#cards.clear();
    this.anchor = -1;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Does the pointer's work in `grid`: `drop(place)` is called where chosen cards are let go over an element with data-board. */
export class Dragging {
  #from = null;
  #carried = null;
  #over = null;

  constructor(grid, selection, drop) {
    Object.assign(this, { grid, selection, drop });
    this.band = make("div", { class: "band", hidden: true });
    grid.space.append(this.band);
    grid.element.addEventListener("pointerdown", (event) => this.#begin(event));
    grid.element.addEventListener("dragstart", (event) => event.preventDefault()); // the browser's own, of a picture
    // Once something was dragged, letting go is no click.
    grid.element.addEventListener("click", (event) => { if (this.moved) { event.stopPropagation(); event.preventDefault(); this.moved = false; } }, { capture: true });
  }

  #begin(event) {
    this.moved = false;
    if (event.button !== 0 || event.pointerType === "touch" || event.offsetX > this.grid.element.clientWidth) return;
    const index = event.target.closest(".cell")?.dataset.index;
    const card = index === undefined ? undefined : this.grid.loaded(Number(index));
    this.#from = { x: event.clientX, y: event.clientY, at: this.#inSpace(event), carries: card && this.selection.has(card), kept: event.ctrlKey || event.shiftKey ? this.selection.cards : [] };
    const controller = new AbortController();
    const { signal } = controller;
    addEventListener("pointermove", (moved) => this.#move(moved), { signal });
    addEventListener("pointerup", (up) => { controller.abort(); this.#end(up); }, { signal });
    addEventListener("pointercancel", () => { controller.abort(); this.#end(null); }, { signal });
    addEventListener("keydown", (key) => { if (key.key === "Escape" && this.moved) { controller.abort(); this.#end(null); } }, { signal });
  }

  #inSpace({ clientX, clientY }) {
    const { left, top } = this.grid.space.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  #move(event) {
    if (!this.moved && Math.hypot(event.clientX - this.#from.x, event.clientY - this.#from.y) < DRAG_PX) return;
    this.moved = true;
    if (this.#from.carries) this.#carry(event);
    else this.#stretch(event);
  }

  #carry(event) {
    if (!this.#carried) {
      this.#carried = make("div", { class: "carried", "aria-hidden": "true" }, String(this.selection.size));
      document.body.append(this.#carried);
    }
    this.#carried.style.transform = `translate(${event.clientX + 12}px, ${event.clientY + 12}px)`;
    this.#mark(document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-board]"));
  }

  #mark(place) {
    if (place === this.#over) return;
    this.#over?.classList.remove("over");
    place?.classList.add("over");
    this.#over = place ?? null;
  }

  #stretch(event) {
    const { top, bottom } = this.grid.element.getBoundingClientRect();
    if (event.clientY > bottom - EDGE_PX) this.grid.element.scrollTop += SCROLL_PX;
    else if (event.clientY < top + EDGE_PX) this.grid.element.scrollTop -= SCROLL_PX;
    const { at } = this.#from;
    const to = this.#inSpace(event);
    const box = { left: Math.min(at.x, to.x), top: Math.min(at.y, to.y), right: Math.max(at.x, to.x), bottom: Math.max(at.y, to.y) };
    Object.assign(this.band.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${box.right - box.left}px`, height: `${box.bottom - box.top}px` });
    this.band.hidden = false;
    this.selection.only([...this.#from.kept, ...this.grid.within(box).map((index) => this.grid.loaded(index))]);
  }

  #end(event) {
    this.band.hidden = true;
    this.#carried?.remove();
    this.#carried = null;
    const place = event && this.#over;
    this.#mark(null);
    if (place) this.drop(place.dataset.board);
    setTimeout(() => { this.moved = false; }); // the click, if one comes, comes before
  }
}
