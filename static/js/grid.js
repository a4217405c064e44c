// A grid of any length of which only what is seen exists: cells are made as they come into view, cards are
// fetched by pages as they are needed, and the oldest pages are forgotten.

import { thumbnailUrl } from "./api.js";
import { icon, make, t } from "./ui.js";

const PAGE = 60;
const PAGES_KEPT = 20;
const GAP_PX = 10;
const ROWS_AROUND = 2;
const MOSAIC = 4;
const MOST_CHOSEN = 2000;

/** Events: "total" (detail: how many there are). Cards are asked for with `ask(offset, limit, signal)`. */
export class CardGrid extends EventTarget {
  #pages = new Map();
  #asked = new Map();
  #loads = new Map();
  #cells = new Map();
  #generation = 0;
  #columns = 1;
  #wanted;
  #side = 1;

  total = 0;
  focused = 0;

  /** `open(index)` shows a card; `selection` holds the chosen ones; `size` is the least width of a cell in pixels. */
  constructor({ ask, open, selection, size }) {
    super();
    Object.assign(this, { ask, open, selection });
    this.#wanted = size;
    this.#side = size;
    this.space = make("div", { class: "space", role: "list", "aria-label": t("gallery.pictures") });
    this.nothing = make("p", { class: "nothing-here", hidden: true }, t("gallery.nothing"));
    this.element = make("div", { class: "grid-scroll", tabindex: -1 }, this.space, this.nothing);
    this.element.addEventListener("scroll", () => this.#soon(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    selection.addEventListener("change", () => this.#showChosen());
    new ResizeObserver(() => this.#measure()).observe(this.element);
  }

  /** Forget every card and ask again; with `keep`, what is shown stays until the answer is there. */
  async reload({ keep = false } = {}) {
    this.#generation += 1;
    for (const controller of this.#asked.values()) controller.abort();
    this.#asked.clear();
    this.#loads.clear();
    const first = keep ? Math.floor(this.#firstSeen() / PAGE) : 0;
    if (!keep) this.element.scrollTop = 0;
    const generation = this.#generation;
    const answer = await this.#ask(first);
    if (!answer || generation !== this.#generation) return;
    this.#pages = new Map([[first, answer.items]]);
    const hadFocus = this.space.contains(document.activeElement);
    this.#setTotal(answer.total);
    for (const cell of this.#cells.values()) cell.element.remove();
    this.#cells.clear();
    this.#draw();
    if (hadFocus) this.#cells.get(this.focused)?.open.focus({ preventScroll: true });
  }

  /** The card at a place, fetched if need be; undefined beyond the end. */
  async at(index) {
    if (index < 0 || index >= this.total) return undefined;
    const page = Math.floor(index / PAGE);
    if (!this.#pages.has(page)) await this.#load(page);
    return this.#pages.get(page)?.[index % PAGE];
  }

  /** The card at a place if it has been fetched. */
  loaded(index) {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Places of the cells that a box in the space touches. */
  within({ left, top, right, bottom }) {
    const step = this.#side + GAP_PX;
    const found = [];
    for (let row = Math.max(0, Math.floor((top + GAP_PX) / step)); row * step < bottom; row += 1) {
      for (let column = Math.max(0, Math.floor((left + GAP_PX) / step)); column < this.#columns && column * step < right; column += 1) {
        const index = row * this.#columns + column;
        if (index < this.total) found.push(index);
      }
    }
    return found;
  }

  /** Cells of another size; the first one in view stays in view. */
  resize(size) {
    const first = this.#firstSeen();
    this.#wanted = size;
    this.#measure();
    this.element.scrollTop = Math.floor(first / this.#columns) * (this.#side + GAP_PX);
  }

  /** Choose the cards between two places, fetched if need be. */
  async chooseRange(from, to) {
    const [first, last] = [Math.min(from, to), Math.min(Math.max(from, to), Math.min(from, to) + MOST_CHOSEN - 1)];
    const cards = await Promise.all(Array.from({ length: last - first + 1 }, (_, at) => this.at(first + at)));
    this.selection.add(cards);
  }

  get length() {
    return this.total;
  }

  /** Bring a place into view and give it the focus. */
  focus(index) {
    this.focused = Math.max(0, Math.min(this.total - 1, index));
    const top = Math.floor(this.focused / this.#columns) * (this.#side + GAP_PX);
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#side > scrollTop + clientHeight) this.element.scrollTop = top + this.#side - clientHeight;
    this.#draw();
    this.#cells.get(this.focused)?.open.focus({ preventScroll: true });
  }

  #setTotal(total) {
    this.total = total;
    this.focused = Math.min(this.focused, Math.max(0, total - 1));
    this.nothing.hidden = total > 0;
    this.#measure();
    this.dispatchEvent(new CustomEvent("total", { detail: total }));
  }

  #measure() {
    const width = this.space.clientWidth;
    if (!width) return;
    this.#columns = Math.max(2, Math.floor((width + GAP_PX) / (this.#wanted + GAP_PX)));
    this.#side = (width - GAP_PX * (this.#columns - 1)) / this.#columns;
    this.space.style.height = `${Math.ceil(this.total / this.#columns) * (this.#side + GAP_PX)}px`;
    for (const [index, cell] of this.#cells) this.#place(cell.element, index);
    this.#draw();
  }

  #firstSeen() {
    return Math.floor(this.element.scrollTop / (this.#side + GAP_PX)) * this.#columns;
  }

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #waiting = false;

  #draw() {
    const rows = Math.ceil(this.element.clientHeight / (this.#side + GAP_PX));
    const from = Math.max(0, this.#firstSeen() - ROWS_AROUND * this.#columns);
    const to = Math.min(this.total, this.#firstSeen() + (rows + 1 + ROWS_AROUND) * this.#columns);
    for (const [index, cell] of this.#cells) {
      if ((index < from || index >= to) && !cell.element.contains(document.activeElement)) {
        cell.element.remove();
        this.#cells.delete(index);
      }
    }
    for (let index = from; index < to; index += 1) this.#show(index);
    for (let page = Math.floor(from / PAGE); page * PAGE < to; page += 1) this.#load(page);
  }

  #show(index) {
    const card = this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
    const known = this.#cells.get(index);
    if (known && (known.card || !card)) {
      known.open.tabIndex = index === this.focused ? 0 : -1;
      return;
    }
    const made = card ? this.#cell(card, index) : this.#blank(index);
    this.#place(made.element, index);
    const hadFocus = known?.element.contains(document.activeElement);
    if (known) known.element.replaceWith(made.element);
    else this.#insert(made.element, index);
    this.#cells.set(index, made);
    if (hadFocus) made.open.focus({ preventScroll: true });
  }

  /** In the order of the cards, so that reading and tabbing go the way it looks. */
  #insert(element, index) {
    const after = [...this.space.children].find((other) => Number(other.dataset.index) > index);
    this.space.insertBefore(element, after ?? null);
  }

  #place(element, index) {
    const { style } = element;
    element.dataset.index = index;
    style.width = `${this.#side}px`;
    style.height = `${this.#side}px`;
    style.transform = `translate(${(index % this.#columns) * (this.#side + GAP_PX)}px, ${Math.floor(index / this.#columns) * (this.#side + GAP_PX)}px)`;
  }

  #blank(index) {
    const open = make("span", { tabindex: index === this.focused ? 0 : -1, "aria-label": t("loading"), role: "img" });
    return { element: make("div", { class: "cell blank", role: "listitem" }, open), open, card: null };
  }

  #cell(card, index) {
    const name = card.prompt || t("no_prompt");
    const pictures = card.images.slice(0, MOSAIC).map((url) => make("img", { src: thumbnailUrl(url), alt: "", loading: "lazy", decoding: "async" }));
    const inside = pictures.length ? make("div", { class: `mosaic n${pictures.length}` }, pictures)
      : make("div", { class: "mosaic none" }, icon(card.status === "failed" ? "close" : "stop"));
    const failed = card.status === "finished" ? "" : `${t(`status.${card.status}`)}: `;
    const open = make("button", {
      type: "button", class: "open", "aria-label": `${failed}${name}`, tabindex: index === this.focused ? 0 : -1, draggable: false,
      onclick: (event) => this.#click(event, card, index),
    }, inside, make("span", { class: "caption" }, name));
    const marks = [card.favourite && make("span", { class: "mark star" }, icon("star")),
      card.images.length > 1 && make("span", { class: "mark count" }, `×${card.images.length}`),
      card.status !== "finished" && make("span", { class: `mark tag ${card.status}` }, t(`status.${card.status}`))];
    const element = make("div", { class: "cell", role: "listitem" }, open, make("div", { class: "marks", "aria-hidden": "true" }, marks));
    const cell = { element, open, card };
    markChosen(cell, this.selection);
    return cell;
  }

  #showChosen() {
    for (const cell of this.#cells.values()) if (cell.card) markChosen(cell, this.selection);
  }

  /** Ctrl chooses one more, Shift all from the last one on; in `choosing` a plain click does as Ctrl does. */
  #click(event, card, index) {
    this.focused = index;
    if (event.shiftKey && this.selection.anchor >= 0) this.chooseRange(this.selection.anchor, index);
    else if (event.ctrlKey || event.metaKey || event.shiftKey || this.choosing) this.selection.toggle(card);
    else {
      this.open(index);
      return;
    }
    this.selection.anchor = index;
  }

  /** Fetch a page; who asks for one that is on its way waits for the same answer. */
  async #load(page) {
    if (this.#pages.has(page)) return;
    if (!this.#loads.has(page) && !this.#asked.has(page)) {
      const load = this.#bring(page).finally(() => { if (this.#loads.get(page) === load) this.#loads.delete(page); });
      this.#loads.set(page, load);
    }
    await this.#loads.get(page);
  }

  async #bring(page) {
    const generation = this.#generation;
    const answer = await this.#ask(page);
    if (!answer || generation !== this.#generation) return;
    this.#pages.set(page, answer.items);
    for (const old of this.#pages.keys()) {
      if (this.#pages.size <= PAGES_KEPT) break;
      if (old !== page) this.#pages.delete(old);
    }
    if (answer.total !== this.total) this.#setTotal(answer.total);
    this.#draw();
  }

  async #ask(page) {
    const controller = new AbortController();
    this.#asked.set(page, controller);
    try {
      return await this.ask(page * PAGE, PAGE, controller.signal);
    } catch {
      return null; // given up for a newer question, or the server is away: the next look asks again
    } finally {
      if (this.#asked.get(page) === controller) this.#asked.delete(page);
    }
  }

  #key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "a" && this.total) {
      event.preventDefault();
      this.chooseRange(0, this.total - 1);
      return;
    }
    const rows = Math.max(1, Math.floor(this.element.clientHeight / (this.#side + GAP_PX)));
    const step = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns,
      PageUp: -rows * this.#columns, PageDown: rows * this.#columns, Home: -this.total, End: this.total,
    }[event.key];
    if (!step || !event.target.closest(".cell")) return;
    event.preventDefault();
    if (event.shiftKey && this.selection.anchor < 0) this.selection.anchor = this.focused;
    this.focus(this.focused + step);
    if (event.shiftKey) this.chooseRange(this.selection.anchor, this.focused);
  }
}

function markChosen({ element, open, card }, selection) {
  const chosen = selection.has(card);
  element.classList.toggle("chosen", chosen);
  if (chosen) open.setAttribute("aria-pressed", "true");
  else open.removeAttribute("aria-pressed");
}
