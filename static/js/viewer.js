// One picture as large as it gets, with what it was made from and what can be done with it.

import { api, bareUrl, picturePath, pictureUrl, stringifyExact, thumbnailUrl } from "./api.js";
import { Zoom } from "./zoom.js";
import { announce, attempt, button, dialog, labelOf, make, noteLines, notify, t, when } from "./ui.js";

const FIRST = ["prompt", "negative_prompt", "image_seed", "base_model_name", "performance_selection", "aspect_ratios_selection", "style_selections",
  "guidance_scale", "sharpness", "sampler_name", "scheduler_name", "refiner_model_name", "loras"];
const HIDDEN = new Set(["stream_output", "async_process", "require_base64", "webhook_url", "input_image_checkbox", "current_tab"]);
const AS_INPUT = ["vary", "inpaint", "prompt", "enhance"];

/** A card as the history gives it, from a task's record. */
export function cardOf(record) {
  return {
    task_id: record.task_id,
    status: record.task_status ?? "finished",
    prompt: String(record.req_params.prompt ?? ""),
    model: String(record.req_params.base_model_name ?? ""),
    images: (record.result ?? []).map(picturePath),
    in_queue_mills: record.in_queue_mills,
    finish_mills: record.finish_mills,
    favourite: false,
    error: record.error,
  };
}

/** Parameters of a request in a table; values are shown as text, whatever they are. */
export function parameterTable(parameters) {
  const names = [...FIRST.filter((name) => name in parameters), ...Object.keys(parameters).filter((name) => !FIRST.includes(name))];
  const rows = names.filter((name) => !HIDDEN.has(name) && worthShowing(parameters[name])).map((name) =>
    make("tr", {}, make("th", { scope: "row" }, labelOf(name)), make("td", {}, valueText(parameters[name]))));
  return make("table", { class: "parameters" }, make("tbody", {}, rows));
}

function worthShowing(value) {
  return !["", false, null, -1, "None", "Disabled"].includes(value) && !(Array.isArray(value) && !value.some(Boolean));
}

export function valueText(value) {
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  if (value && typeof value === "object") return "model_name" in value ? `${value.model_name} (${value.weight})` : stringifyExact(value);
  return String(value);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a page without TLS: the old way
    const area = make("textarea", { class: "unseen", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  notify(t("copied"));
}

/** `cards` is a list, or a grid that fetches; `compare` takes a card to be compared. */
export async function openViewer(shell, cards, index, { image = 0, compare } = {}) {
  const viewer = new Viewer(shell, cards, compare);
  await viewer.show(index, image);
  return viewer;
}

class Viewer {
  constructor(shell, cards, compare) {
    Object.assign(this, { shell, cards, compare, fetches: !Array.isArray(cards) });
    this.zoom = new Zoom((way) => this.turn(way));
    this.side = make("aside", { class: "facts", "aria-label": t("viewer.facts") });
    this.place = make("span", { class: "muted", "aria-live": "polite" });
    this.thumbs = make("div", { class: "thumbs", role: "group", "aria-label": t("viewer.pictures") });
    const turn = (way, name) => button(t(`viewer.${name}`), { icon: name, text: false, kind: `turn ${name}`, onclick: () => this.turn(way) });
    const stage = make("div", { class: "viewer-stage" }, this.zoom.element, turn(-1, "left"), turn(1, "right"),
      make("div", { class: "zoom-tools" }, this.place, button(t("viewer.zoom_out"), { icon: "minus", text: false, onclick: () => this.zoom.by(1 / 1.5) }),
        button(t("viewer.fit"), { icon: "image", text: false, onclick: () => this.zoom.fit() }),
        button(t("viewer.zoom_in"), { icon: "plus", text: false, onclick: () => this.zoom.by(1.5) })), this.thumbs);
    this.box = dialog(t("viewer.title"), make("div", { class: "viewer" }, stage, this.side), { wide: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("close", () => this.cards.focus?.(this.index));
  }

  async show(index, image = 0) {
    const card = await (this.fetches ? this.cards.at(index) : this.cards[index]);
    if (!card) return false;
    Object.assign(this, { index, image: image < 0 ? Math.max(0, card.images.length + image) : image, card });
    this.place.textContent = `${index + 1} / ${this.cards.length}`;
    this.showImage();
    this.side.replaceChildren(make("p", { class: "muted" }, t("loading")));
    const record = await attempt(() => api.task(card.task_id));
    if (this.card === card && record) {
      this.record = record;
      this.showFacts();
    }
    return true;
  }

  showImage() {
    const { card, image } = this;
    const url = card.images[image];
    this.zoom.show(url ? pictureUrl(url) : "", card.prompt || t("stage.picture"));
    this.thumbs.hidden = card.images.length < 2;
    this.thumbs.replaceChildren(...card.images.map((one, number) =>
      make("button", {
        type: "button", "aria-label": t("stage.open", { number: number + 1 }), "aria-pressed": number === image, onclick: () => this.choose(number),
      },
        make("img", { src: thumbnailUrl(one), alt: "" }))));
  }

  choose(number) {
    this.image = number;
    this.showImage();
    this.showFacts();
  }

  /** The next picture: of this task, then of the next one. */
  async turn(way) {
    const next = this.image + way;
    if (next >= 0 && next < this.card.images.length) {
      this.choose(next);
      return;
    }
    await this.show(this.index + way, way < 0 ? -1 : 0);
  }

  showFacts() {
    const { card, record } = this;
    if (!record || record.task_id !== card.task_id) return;
    const url = card.images[this.image];
    this.star = button(t("viewer.favourite"), { icon: "star", text: true, kind: "star", "aria-pressed": card.favourite, onclick: () => this.favourite() });
    const use = button(t("viewer.use_parameters"), { icon: "bolt", text: true, kind: "primary", onclick: () => this.useParameters(record.req_params) });
    this.side.replaceChildren(
      make("div", { class: "actions" }, use, url && this.inputMenu(url), this.star,
        this.compare && url && button(t("viewer.compare"), { icon: "compare", text: true, onclick: () => { this.box.close(); this.compare(card); } }),
        card.status !== "finished" && button(t("retry"), { icon: "retry", text: true, onclick: () => this.retry() }),
        url && link(t("viewer.download"), pictureUrl(url), url), url && link(t("viewer.download_bare"), bareUrl(url), url),
        button(t("viewer.copy_prompt"), { icon: "copy", text: true, onclick: () => copy(String(record.req_params.prompt ?? "")) }),
        button(t("viewer.copy_all"), { icon: "copy", text: true, onclick: () => copy(stringifyExact(record.req_params, 2)) }),
        button(t("presets.save"), { icon: "plus", text: true, onclick: () => this.savePreset() }),
        button(t("viewer.delete"), { icon: "trash", text: true, kind: "danger", onclick: () => this.remove() })),
      make("p", { class: "muted" }, make("span", { class: `tag ${card.status}` }, t(`status.${card.status}`)), ` ${when(record.finish_mills)}`),
      record.error ? make("p", { class: "problem" }, record.error) : "",
      make("ul", { class: "notes", "aria-label": t("notes.title") }, noteLines(record.notes).map((line) => make("li", {}, line))),
      this.seedNote(record), parameterTable(record.req_params));
    if (url) this.askIfFavourite(card);
  }

  seedNote(record) {
    const seed = record.req_params.image_seed;
    const at = this.card.picture ?? this.image;
    if (at === 0 || seed === undefined || record.req_params.disable_seed_increment) return "";
    return make("p", { class: "muted" }, t("viewer.seed_of", { seed: BigInt(seed) + BigInt(at) }));
  }

  inputMenu(url) {
    const menu = make("select", { "aria-label": t("viewer.use_as_input") }, make("option", { value: "" }, t("viewer.use_as_input")),
      AS_INPUT.map((kind) => make("option", { value: kind }, t(`inputs.${kind}`))));
    menu.addEventListener("change", async () => {
      const kind = menu.value;
      this.box.close();
      (await this.shell.go("create"))?.useAsInput(kind, picturePath(url));
    });
    return menu;
  }

  async useParameters(parameters) {
    this.box.close();
    (await this.shell.go("create"))?.use(parameters);
  }

  /** A card from a task's record does not know; the history does. */
  async askIfFavourite(card) {
    if (card.asked || this.fetches) return;
    card.asked = true;
    const moment = new Date(card.in_queue_mills).toISOString();
    const { items } = await api.history({ favourite: 1, start_at: moment, end_at: moment }).catch(() => ({ items: [] }));
    card.favourite ||= items.some((item) => item.task_id === card.task_id);
    if (this.card === card) this.star.setAttribute("aria-pressed", card.favourite);
  }

  async favourite() {
    const answer = await attempt(() => api.favourite(this.card.task_id, !this.card.favourite));
    if (!answer) return;
    this.card.favourite = answer.favourite;
    this.star.setAttribute("aria-pressed", answer.favourite);
    announce(t(answer.favourite ? "viewer.marked" : "viewer.unmarked"));
  }

  async savePreset() {
    const { askToSave } = await import("./preset_saving.js");
    askToSave(this.record.req_params);
  }

  async retry() {
    if (await attempt(() => api.retry(this.card.task_id))) notify(t("queue.retried"));
  }

  async remove() {
    const { task_id: taskId } = this.card;
    if (!(await attempt(() => api.remove(taskId)))) return;
    this.box.close();
    notify(t("viewer.deleted"), { action: t("undo"), run: () => attempt(() => api.restore(taskId)) });
  }

  key(event) {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      ArrowLeft: () => this.turn(-1), ArrowRight: () => this.turn(1), "+": () => this.zoom.by(1.5), "=": () => this.zoom.by(1.5),
      "-": () => this.zoom.by(1 / 1.5), 0: () => this.zoom.fit(), f: () => this.favourite(), Delete: () => this.remove(),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

function link(text, href, url) {
  return make("a", { class: "button", href, download: url.split("/").pop() }, text);
}

/** What a picture from anywhere says of its making, with a button that takes it over. `picture` is a data URL or a path. */
export async function showParameters(shell, picture) {
  const facts = await attempt(() => api.readMetadata(picture));
  if (!facts) return;
  const shown = make("img", { alt: t("viewer.given_picture"), src: picture.startsWith("data:") ? picture : pictureUrl(picture) });
  const known = Object.keys(facts.parameters).length > 0;
  const use = known && button(t("viewer.use_parameters"), { icon: "bolt", text: true, kind: "primary", onclick: async () => {
    box.close();
    (await shell.go("create"))?.use(facts.parameters);
  } });
  const box = dialog(t("viewer.read_title"), make("div", { class: "read" }, shown, make("div", { class: "stack" },
    make("p", { class: "muted" }, `${facts.width} × ${facts.height} · ${facts.format}${facts.scheme ? ` · ${facts.scheme}` : ""}`),
    use, known ? parameterTable(facts.parameters) : make("p", {}, t("viewer.says_nothing")))), { wide: true });
}
