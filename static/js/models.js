// The page of what is installed: models, styles and presets; what is loaded, and what is being fetched.

import { api } from "./api.js";
import { parameterTable } from "./viewer.js";
import { attempt, button, make, notify, size, t, when } from "./ui.js";

const GATHER_MS = 300;

export async function open(host, shell) {
  const page = new ModelsPage(host, shell);
  await page.refresh();
  return page;
}

class ModelsPage {
  #timer = 0;

  constructor(host, shell) {
    this.shell = shell;
    this.loaded = make("ul", { class: "rows", "aria-label": t("models.loaded") });
    this.memory = make("div", { class: "memory" });
    this.downloads = make("ul", { class: "rows", "aria-label": t("models.downloads") });
    this.fetching = new Map();
    this.search = make("input", { type: "search", placeholder: t("models.search"), "aria-label": t("models.search") });
    this.search.addEventListener("input", () => this.filter());
    this.lists = make("div", { class: "masonry" });
    const unload = button(t("models.unload"), { icon: "trash", text: true, onclick: () => this.unload() });
    host.append(make("div", { class: "columns" },
      make("section", { class: "panel part" }, make("h2", {}, t("models.loaded")), this.loaded,
        make("p", { class: "nothing" }, t("models.nothing_loaded")), this.memory, unload),
      make("section", { class: "panel part" }, make("h2", {}, t("models.downloads")), this.downloads,
        make("p", { class: "nothing" }, t("models.no_downloads")))),
    make("div", { class: "toolbar" }, this.search), this.lists);
    shell.live.connection.addEventListener("event", ({ detail }) => this.hear(detail));
    shell.live.addEventListener("resync", () => this.later());
  }

  show() {
    this.refresh();
  }

  hear({ type, data }) {
    if (type === "download.progress") this.download(data);
    else if (type.startsWith("model.")) this.later();
  }

  later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), GATHER_MS);
  }

  async refresh() {
    const models = await attempt(() => api.models());
    if (!models) return;
    this.loaded.replaceChildren(...models.loaded.map((model) => make("li", {}, make("strong", {}, model.name),
      make("span", { class: "muted" }, `${t(`kind.${model.kind}`)} · ${model.device} · ${t("models.since", { time: when(model.since_mills) })}`))));
    this.showMemory(models.memory);
    this.lists.replaceChildren(
      this.files("models.checkpoints", models.checkpoints), this.files("models.loras", models.loras),
      this.files("models.vaes", models.vaes), this.files("models.embeddings", models.embeddings),
      this.presets(models.presets), this.files("models.styles", models.styles.map((name) => ({ name, bytes: 0 }))));
    this.filter();
  }

  showMemory({ process, available, total }) {
    const used = total - available;
    const bar = make("meter", { min: 0, max: total || 1, value: used, low: total * 0.7, high: total * 0.9, optimum: 0, "aria-label": t("models.memory") });
    this.memory.hidden = !total;
    const words = t("models.memory_text", { used: size(used), total: size(total), process: size(process) });
    this.memory.replaceChildren(bar, make("span", { class: "muted" }, words));
  }

  files(title, list) {
    const rows = list.map((file) => make("li", { "data-name": file.name.toLowerCase() },
      make("span", { class: "name" }, file.name), make("span", { class: "muted" }, size(file.bytes))));
    return make("section", { class: "panel part" }, make("h2", {}, t(title), make("span", { class: "muted" }, ` ${list.length}`)),
      make("ul", { class: "rows long", "aria-label": t(title), tabindex: 0 }, rows), make("p", { class: "nothing" }, t("models.none")));
  }

  presets(list) {
    const rows = list.map((preset) => make("li", { "data-name": preset.name.toLowerCase() }, make("details", {}, make("summary", {},
      make("span", { class: "name" }, preset.name),
      preset.is_initial && make("span", { class: "tag" }, t("models.start_preset")),
      !preset.model_installed && make("span", { class: "tag failed" }, t("models.not_installed"))),
    preset.note && make("p", { class: "muted" }, preset.note),
    preset.problem && make("p", { class: "problem" }, preset.problem), parameterTable(preset.parameters))));
    return make("section", { class: "panel part" }, make("h2", {}, t("models.presets"), make("span", { class: "muted" }, ` ${list.length}`)),
      make("ul", { class: "rows long", "aria-label": t("models.presets"), tabindex: 0 }, rows));
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/);
    for (const row of this.lists.querySelectorAll("[data-name]")) row.hidden = !words.every((word) => row.dataset.name.includes(word));
  }

  download({ name, received, total }) {
    let row = this.fetching.get(name);
    if (!row) {
      const bar = make("progress", { max: 1, "aria-label": name });
      const words = make("span", { class: "muted" });
      row = { bar, words };
      this.fetching.set(name, row);
      this.downloads.append(make("li", {}, make("strong", {}, name), bar, words));
    }
    if (total) Object.assign(row.bar, { max: total, value: received });
    row.words.textContent = total ? `${size(received) || "0"} / ${size(total)}` : size(received);
    if (total && received >= total) this.later();
  }

  async unload() {
    const answer = await attempt(() => api.unload());
    if (answer) notify(answer.models.length ? t("models.unloaded", { names: answer.models.join(", ") }) : t("models.nothing_loaded"));
    this.refresh();
  }
}
