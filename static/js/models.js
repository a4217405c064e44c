// The page of what is installed: models as cards, styles and presets; what is loaded, and what is being fetched.

import { api, modelPictureUrl } from "./api.js";
import { askName, askToSave } from "./preset_saving.js";
import { copy, parameterTable } from "./viewer.js";
import { attempt, button, dialog, icon, make, notify, size, t, when } from "./ui.js";

const GATHER_MS = 300;
const LORA_WEIGHT = 1;
const TITLES = { checkpoints: "models.checkpoints", loras: "models.loras", vaes: "models.vaes", embeddings: "models.embeddings", upscalers: "models.upscalers" };
const STATES = { paused: "models.download_paused", failed: "models.download_failed", done: "models.download_done" };
// The folder of each list, as the server names it.
const FOLDERS = { checkpoints: "checkpoints", loras: "loras", vaes: "vae", embeddings: "embeddings", upscalers: "upscale_models" };

export async function open(host, shell) {
  const page = new ModelsPage(host, shell);
  await page.refresh();
  return page;
}

class ModelsPage {
  #timer = 0;
  #asking = null;

  constructor(host, shell) {
    this.shell = shell;
    this.loaded = make("ul", { class: "rows", "aria-label": t("models.loaded") });
    this.memory = make("div", { class: "memory" });
    this.downloads = make("ul", { class: "rows", "aria-label": t("models.downloads") });
    this.fetching = new Map();
    this.search = make("input", { type: "search", placeholder: t("models.search"), "aria-label": t("models.search") });
    this.search.addEventListener("input", () => this.filter());
    this.lists = make("div", { class: "stack" });
    const unload = button(t("models.unload"), { icon: "trash", text: true, onclick: () => this.unload() });
    host.append(make("div", { class: "columns" },
      make("section", { class: "panel part" }, make("h2", {}, t("models.loaded")), this.loaded,
        make("p", { class: "nothing" }, t("models.nothing_loaded")), this.memory, unload),
      make("section", { class: "panel part" }, make("h2", {}, t("models.downloads")), this.downloads,
        make("p", { class: "nothing" }, t("models.no_downloads")))),
    make("div", { class: "toolbar" }, this.search, button(t("models.refresh"), { icon: "retry", text: true, onclick: () => this.refresh() })), this.lists);
    shell.live.connection.addEventListener("event", ({ detail }) => this.hear(detail));
    shell.live.addEventListener("resync", () => this.later());
  }

  show() {
    this.refresh();
  }

  hear({ type, data }) {
    if (type === "download.progress") this.progress(data);
    else if (type.startsWith("model.") || type === "catalog.changed") this.later();
  }

  later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), GATHER_MS);
  }

  async refresh() {
    this.refreshDownloads();
    const [models, health] = (await attempt(() => Promise.all([api.models(), api.health()]))) ?? [];
    if (!models) return;
    const devices = new Map(health.devices.map((device) => [device.name, device.hardware?.description ?? device.name]));
    this.models = models;
    this.loaded.replaceChildren(...models.loaded.map((model) => make("li", {}, make("strong", {}, model.name),
      make("span", { class: "muted" }, `${t(`kind.${model.kind}`)} · ${devices.get(model.device) ?? model.device} · ${t("models.since", { time: when(model.since_mills) })}`))));
    this.showMemory(models.memory);
    const opened = [...this.lists.querySelectorAll("details[open]")].map((each) => each.dataset.key);
    this.lists.replaceChildren(...Object.keys(FOLDERS).map((kind) => this.cards(kind, models[kind] ?? [])),
      make("div", { class: "masonry" }, this.presets(models.presets), this.styles(models.styles)));
    for (const each of this.lists.querySelectorAll("details")) each.open = opened.includes(each.dataset.key);
    this.filter();
  }

  showMemory({ process, available, total }) {
    const used = total - available;
    const bar = make("meter", { min: 0, max: total || 1, value: used, low: total * 0.7, high: total * 0.9, optimum: 0, "aria-label": t("models.memory") });
    this.memory.hidden = !total;
    const words = t("models.memory_text", { used: size(used), total: size(total), process: size(process) });
    this.memory.replaceChildren(bar, make("span", { class: "muted" }, words));
  }

  cards(kind, list) {
    return make("section", { class: "panel part", "data-kind": kind }, make("h2", {}, t(TITLES[kind]), make("span", { class: "muted" }, ` ${list.length}`)),
      make("ul", { class: "model-cards", "aria-label": t(TITLES[kind]) }, list.map((file) => this.card(kind, file))),
      !list.length && make("p", { class: "muted" }, t("models.none")));
  }

  card(kind, file) {
    const words = file.trigger_words ?? [];
    const picture = file.has_picture ? make("img", { src: modelPictureUrl(FOLDERS[kind], file.name), alt: "", loading: "lazy", decoding: "async" }) : icon("box");
    const facts = [file.base_model, file.resolution, size(file.bytes)].filter(Boolean).join(" · ");
    return make("li", { class: "model-card", "data-name": [file.name, file.base_model, ...words].join(" ").toLowerCase() },
      make("div", { class: "model-picture" }, picture),
      make("div", { class: "stack" }, make("strong", { class: "name" }, file.name), facts && make("span", { class: "muted" }, facts),
        file.trained_on && make("span", { class: "muted" }, t("models.trained_on", { name: file.trained_on })),
        words.length > 0 && make("p", { class: "words" }, words.join(", ")), file.notes && make("p", { class: "model-notes muted" }, file.notes),
        make("div", { class: "actions" }, this.useButton(kind, file), words.length > 0 &&
          button(t("models.copy_words"), { icon: "copy", text: false, onclick: () => copy(words.join(", ")) }))));
  }

  useButton(kind, file) {
    const use = {
      checkpoints: (request) => request.set("base_model_name", file.name),
      loras: (request) => request.set("loras", [...request.get("loras"), { enabled: true, model_name: file.name, weight: LORA_WEIGHT }]),
      vaes: (request) => request.set("vae_name", file.name),
    }[kind];
    if (!use) return false;
    return button(t("models.use"), { icon: "bolt", text: true, "aria-label": t("models.use_named", { name: file.name }), onclick: async () => {
      const create = await this.shell.go("create");
      if (!create) return;
      use(create.request);
      create.update();
      notify(t("models.used", { name: file.name }));
    } });
  }

  styles(names) {
    const rows = names.map((name) => make("li", { "data-name": name.toLowerCase() }, make("span", { class: "name" }, name)));
    return make("section", { class: "panel part" }, make("h2", {}, t("models.styles"), make("span", { class: "muted" }, ` ${names.length}`)),
      make("ul", { class: "rows long", "aria-label": t("models.styles"), tabindex: 0 }, rows));
  }

  presets(list) {
    const rows = list.map((preset) => make("li", { "data-name": preset.name.toLowerCase() }, make("details", { "data-key": preset.name }, make("summary", {},
      make("span", { class: "name" }, preset.name),
      preset.is_initial && make("span", { class: "tag" }, t("models.start_preset")),
      !preset.model_installed && make("span", { class: "tag failed" }, t("models.not_installed"))),
    preset.note && make("p", { class: "muted" }, preset.note),
    preset.problem && make("p", { class: "problem" }, preset.problem), this.presetActions(preset), parameterTable(preset.parameters)),
    !preset.model_installed && button(t("models.fetch"), { icon: "down", text: true, "aria-label": t("models.fetch_named", { name: preset.name }), onclick: () => this.askToFetch(preset) })));
    return make("section", { class: "panel part" }, make("h2", {}, t("models.presets"), make("span", { class: "muted" }, ` ${list.length}`)),
      button(t("presets.save_form"), { icon: "plus", text: true, onclick: () => this.saveForm() }),
      make("ul", { class: "rows long", "aria-label": t("models.presets"), tabindex: 0 }, rows));
  }

  presetActions(preset) {
    if (preset.is_initial) return false;
    return make("div", { class: "actions" },
      button(t("presets.rename"), { text: true, onclick: () => askName(t("presets.rename"), preset.name, (to) => {
        if (to !== preset.name) attempt(() => api.renamePreset(preset.name, to));
      }) }),
      button(t("presets.delete"), { icon: "trash", text: true, kind: "danger", onclick: () => this.deletePreset(preset) }));
  }

  async deletePreset({ name, parameters, note }) {
    if (!(await attempt(() => api.deletePreset(name)))) return;
    notify(t("presets.deleted", { name }), { action: t("undo"), run: () => attempt(() => api.savePreset(name, parameters, false, note)) });
  }

  /** The form of the Create page as a preset; its page is shown meanwhile, so that one sees what is saved. */
  async saveForm() {
    const create = await this.shell.go("create");
    if (create) askToSave({ ...create.request.preset?.parameters, ...create.request.request() });
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/);
    for (const row of this.lists.querySelectorAll("[data-name]")) row.hidden = !words.every((word) => row.dataset.name.includes(word));
  }

  /** Fetch a preset's model and LoRAs, once the size has been said. */
  async askToFetch({ parameters }) {
    const name = parameters.base_model_name;
    const source = await attempt(() => api.modelSource(name));
    if (!source) return;
    const known = new Set(this.models.loras.map((file) => file.name));
    const loras = (parameters.loras ?? []).map((slot) => slot.model_name).filter((lora) => !known.has(lora));
    const box = dialog(t("models.fetch"), make("div", { class: "stack asked" },
      make("p", {}, t("create.fetch_what", { name, size: size(source.bytes) || t("create.fetch_size_unknown") })),
      make("p", { class: "muted" }, source.url && t("create.fetch_from", { host: new URL(source.url).host })),
      make("div", { class: "actions" }, button(t("models.fetch"), { kind: "primary", icon: "down", text: true, onclick: () => {
        box.close();
        this.startDownload("checkpoints", name);
        for (const lora of loras) this.startDownload("loras", lora);
      } }), button(t("cancel"), { text: true, onclick: () => box.close() }))));
  }

  async startDownload(folder, name) {
    const answer = await attempt(() => api.startDownload(folder, name));
    if (answer) this.showDownloads(answer.downloads);
  }

  async pauseDownload(folder, name) {
    const answer = await attempt(() => api.pauseDownload(folder, name));
    if (answer) this.showDownloads(answer.downloads);
  }

  async refreshDownloads() {
    const answer = await api.downloads().catch(() => null);
    if (answer) this.showDownloads(answer.downloads);
  }

  showDownloads(list) {
    for (const one of list) {
      const { folder, name, state, error } = one;
      const row = this.row(name);
      this.fill(row, one);
      const said = state === "running" ? "" : ` · ${t(STATES[state])}`;
      row.words.textContent += said;
      row.error.textContent = error;
      row.actions.replaceChildren(...(state === "running" ? [button(t("models.pause"), { icon: "pause", text: true, onclick: () => this.pauseDownload(folder, name) })]
        : state === "done" ? [] : [button(t("models.resume"), { icon: "play", text: true, onclick: () => this.startDownload(folder, name) })]));
    }
  }

  /** A download's row, made when it is first heard of. */
  row(name) {
    let row = this.fetching.get(name);
    if (!row) {
      row = { bar: make("progress", { max: 1, "aria-label": name }), words: make("span", { class: "muted" }), actions: make("span", {}), error: make("p", { class: "problem" }) };
      this.fetching.set(name, row);
      this.downloads.append(make("li", {}, make("strong", {}, name), row.bar, row.words, row.actions, row.error));
    }
    return row;
  }

  fill({ bar, words }, { received, total }) {
    if (total) Object.assign(bar, { max: total, value: received });
    words.textContent = total ? `${size(received) || "0"} / ${size(total)}` : size(received);
  }

  progress(data) {
    this.fill(this.row(data.name), data);
    if (data.total && data.received >= data.total) this.later();
    // States come with the list: asked for once a while, not at every step.
    if (this.#asking) return;
    this.#asking = setTimeout(() => { this.#asking = null; this.refreshDownloads(); }, GATHER_MS);
  }

  async unload() {
    const answer = await attempt(() => api.unload());
    if (answer) notify(answer.models.length ? t("models.unloaded", { names: answer.models.join(", ") }) : t("models.nothing_loaded"));
    this.refresh();
  }
}
