// What can be done with all chosen cards at once.

import { api, saveZip } from "./api.js";
import { announce, attempt, button, make, notify, t } from "./ui.js";

const AT_ONCE = 4;

export class ChosenBar {
  /** `boards` are the page's; `compare` takes two cards; `changed` is called when the server has other tasks than before. */
  constructor(selection, { boards, compare, changed }) {
    Object.assign(this, { selection, boards, changed });
    this.words = make("strong", {});
    this.comparing = button(t("viewer.compare"), { icon: "compare", text: true, onclick: () => compare(selection.cards) });
    this.board = make("select", { "aria-label": t("boards.add"), onchange: () => this.put() });
    this.take = button(t("boards.take"), { text: true, onclick: () => boards.put(boards.current, selection, { take: true }) });
    this.zip = button(t("chosen.zip"), { icon: "down", text: true, onclick: () => { saveZip(selection.pictures); notify(t("chosen.zip_begun", { count: selection.pictures.length })); } });
    this.element = make("div", { class: "chosen-bar", role: "group", "aria-label": t("chosen.title"), hidden: true }, this.words,
      button(t("viewer.favourite"), { icon: "star", text: true, onclick: () => this.mark() }), this.board, this.take, this.comparing, this.zip,
      button(t("viewer.delete"), { icon: "trash", text: true, kind: "danger", onclick: () => this.remove() }),
      button(t("chosen.none"), { icon: "close", text: false, onclick: () => selection.clear() }));
    selection.addEventListener("change", () => this.show());
    boards.addEventListener("change", () => this.show());
  }

  show() {
    const { selection, boards } = this;
    this.element.hidden = !selection.size;
    if (!selection.size) return;
    const text = t("chosen.count", { count: selection.size });
    if (text !== this.words.textContent) announce(text);
    this.words.textContent = text;
    this.comparing.hidden = selection.size !== 2 || selection.pictures.length < 2;
    this.zip.hidden = !selection.pictures.length;
    this.take.hidden = !boards.current;
    this.board.replaceChildren(make("option", { value: "" }, t("boards.add")), ...boards.names.map((name) => make("option", { value: `=${name}` }, name)),
      make("option", { value: "+" }, t("boards.new")));
  }

  put() {
    const { value } = this.board;
    this.board.value = "";
    if (value === "+") this.boards.askName("", (name) => this.boards.made(name, (made) => this.boards.put(made, this.selection)));
    else if (value) this.boards.put(value.slice(1), this.selection);
  }

  /** All favourites; if they are already, none. */
  async mark() {
    const { cards, tasks } = this.selection;
    const on = !cards.every((card) => card.favourite);
    const marked = await each(tasks, (taskId) => api.favourite(taskId, on));
    for (const card of cards) if (marked.includes(card.task_id)) card.favourite = on;
    announce(t(on ? "viewer.marked" : "viewer.unmarked"));
    this.changed();
  }

  async remove() {
    const removed = await each(this.selection.tasks, (taskId) => api.remove(taskId));
    this.selection.clear();
    this.changed();
    if (!removed.length) return;
    notify(t("chosen.deleted", { count: removed.length }), { action: t("undo"), run: async () => {
      await each(removed, (taskId) => api.restore(taskId));
      this.changed();
    } });
  }

  /** Keys of the page while something is chosen. */
  key(event) {
    if (!this.selection.size || event.defaultPrevented || event.target.matches("input, textarea, select")) return;
    const does = { Delete: () => this.remove(), Escape: () => this.selection.clear() }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

/** `work` for every id, a few at a time, to the first refusal, which is shown. Resolves with the ids that are done. */
async function each(ids, work) {
  const waiting = [...ids];
  const done = [];
  const run = async () => {
    while (waiting.length) {
      const id = waiting.shift();
      if (await attempt(() => work(id))) done.push(id);
      else waiting.length = 0;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
  return done;
}
