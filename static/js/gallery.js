// The page of the history: searched, filtered, and scrolled however long it is.

import { api } from "./api.js";
import { CardGrid } from "./grid.js";
import { pictureOf, readFile } from "./slot.js";
import { button, icon, make, notify, t } from "./ui.js";
import { openViewer, showParameters } from "./viewer.js";

const TYPING_MS = 200;
const GATHER_MS = 250;
const DAY_MS = 86_400_000;
const STATUSES = ["finished", "failed", "stop", "skip"];
const SPANS = { any: 0, day: 1, week: 7, month: 30 };
const CHANGES = new Set(["history.deleted", "history.restored", "task.marked"]);

export async function open(host, shell) {
  return new GalleryPage(host, shell);
}

class GalleryPage {
  #timer = 0;

  constructor(host, shell) {
    this.shell = shell;
    this.compared = [];
    this.grid = new CardGrid({
      ask: (offset, limit, signal) => api.history({ ...this.query(), offset, limit }, signal),
      open: (index) => this.view(index),
      pick: (card) => this.pick(card),
    });
    host.append(this.toolbar(), this.grid.element);
    host.addEventListener("dragover", (event) => event.preventDefault());
    host.addEventListener("drop", (event) => this.drop(event));
    this.grid.addEventListener("total", ({ detail }) => this.showTotal(detail));
    shell.live.addEventListener("ended", () => this.later(GATHER_MS));
    shell.live.addEventListener("resync", () => this.later(0));
    shell.live.connection.addEventListener("event", ({ detail }) => { if (CHANGES.has(detail.type)) this.later(GATHER_MS); });
    this.fillModels();
    this.grid.reload();
  }

  show() {
    this.fillModels();
    this.grid.reload({ keep: true });
  }

  toolbar() {
    const changed = () => this.grid.reload();
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
      make("label", { class: "check" }, this.favourites, make("span", {}, t("gallery.favourites"))), this.total,
      button(t("gallery.read"), { icon: "image", text: true, title: t("gallery.drop"), onclick: () => file.click() }), file, this.comparing);
  }

  query() {
    const days = SPANS[this.span.value];
    return {
      search: this.search.value.trim(),
      status: this.status.value,
      model: this.model.value,
      favourite: this.favourites.checked ? 1 : "",
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
    this.#timer = setTimeout(() => { if (this.grid.element.offsetParent) this.grid.reload({ keep: true }); }, wait);
  }

  showTotal(total) {
    this.total.textContent = t("gallery.total", { count: total.toLocaleString(document.documentElement.lang) });
  }

  view(index) {
    openViewer(this.shell, this.grid, index, { compare: (card) => this.pick(card) });
  }

  /** Choose pictures to compare; the second one opens the comparison. */
  async pick(card) {
    if (!card.images.length) return;
    this.compared = [...this.compared.filter((other) => other.task_id !== card.task_id), card].slice(-2);
    if (this.compared.length < 2) notify(t("gallery.compare_first"));
    this.comparing.hidden = false;
    this.comparing.replaceChildren(icon("compare"), make("span", {}, t("gallery.comparing", { count: this.compared.length })),
      button(t("cancel"), { icon: "close", text: false, onclick: () => { this.compared = []; this.comparing.hidden = true; } }));
    if (this.compared.length < 2) return;
    const { openComparison } = await import("./compare.js");
    openComparison(this.compared);
    this.compared = [];
    this.comparing.hidden = true;
  }

  async drop(event) {
    event.preventDefault();
    const found = await pictureOf(event.dataTransfer);
    if (found) showParameters(this.shell, found);
    else notify(t("inputs.no_picture"), { bad: true });
  }
}

function select(name, options, onchange) {
  return make("select", { "aria-label": name, onchange }, options.map(([value, text]) => make("option", { value }, text)));
}
