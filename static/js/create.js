// The page that makes pictures: a form built from the API's own description, and the stage beside it.

import { api } from "./api.js";
import { Drafts, forForms, FormState, readSeed, tabOf } from "./form_state.js";
import { OWN_TASKS } from "./events.js";
import { attempt, button, helpOf, icon, labelOf, make, makeField, notify, t } from "./ui.js";

const TRIES = 4;
const PAUSE_MS = 500;
const SIZES = ["1024*1024", "1152*896", "896*1152", "1344*768", "768*1344"];

// Which parameter stands where. What is named nowhere, such as a new one, goes to the last group.
const GROUPS = {
  style: [],
  model: ["refiner_switch", "vae_name", "clip_skip"],
  input: [],
  sampling: ["guidance_scale", "sharpness", "sampler_name", "scheduler_name", "adaptive_cfg", "guidance_rescale", "overwrite_step", "overwrite_switch",
    "refiner_swap_method", "adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end", "freeu_enabled", "freeu_b1", "freeu_b2",
    "freeu_s1", "freeu_s2"],
  more: ["output_format", "save_metadata_to_images", "metadata_scheme", "generate_image_grid", "read_wildcards_in_order",
    "disable_seed_increment", "disable_preview", "disable_intermediate_results", "black_out_nsfw"],
};
const ELSEWHERE = new Set(["prompt", "negative_prompt", "style_selections", "performance_selection", "aspect_ratios_selection",
  "image_number", "image_seed", "base_model_name", "refiner_model_name", "loras", "preset", "stream_output", "async_process",
  "require_base64", "webhook_url", "input_image_checkbox", "current_tab", "overwrite_width", "overwrite_height"]);
// Prompts that the built-in model draws; prompts are English in every language of the pages.
const EXAMPLES = ["a red star on a blue background", "a sunset over the sea", "a snowy mountain under a starry night sky",
  "a lake with mountains and a boat, watercolor"];

/** Draw the eye to what has just changed. */
function point(element) {
  element.classList.remove("pointed");
  void element.offsetWidth; // the animation begins anew
  element.classList.add("pointed");
}

export async function open(host, shell) {
  const [document_, models] = await Promise.all([api.document(), api.models()]);
  const { schemas } = forForms(document_).components;
  const pictures = () => import("./picture_store.js").then(({ PictureStore }) => new PictureStore());
  const request = new FormState(schemas.GenerateRequest, models.presets, new Drafts(sessionStorage, localStorage, pictures));
  await request.load();
  const page = new CreatePage({ shell, request, models, schemas });
  host.append(make("div", { class: "create-columns" }, page.form, page.place));
  return page;
}

class CreatePage {
  constructor({ shell, request, models, schemas }) {
    Object.assign(this, { shell, request, models, schemas });
    this.updates = [];
    this.form = make("form", { class: "request panel", "aria-label": t("create.form"), novalidate: true });
    this.draw();
    this.showActing();
    this.drawPlace();
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.generate(); });
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.generate(); }
    });
    request.addEventListener("replaced", () => this.update());
    shell.live.connection.addEventListener("event", ({ detail }) => { if (detail.type === "catalog.changed") this.refreshModels(); });
    shell.live.connection.addEventListener("resync", ({ detail }) => { if (detail.type === "bus.gap" || this.wasSynced) this.refreshModels(); this.wasSynced = true; });
  }

  /** Fill the form with another request's parameters. */
  use(values) {
    this.request.replace(values);
    if (this.request.tabs.length) this.inputGroup.open = true;
    this.form.scrollIntoView({ block: "nearest" });
    this.form.querySelector(".scroll").scrollTop = 0;
    this.form.querySelector("textarea").focus({ preventScroll: true });
    point(this.form);
    notify(t("viewer.parameters_taken"));
  }

  /** Take a picture as input: kind is "vary", "inpaint", "prompt" or "enhance"; `values` are parameters that go with it. */
  async useAsInput(kind, source, values = {}) {
    const inputs = await this.openInputs();
    inputs.take(kind, source);
    for (const [name, value] of Object.entries(values)) this.request.set(name, value);
    inputs.update();
    this.showInputs(kind);
  }

  keepSeed(seed) {
    if (seed === undefined) return;
    this.request.set("image_seed", seed);
    this.update();
    point(this.seed.closest(".field"));
    notify(t("create.seed_kept", { seed }));
  }

  /** Stop the task that is being watched, if it runs or waits. */
  async stopWatched() {
    const stage = await this.loadingStage;
    if (stage?.taskId && !stage.done && (await attempt(() => api.stop(stage.taskId)))) notify(t("stage.stopped"));
  }

  /** A picture dropped on the page beside the places for one. */
  async takeDrop(transfer) {
    const inputs = await this.openInputs();
    if (await inputs.takeFrom(transfer)) this.showInputs(inputs.kind);
    else notify(t("inputs.no_picture"), { bad: true });
  }

  async openInputs() {
    const inputs = await this.inputs();
    this.inputGroup.open = true;
    await this.inputGroup.filled;
    return inputs;
  }

  /** Go to the input pictures, once they are laid out, and say what has been taken. */
  showInputs(kind) {
    requestAnimationFrame(() => this.inputGroup.scrollIntoView({ block: "start" }));
    this.inputGroup.querySelector("summary").focus({ preventScroll: true });
    point(this.inputGroup);
    notify(t("inputs.taken", { kind: t(`inputs.${kind}`) }));
  }

  update() {
    for (const update of this.updates) update();
    this.showActing();
  }

  /** With some checkpoints few parameters act, and only those are shown and sent. */
  showActing() {
    const chosen = this.models.checkpoints.find((file) => file.name === this.request.get("base_model_name"));
    const acting = chosen?.parameters?.length ? new Set(chosen.parameters) : null;
    this.request.acting = acting;
    for (const element of this.form.querySelectorAll("[data-field]")) {
      const { field } = element.dataset;
      element.hidden = Boolean(acting) && field in this.request.schema.properties && !acting.has(field);
    }
  }

  /** A field of the form's state; `options` gives the names to choose from, which may change. */
  field(name, { options, ...others } = {}) {
    const field = makeField(name, this.request.schema.properties[name], {
      value: this.request.get(name), onchange: (value) => this.request.set(name, value), options: options?.(), ...others,
    });
    this.updates.push(() => {
      if (options) field.offer(options());
      field.set(this.request.get(name));
    });
    return field.element;
  }

  /** What can be chosen, anew: files and presets come and go while the page is open. */
  async refreshModels() {
    const models = await api.models().catch(() => null);
    if (!models) return; // the connection says so
    Object.assign(this.models, models);
    this.request.presets = models.presets;
    this.update();
  }

  draw() {
    this.send = make("button", { class: "primary big", type: "submit" }, icon("bolt"), make("span", {}, t("create.generate")));
    this.form.append(
      make("div", { class: "scroll" },
        this.promptField(),
        this.negativePromptField(),
        make("div", { class: "two" }, this.presetField(), this.performanceField()),
        this.sizeField(),
        this.field("image_number", { quiet: true }),
        this.seedField(),
        this.group("style", async (body) => body.append((await import("./choices.js")).styleField(this))),
        this.group("model", async (body) => body.append(...(await import("./choices.js")).modelFields(this))),
        this.group("input", async (body) => {
          const inputs = await this.inputs();
          body.append(inputs.element);
          inputs.update();
        }),
        this.group("sampling", () => {}),
        this.group("more", (body) => body.append(...this.leftOver().map((name) => this.field(name)))),
      ),
      make("div", { class: "send" }, this.send, button(t("create.reset"), { icon: "undo", text: false, onclick: () => this.reset() })),
    );
  }

  promptField() {
    const element = this.field("prompt", { quiet: true, multiline: true });
    this.prompt = element.querySelector("textarea");
    this.prompt.placeholder = t("create.prompt_hint");
    const count = make("span", { class: "muted" });
    const take = (prompt) => {
      this.request.set("prompt", prompt);
      this.update();
      this.prompt.focus();
    };
    element.append(make("div", { class: "prompt-row" }, count, button(t("prompt.history"), { icon: "list", kind: "small",
      onclick: () => attempt(async () => (await import("./prompt_help.js")).openHistory(take)) })));
    this.helpWith("prompt", this.prompt, count);
    return element;
  }

  negativePromptField() {
    const element = this.field("negative_prompt", { quiet: true, multiline: true });
    const count = make("span", { class: "muted" });
    element.append(make("div", { class: "prompt-row" }, count));
    this.helpWith("negative_prompt", element.querySelector("textarea"), count);
    return element;
  }

  /** Completion, weights and length of a text field, from when it is first gone to. */
  helpWith(name, area, count) {
    area.addEventListener("focus", async () => {
      const { PromptHelp } = await import("./prompt_help.js");
      const { models } = this;
      const kinds = { lora: "loras", embedding: "embeddings" };
      const help = new PromptHelp(area, {
        count,
        names: (kind) => (kind === "style" ? models.styles : kind === "wildcard" ? models.wildcards : models[kinds[kind]].map((file) => file.name)),
        onchange: (text) => this.request.set(name, text),
        onstyle: (style) => {
          this.request.set("style_selections", [...new Set([...this.request.get("style_selections"), style])]);
          this.update();
          notify(t("prompt.style_chosen", { name: style }));
        },
      });
      this.updates.push(() => help.showCount());
    }, { once: true });
  }

  /** The place of the stage, whose module comes with the first task that there is to show. */
  drawPlace() {
    const { live } = this.shell;
    this.note = this.demonstrationNote();
    this.place = make("section", { class: "stage panel", "aria-label": t("stage.title") }, make("div", { class: "canvas" },
      make("div", { class: "empty" }, icon("image"), make("p", {}, t("stage.empty")), this.note)));
    const look = () => { if (live.running.length || sessionStorage.getItem(OWN_TASKS)) this.stage(); };
    live.addEventListener("change", look);
    look();
  }

  stage() {
    this.loadingStage ??= import("./stage.js").then(({ Stage }) => {
      const stage = new Stage(this.shell, this);
      stage.empty.append(this.note);
      this.place.replaceWith(stage.element);
      this.place = stage.element;
      this.loadedStage = stage;
      return stage;
    });
    return this.loadingStage;
  }

  /** What the built-in model can draw, with prompts to begin from. */
  demonstrationNote() {
    const examples = EXAMPLES.map((prompt) => button(prompt, { kind: "chip", text: true, onclick: () => {
      this.request.set("prompt", prompt);
      this.update();
      this.form.querySelector("textarea").focus();
    } }));
    const note = make("div", { class: "hint stack", hidden: true }, make("p", {}, t("create.demonstration")),
      make("div", { class: "chips", role: "group", "aria-label": t("create.examples") }, make("span", {}, t("create.examples")), examples));
    const show = () => { note.hidden = this.request.get("base_model_name") !== "embedded"; };
    this.updates.push(show);
    show();
    return note;
  }

  /** A section that is filled when it is first opened. */
  group(name, fill) {
    const body = make("div", { class: "group" });
    const details = make("details", { "data-group": name }, make("summary", {}, t(`group.${name}`)), body);
    details.filled = new Promise((resolve) => { details.isFilled = resolve; });
    details.addEventListener("toggle", async () => {
      if (!details.open || details.dataset.filled) return;
      details.dataset.filled = "true";
      if (!(await attempt(async () => { await fill(body); return true; }))) { // its module could not be fetched: the next opening tries again
        delete details.dataset.filled;
        details.open = false;
        return;
      }
      details.isFilled();
      const names = GROUPS[name].filter((field) => field in this.request.schema.properties);
      body.append(...names.map((field) => this.field(field, field === "vae_name" ? { options: () => this.vaes() } : {})));
      this.showActing();
    });
    if (name === "input") this.inputGroup = details;
    return details;
  }

  leftOver() {
    const named = new Set([...Object.values(GROUPS).flat(), ...ELSEWHERE]);
    return Object.keys(this.request.schema.properties).filter((name) => !named.has(name) && !tabOf(name));
  }

  vaes() {
    return [this.request.schema.properties.vae_name.default, ...this.models.vaes.map((file) => file.name)];
  }

  presetField() {
    const field = makeField("preset", this.request.schema.properties.preset, {
      value: this.request.preset?.name,
      quiet: true,
      options: this.models.presets.map((preset) => preset.name),
      onchange: (name) => this.request.usePreset(name),
    });
    const missing = make("p", { class: "hint warn", hidden: true });
    const update = () => {
      field.offer(this.models.presets.map((preset) => preset.name));
      field.set(this.request.preset?.name);
      missing.hidden = !this.request.preset || this.request.preset.model_installed;
      missing.textContent = t("create.model_missing", { model: this.request.preset?.parameters.base_model_name });
    };
    this.updates.push(update);
    update();
    return make("div", {}, field.element, missing);
  }

  performanceField() {
    const onchange = (mode) => { this.request.set("performance_selection", mode); this.update(); };
    return this.field("performance_selection", { quiet: true, onchange });
  }

  sizeField() {
    const choices = make("div", { class: "shapes" });
    const own = ["width", "height"].map((name) =>
      make("input", { type: "number", min: 64, max: 2048, step: 8, "aria-label": t(`create.${name}`) }));
    const choose = (text) => { this.request.set("aspect_ratios_selection", text); update(); };
    const shape = (text) => {
      const [width, height] = text.split("*").map(Number);
      const scale = 30 / Math.max(width, height);
      const picture = make("span", { class: "shape" });
      picture.style.width = `${width * scale}px`;
      picture.style.height = `${height * scale}px`;
      const input = make("input", { type: "radio", name: "size", value: text, onchange: () => choose(text) });
      return make("label", { title: `${width} × ${height}` }, input, picture, make("span", {}, `${width}×${height}`));
    };
    const update = () => {
      const now = String(this.request.get("aspect_ratios_selection")).replace(/[x×]/, "*").split(" ")[0];
      const sizes = this.request.preset?.sizes.length ? this.request.preset.sizes : SIZES;
      if (choices.dataset.sizes !== sizes.join()) {
        choices.dataset.sizes = sizes.join();
        choices.replaceChildren(...sizes.map((text) => shape(text.replace(/[x×]/, "*"))));
      }
      for (const input of choices.querySelectorAll("input")) input.checked = input.value === now;
      now.split("*").forEach((side, index) => { own[index].value = side; });
    };
    for (const input of own) {
      input.addEventListener("change", () => { if (own.every((side) => side.value)) choose(own.map((side) => Number(side.value)).join("*")); });
    }
    this.updates.push(update);
    update();
    const help = helpOf(this.request.schema.properties.aspect_ratios_selection, "aspect_ratios_selection");
    return make("fieldset", { class: "size" }, make("legend", { title: help }, labelOf("aspect_ratios_selection")), choices,
      make("div", { class: "own-size" }, own[0], make("span", { "aria-hidden": "true" }, "×"), own[1]));
  }

  seedField() {
    const schema = this.request.schema.properties.image_seed;
    const help = helpOf(schema, "image_seed");
    const input = make("input", { id: "seed", inputmode: "numeric", autocomplete: "off", placeholder: t("create.random"), "aria-describedby": "seed-help" });
    const take = (seed) => (seed === null ? this.request.clear("image_seed") : this.request.set("image_seed", seed));
    const update = () => {
      const seed = this.request.get("image_seed");
      input.value = seed === undefined || seed < 0 ? "" : String(seed);
    };
    input.addEventListener("input", () => {
      const seed = readSeed(input.value, schema.maximum);
      input.setCustomValidity(seed === undefined ? t("create.seed_range", { maximum: schema.maximum }) : "");
      input.toggleAttribute("aria-invalid", !input.checkValidity());
      if (seed !== undefined) take(seed);
    });
    const shuffle = button(t("create.shuffle"), { icon: "dice", text: false, onclick: () => { take(null); update(); } });
    const lock = button(t("create.keep_seed"), {
      icon: "lock", text: false,
      onclick: () => {
        const seed = this.loadedStage?.lastSeed ?? null;
        if (seed === null) return notify(t("create.no_seed_yet"));
        this.request.set("image_seed", seed);
        return update();
      },
    });
    this.updates.push(update);
    update();
    this.seed = input;
    return make("div", { class: "field seed", "data-field": "image_seed" }, make("label", { for: "seed", title: help }, labelOf("image_seed")),
      make("div", { class: "with-buttons" }, input, shuffle, lock), make("small", { id: "seed-help", class: "unseen" }, help));
  }

  reset() {
    const before = this.request.reset();
    notify(t("create.reset_done"), { action: t("undo"), run: () => this.request.restore(before) });
  }

  /** The part for input pictures, loaded when it is first wanted. */
  inputs() {
    this.loadingInputs ??= import("./inputs.js").then(({ InputPictures }) => {
      const names = Object.keys(this.request.schema.properties).filter((name) => tabOf(name) && !ELSEWHERE.has(name));
      const inputs = new InputPictures({ request: this.request, schemas: this.schemas, names });
      this.updates.push(() => inputs.update());
      return inputs;
    }).catch((error) => {
      this.loadingInputs = undefined; // to be tried again
      throw error;
    });
    return this.loadingInputs;
  }

  async generate() {
    const wrong = this.form.querySelector(":invalid:not(fieldset)");
    if (wrong) {
      wrong.reportValidity();
      return;
    }
    (await this.loadingInputs?.catch(() => null))?.finishMask();
    const body = this.request.request();
    if (this.send.disabled) return;
    this.send.disabled = true;
    if (!(await this.hasModel())) {
      this.send.disabled = false;
      return;
    }
    const key = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    const record = await attempt(() => this.post(body, key));
    this.send.disabled = false;
    if (!record) return;
    import("./prompt_help.js").then(({ remember }) => remember(String(this.request.get("prompt"))));
    (await this.stage()).add(record.task_id, String(this.request.get("prompt")));
    if (matchMedia("(max-width: 48rem)").matches) this.place.scrollIntoView({ block: "start" });
  }

  /** Whether the model is here, or may be fetched: gigabytes are asked for first. */
  async hasModel() {
    const name = this.request.get("base_model_name");
    if (this.models.checkpoints.some((file) => file.name === name)) return true;
    const { askToFetch } = await import("./fetching.js");
    return askToFetch(name);
  }

  /** A connection that breaks is tried again: the key keeps the server from making two tasks of it. */
  async post(body, key) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await api.generate(body, key);
      } catch (error) {
        if (!(error instanceof TypeError) || tries === TRIES) throw error;
        await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS * tries); });
      }
    }
  }
}
