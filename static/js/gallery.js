// The page of the history: searched, filtered, sorted, and scrolled however long it is; what is chosen in it is dealt with together.

import { api } from "./api.js";
import { Boards } from "./boards.js";
import { ChosenBar } from "./chosen.js";
import { CardGrid } from "./grid.js";
import { Dragging, Selection } from "./selection.js";
import { pictureOf, readFile } from "./slot.js";
import { button, icon, make, notify, t } from "./ui.js";
import { openViewer, showParameters } from "./viewer.js";

const TYPING_MS = 200;
const GATHER_MS = 250;
const DAY_MS = 86_400_000;
const STATUSES = ["finished", "failed", "stop", "skip"];
const SPANS = { any: 0, day: 1, week: 7, month: 30 };
const CHANGES = new Set(["history.deleted", "history.restored", "task.marked"]);
const KEPT = "focal.gallery";
const CELL_PX = { min: 90, max: 420, value: 190 };

export async function open(host, shell) {
  return new GalleryPage(host, shell);
}

class GalleryPage {
  #timer = 0;

  constructor(host, shell) {
    this.shell = shell;
    this.compared = [];
    this.kept = readKept();
    this.selection = new Selection();
    const tools = this.toolbar();
    const view = this.viewTools();
    this.grid = new CardGrid({
      ask: (offset, limit, signal) => api.history({ ...this.query(), offset, limit }, signal),
      open: (index) => this.view(index),
      selection: this.selection,
      size: Number(this.size.value),
    });
    this.boards = new Boards(() => this.again());
    this.chosen = new ChosenBar(this.selection, { boards: this.boards, compare: (cards) => this.showComparison(cards), changed: () => this.later(0) });
    this.dragging = new Dragging(this.grid, this.selection, (board) => this.boards.put(board, this.selection));
    host.append(tools, view, this.boards.element, this.chosen.element, this.grid.element);
    host.addEventListener("dragover", (event) => event.preventDefault());
    host.addEventListener("drop", (event) => this.drop(event));
    host.addEventListener("keydown", (event) => this.chosen.key(event));
    this.grid.addEventListener("total", ({ detail }) => this.showTotal(detail));
    shell.live.addEventListener("ended", () => this.later(GATHER_MS));
    shell.live.addEventListener("resync", () => this.later(0));
    shell.live.connection.addEventListener("event", ({ detail }) => { if (CHANGES.has(detail.type)) this.later(GATHER_MS); });
    this.grid.reload(); // first: the cards are what is waited for
    this.fillModels();
    this.boards.refresh();
  }

  show() {
    this.grid.reload({ keep: true });
    this.fillModels();
    this.boards.refresh();
  }

  /** Another question: its answer is shown from the beginning. */
  again() {
    this.selection.clear();
    this.grid.reload();
  }

  toolbar() {
    const changed = () => this.again();
    this.search = make("input", { type: "search", placeholder: t("gallery.search"), "aria-label": t("gallery.search") });
    this.search.addEventListener("input", () => { clearTimeout(this.typing); this.typing = setTimeout(changed, TYPING_MS); });
    this.status = select(t("gallery.status"), [["", t("gallery.any_status")], ...STATUSES.map((name) => [name, t(`status.${name}`)])], changed);
    this.model = select(t("gallery.model"), [["", t("gallery.any_model")]], changed);
    this.span = select(t("gallery.time"), Object.keys(SPANS).map((name) => [name, t(`gallery.time_${name}`)]), changed);
    this.favourites = make("input", { type: "checkbox", onchange: changed });
    this.total = make("p", { class: "muted", role: "status" });
    const file = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp", class: "unseen", tabindex: -1, "aria-label": t("gallery.read") });
    file.addEventListener("change", async () => {
      if (file.files[0]) showParameters(this.shell, await readFile(file.files[0]));
      file.value = "";
    });
    this.comparing = make("div", { class: "comparing", hidden: true });
    return make("div", { class: "toolbar gallery-tools", role: "search", "aria-label": t("gallery.filters") }, this.search, this.status, this.model, this.span,
      check(this.favourites, t("gallery.favourites")), this.total,
      button(t("gallery.read"), { icon: "image", text: true, title: t("gallery.drop"), onclick: () => file.click() }), file, this.comparing);
  }

  /** How it is shown: kept in this browser. */
  viewTools() {
    const changed = () => { this.keep(); this.again(); };
    this.order = select(t("gallery.order"), [["newest", t("gallery.newest")], ["oldest", t("gallery.oldest")]], changed);
    this.by = select(t("gallery.by"), [["task", t("gallery.by_task")], ["picture", t("gallery.by_picture")]], changed);
    this.hideFailed = make("input", { type: "checkbox", onchange: changed });
    this.size = make("input", { type: "range", ...CELL_PX, step: 10, "aria-label": t("gallery.size"), title: t("gallery.size") });
    this.size.addEventListener("input", () => { this.keep(); this.grid.resize(Number(this.size.value)); });
    const choosing = button(t("gallery.choose"), { text: true, "aria-pressed": false, title: t("gallery.choose_help"), onclick: () => {
      this.grid.choosing = !this.grid.choosing;
      choosing.setAttribute("aria-pressed", this.grid.choosing);
      if (!this.grid.choosing) this.selection.clear();
    } });
    this.order.value = this.kept.order;
    this.by.value = this.kept.by;
    this.hideFailed.checked = this.kept.hideFailed;
    this.size.value = this.kept.size;
    return make("div", { class: "toolbar gallery-tools", role: "group", "aria-label": t("gallery.view") }, this.order, this.by,
      check(this.hideFailed, t("gallery.hide_failed")), make("label", { class: "check sizes" }, icon("grid"), this.size), choosing);
  }

  keep() {
    this.kept = { order: this.order.value, by: this.by.value, hideFailed: this.hideFailed.checked, size: Number(this.size.value) };
    localStorage.setItem(KEPT, JSON.stringify(this.kept));
  }

  query() {
    const days = SPANS[this.span.value];
    return {
      search: this.search.value.trim(),
      status: this.status.value,
      model: this.model.value,
      favourite: this.favourites.checked ? 1 : "",
      hide_failed: this.hideFailed.checked ? 1 : "",
      board: this.boards.current,
      order: this.order.value === "oldest" ? "oldest" : "",
      by: this.by.value === "picture" ? "picture" : "",
      start_at: days ? new Date(Date.now() - days * DAY_MS).toISOString() : "",
    };
  }

  async fillModels() {
    const { models } = await api.summary().catch(() => ({ models: {} }));
    const now = this.model.value;
    this.model.replaceChildren(make("option", { value: "" }, t("gallery.any_model")),
      ...Object.keys(models).filter(Boolean).map((name) => make("option", { value: name }, name)));
    this.model.value = now;
  }

  /** Gather changes: a burst of them is one reload, which leaves the page where it is. */
  later(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (!this.grid.element.offsetParent) return;
      this.grid.reload({ keep: true });
      this.boards.refresh();
    }, wait);
  }

  showTotal(total) {
    const key = this.by.value === "picture" ? "gallery.total_pictures" : "gallery.total";
    this.total.textContent = t(key, { count: total.toLocaleString(document.documentElement.lang) });
  }

  view(index) {
    openViewer(this.shell, this.grid, index, { compare: (card) => this.pick(card) });
  }

  /** From the viewer: choose pictures to compare; the second one opens the comparison. */
  async pick(card) {
    if (!card.images.length) return;
    this.compared = [...this.compared.filter((other) => other.task_id !== card.task_id), card].slice(-2);
    if (this.compared.length < 2) notify(t("gallery.compare_first"));
    this.comparing.hidden = false;
    this.comparing.replaceChildren(icon("compare"), make("span", {}, t("gallery.comparing", { count: this.compared.length })),
      button(t("cancel"), { icon: "close", text: false, onclick: () => { this.compared = []; this.comparing.hidden = true; } }));
    if (this.compared.length < 2) return;
    await this.showComparison(this.compared);
    this.compared = [];
    this.comparing.hidden = true;
  }

  async showComparison(cards) {
    const { openComparison } = await import("./compare.js");
    openComparison(cards);
  }

  async drop(event) {
    event.preventDefault();
    const found = await pictureOf(event.dataTransfer);
    if (found) showParameters(this.shell, found);
    else notify(t("inputs.no_picture"), { bad: true });
  }
}

function check(input, text) {
  return make("label", { class: "check" }, input, make("span", {}, text));
}

function select(name, options, onchange) {
  return make("select", { "aria-label": name, onchange }, options.map(([value, text]) => make("option", { value }, text)));
}

function readKept() {
  const usual = { order: "newest", by: "task", hideFailed: false, size: CELL_PX.value };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") };
  } catch { // written by something else
    return usual;
  }
}
