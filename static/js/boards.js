// The row of boards above the gallery: one is looked at, made, renamed, deleted; chosen cards are dropped on any.

import { api } from "./api.js";
import { announce, attempt, button, dialog, make, notify, t } from "./ui.js";

const NAME_LENGTH = 100;

export class Boards extends EventTarget {
  #last = Promise.resolve();

  /** The board that is looked at; "" for the whole history. */
  current = "";

  names = [];

  constructor(changed) {
    super();
    this.changed = changed;
    this.chips = make("div", { class: "board-chips", role: "group", "aria-label": t("boards.title") });
    this.rename = button(t("boards.rename"), { text: true, onclick: () => this.askName(this.current, (to) => this.renamed(to)) });
    this.remove = button(t("boards.delete"), { text: true, kind: "danger", onclick: () => this.deleted() });
    this.element = make("div", { class: "boards" }, this.chips, button(t("boards.new"), { icon: "plus", text: true, onclick: () => this.askName("", (name) => this.made(name)) }),
      this.rename, this.remove);
    this.#draw([]);
  }

  async refresh() {
    const answer = await api.boards().catch(() => null);
    if (answer) this.#draw(answer.boards);
  }

  /** Changes go one after another: a board that is being renamed is deleted by its new name. */
  #next(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // what failed is told of where it was asked for
    return done;
  }

  /** Put the chosen tasks on a board. */
  put(board, selection, { take = false } = {}) {
    return this.#next(async () => {
      const answer = await attempt(() => api.changeBoard(board, { [take ? "remove" : "add"]: selection.tasks }));
      if (!answer) return;
      notify(t(take ? "boards.taken" : "boards.put", { count: selection.tasks.length, board }));
      this.#draw(answer.boards);
      if (take) selection.clear();
      if (this.current) this.changed();
    });
  }

  /** Ask for a name, then call `done` with it. */
  askName(value, done) {
    const input = make("input", { type: "text", value, maxlength: NAME_LENGTH, required: true, "aria-label": t("boards.name") });
    const form = make("form", { class: "stack", onsubmit: (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return;
      box.close();
      if (name !== value) done(name);
    } }, input, make("button", { class: "primary" }, t("save")));
    const box = dialog(value ? t("boards.rename") : t("boards.new"), form);
    input.select();
  }

  made(name, then) {
    return this.#next(async () => {
      const answer = await attempt(() => api.changeBoard(name));
      if (!answer) return;
      this.#draw(answer.boards);
    }).then(() => this.names.includes(name) && then?.(name));
  }

  renamed(to) {
    return this.#next(async () => {
      const answer = await attempt(() => api.renameBoard(this.current, to));
      if (!answer) return;
      this.current = to;
      this.#draw(answer.boards);
    });
  }

  deleted() {
    return this.#next(async () => {
      const answer = await attempt(() => api.deleteBoard(this.current));
      if (!answer) return;
      notify(t("boards.deleted", { board: this.current }));
      this.#draw(answer.boards);
    });
  }

  look(board) {
    this.current = board;
    announce(board || t("boards.all"));
    for (const chip of this.chips.children) chip.setAttribute("aria-pressed", chip.value === board);
    this.#offer();
    this.changed();
  }

  #draw(boards) {
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.value : null;
    this.names = boards.map((board) => board.name);
    const gone = this.current && !this.names.includes(this.current);
    if (gone) this.current = "";
    const chip = (value, ...words) => make("button", { type: "button", class: "board-chip", value, "data-board": value || false, "aria-pressed": value === this.current, onclick: () => this.look(value) }, ...words);
    this.chips.replaceChildren(chip("", t("boards.all")), ...boards.map(({ name, tasks }) => chip(name, name, make("span", { class: "muted" }, ` ${tasks}`))));
    if (focused !== null) [...this.chips.children].find((each) => each.value === focused)?.focus();
    this.#offer();
    this.dispatchEvent(new Event("change"));
    if (gone) this.changed();
  }

  #offer() {
    this.rename.hidden = !this.current;
    this.remove.hidden = !this.current;
  }
}
