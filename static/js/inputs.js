// The pictures that a request brings along, and what is to be done with them: masks, outpainting, image prompts.

import { api } from "./api.js";
import { activeTabs, SIDES, strengthOf, TABS } from "./form_state.js";
import { findByWords, wayField, WAYS } from "./inpainting.js";
import { MaskPainter } from "./mask.js";
import { isShowable, pictureOf, shown } from "./slot.js";
import { announce, attempt, button, labelOf, make, makeField, notify, t } from "./ui.js";

const DRAWN = new Set(["uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image",
  "outpaint_selections", "outpaint_distance", "controlnet_image", "enhance_ctrls", "inpaint_mask_upload_checkbox",
  "inpaint_advanced_masking_checkbox", "enhance_checkbox"]);
const KINDS = ["vary", "inpaint", "prompt", "enhance"]; // in the order in which they are shown
const EDGE_STEP = 32; // pixels a key press
const MASK_PAUSE_MS = 300; // from the last stroke until the mask is kept

/** The section of the form. What is chosen here stands in the form's state (`request`) at once. */
export class InputPictures {
  #maskTimer = 0;

  constructor({ request, schemas, names }) {
    Object.assign(this, { request, schemas, names });
    this.updates = [];
    this.slots = {};
    this.panels = {};
    this.element = make("div", { class: "stack" });
    this.draw();
    document.addEventListener("paste", (event) => this.paste(event));
  }

  get kind() {
    return this.request.tabs[0] ?? "none";
  }

  draw() {
    const kinds = ["none", ...KINDS];
    this.choices = kinds.map((kind) => make("input", { type: "radio", name: "input-kind", value: kind, onchange: () => this.choose(kind) }));
    this.others = make("div", { class: "chips", role: "group", "aria-label": t("inputs.also"), hidden: true });
    this.element.append(make("div", { class: "segments", role: "radiogroup", "aria-label": t("inputs.kind") },
      kinds.map((kind, index) => make("label", {}, this.choices[index], make("span", {}, t(`inputs.${kind}`))))), this.others);
    for (const kind of KINDS) {
      this.panels[kind] = make("div", { class: "stack", hidden: true });
      this.element.append(this.panels[kind]);
    }
    this.show();
  }

  choose(kind) {
    this.request.chooseTab(kind);
    this.show();
  }

  show() {
    const { acting } = this.request;
    for (const choice of this.choices) {
      const image = choice.value === "prompt" ? "controlnet_image" : TABS[choice.value]?.image;
      choice.checked = choice.value === this.kind;
      choice.parentElement.hidden = Boolean(acting && image) && !acting.has(image);
    }
    for (const [name, panel] of Object.entries(this.panels)) {
      panel.hidden = name !== this.kind;
      if (name === this.kind && !panel.childElementCount) this.fill(name, panel);
    }
    this.showOthers();
  }

  /** Ways that are sent beside the one that is shown, as those of a request that was taken over. */
  showOthers() {
    const others = [...activeTabs(this.request.changed, this.request.tabs)].filter((kind) => kind !== this.kind);
    this.others.hidden = !others.length;
    this.others.replaceChildren(make("span", {}, t("inputs.also")), ...others.map((kind) =>
      button(t(`inputs.${kind}`), { kind: "chip", icon: "close", text: true, "aria-label": t("inputs.leave", { kind: t(`inputs.${kind}`) }),
        onclick: () => { this.leave(kind); } })));
  }

  leave(kind) {
    const flags = Object.keys(this.request.changed).filter((name) => name.startsWith("mixing_"));
    this.request.clear(...flags);
    this.request.leaveTab(kind);
    this.update();
  }

  fill(kind, panel) {
    const { image, test } = TABS[kind];
    if (image) {
      this.slots[kind] = this.slot(labelOf(image));
      this.slots[kind].addEventListener("change", () => this.setPicture(image, this.slots[kind].source));
      panel.append(this.slots[kind], this.describing(this.slots[kind]));
    }
    if (kind === "inpaint") panel.append(...this.painting());
    if (kind === "prompt") panel.append(...this.imagePrompts());
    if (kind === "enhance") panel.append(...this.enhancements());
    const names = this.names.filter((name) => test.test(name) && !DRAWN.has(name));
    const isRare = (name) => kind === "inpaint" && name in WAYS.fill;
    panel.append(...names.filter((name) => !isRare(name)).map((name) => this.field(name)));
    if (kind === "inpaint") {
      panel.append(make("details", {}, make("summary", {}, t("inpaint.settings")), make("div", { class: "group" }, names.filter(isRare).map((name) => this.field(name)))));
    }
    if (kind === "vary") this.preferVarying();
    this.showPictures(kind);
  }

  setPicture(name, source) {
    if (source) this.request.set(name, source);
    else this.request.clear(name);
    this.showOthers();
  }

  /** Buttons that put the chosen picture into words, as the prompt. */
  describing(slot) {
    const kinds = this.schemas.DescribeImage.properties.image_type.enum;
    const buttons = kinds.map((kind) => button(t(`inputs.describe_${kind.toLowerCase()}`), { text: true, onclick: async (event) => {
      event.target.closest("button").disabled = true;
      const found = await attempt(() => api.describe(slot.source, kind));
      event.target.closest("button").disabled = false;
      if (!found) return;
      this.request.set("prompt", found.describe);
      this.request.dispatchEvent(new Event("replaced"));
      announce(t("inputs.described"));
    } }));
    const row = make("div", { class: "actions", hidden: true }, buttons);
    slot.addEventListener("change", () => { row.hidden = !slot.source; });
    return row;
  }

  /** A mask drawn by a model instead of by hand: its options come from the tool's schema. */
  finding() {
    const { image: _, ...schema } = this.schemas.GenerateMask.properties;
    const options = {};
    const fields = Object.entries(schema).map(([name, one]) =>
      makeField(name, one, { value: one.default, onchange: (value) => { options[name] = value; } }).element);
    const find = button(t("inputs.find_mask"), { icon: "brush", text: true, onclick: async () => {
      if (!this.painter) {
        notify(t("inputs.picture_first"), { bad: true });
        return;
      }
      find.disabled = true;
      const mask = await attempt(() => api.generateMask({ image: this.slots.inpaint.source, ...options }));
      find.disabled = false;
      if (mask) await this.painter.add(mask.startsWith("data:") ? mask : `data:image/png;base64,${mask}`);
    } });
    return make("details", {}, make("summary", {}, t("inputs.mask_by_model")), make("div", { class: "group" }, fields, find));
  }

  /** A picture to vary with the method "Disabled" would do nothing. */
  preferVarying() {
    const choices = this.request.schema.properties.uov_method.enum;
    this.slots.vary.addEventListener("change", () => {
      if (this.slots.vary.source && this.request.get("uov_method") === choices[0]) {
        this.request.set("uov_method", choices[1]);
        this.update();
      }
    });
  }

  slot(name) {
    return make("image-slot", { name, tabindex: -1 });
  }

  field(name) {
    const schema = this.request.schema.properties[name];
    const field = makeField(name, schema, {
      value: this.request.get(name), multiline: schema.maxLength > 4096,
      onchange: (value) => { this.request.set(name, value); if (name in WAYS.fill) this.update(); },
    });
    this.updates.push(() => field.set(this.request.get(name)));
    return field.element;
  }

  /** After the form's state has changed as a whole. */
  update() {
    for (const update of this.updates) update();
    for (const kind of KINDS) if (this.panels[kind].childElementCount) this.showPictures(kind);
    this.show();
  }

  /** Show what the form's state holds of one way. */
  showPictures(kind) {
    const { changed } = this.request;
    if (TABS[kind].image) {
      this.slots[kind].put(changed[TABS[kind].image] ?? "");
      this.slots[kind].dispatchEvent(new Event("shown"));
    }
    if (kind === "inpaint") {
      this.sides = new Set(changed.outpaint_selections ?? []);
      this.distances = [...(changed.outpaint_distance ?? [0, 0, 0, 0])];
      this.distances.forEach((pixels, index) => { this.distanceInputs[index].value = pixels; });
      this.showOutpaint();
    }
    if (kind === "prompt") {
      const given = (changed.controlnet_image ?? []).filter((one) => one.cn_img);
      this.prompts.forEach((prompt, index) => prompt.put(given[index] ?? {}));
    }
    if (kind === "enhance") this.enhanceSlots.forEach((slot, index) => slot.put(changed.enhance_ctrls?.[index] ?? {}));
  }

  painting() {
    const host = make("div", { class: "painter-host", hidden: true });
    const slot = this.slots.inpaint;
    let painted = null; // the picture that the painter shows
    this.painter = null;
    this.mask = "";
    this.distances = [0, 0, 0, 0];
    this.sides = new Set();
    const paint = () => {
      clearTimeout(this.#maskTimer);
      this.#maskTimer = 0;
      painted = slot.source;
      host.hidden = !slot.source;
      slot.classList.toggle("small", Boolean(slot.source));
      host.replaceChildren();
      this.painter = slot.source ? new MaskPainter(shown(slot.source), () => this.maskChanged()) : null;
      if (!this.painter) return;
      host.append(this.painter.element);
      this.painter.frame(this.outpaintHandles());
      this.showOutpaint();
    };
    // Another picture has no mask yet; one that is only shown again has the request's.
    slot.addEventListener("change", () => { this.setMask(""); paint(); });
    slot.addEventListener("shown", () => {
      const mask = this.request.changed.inpaint_mask_image_upload ?? "";
      if (painted === slot.source && this.mask === mask) return; // strokes and their undoing stay
      paint();
      this.mask = mask;
      if (this.painter && mask) this.painter.restore(shown(mask));
    });
    const inputs = SIDES.map((side, index) => {
      const { maximum } = this.request.schema.properties.outpaint_distance.items;
      return make("input", { type: "number", min: 0, max: maximum, value: 0, "aria-label": t(`inputs.pixels_${side.toLowerCase()}`),
        oninput: (event) => this.setDistance(index, Number(event.target.value), event.target) });
    });
    const boxes = SIDES.map((side, index) => make("label", { class: "side" },
      make("input", { type: "checkbox", onchange: (event) => this.setSide(side, event.target.checked) }),
      make("span", {}, t(`inputs.${side.toLowerCase()}`)), inputs[index]));
    this.distanceInputs = inputs;
    this.sideBoxes = boxes.map((box) => box.querySelector("input"));
    const way = wayField(this.request, () => this.update());
    this.updates.push(way.update);
    return [way.element, host, findByWords(() => this.painter, () => slot.source), this.finding(), make("fieldset", { class: "sides" }, make("legend", {}, t("inputs.outpaint")), boxes)];
  }

  setSide(side, on) {
    if (on) this.sides.add(side);
    else this.sides.delete(side);
    this.keepOutpaint();
  }

  setDistance(index, pixels, from) {
    const { maximum } = this.request.schema.properties.outpaint_distance.items;
    this.distances[index] = Math.max(0, Math.min(maximum, Math.round(pixels) || 0));
    if (this.distances[index]) this.sides.add(SIDES[index]);
    if (from !== this.distanceInputs[index]) this.distanceInputs[index].value = this.distances[index];
    this.keepOutpaint();
  }

  keepOutpaint() {
    this.request.set("outpaint_selections", SIDES.filter((side) => this.sides.has(side)));
    this.request.set("outpaint_distance", SIDES.map((side, index) => (this.sides.has(side) ? this.distances[index] : 0)));
    this.showOutpaint();
  }

  maskChanged() {
    clearTimeout(this.#maskTimer);
    this.#maskTimer = setTimeout(() => this.finishMask(), MASK_PAUSE_MS);
  }

  /** Keep a mask that was painted a moment ago. */
  finishMask() {
    if (!this.#maskTimer) return;
    clearTimeout(this.#maskTimer);
    this.#maskTimer = 0;
    this.setMask(this.painter?.mask() ?? "");
  }

  setMask(mask) {
    this.mask = mask;
    if (!mask) {
      this.request.clear("inpaint_mask_image_upload", "inpaint_mask_upload_checkbox");
      return;
    }
    this.request.set("inpaint_mask_image_upload", mask);
    this.request.set("inpaint_mask_upload_checkbox", true);
  }

  showOutpaint() {
    this.sideBoxes.forEach((box, index) => { box.checked = this.sides.has(SIDES[index]); });
    this.painter?.extend(SIDES.map((side, index) => {
      if (!this.sides.has(side)) return 0;
      const across = index % 2 === 0 ? this.painter.width : this.painter.height;
      return this.distances[index] || Math.round(across * 0.3);
    }));
  }

  /** Bars at the four edges of the picture, dragged or moved with the arrow keys. */
  outpaintHandles() {
    return SIDES.map((side, index) => {
      const handle = make("button", {
        type: "button", class: `edge ${side.toLowerCase()}`, role: "slider", "aria-label": t(`inputs.pixels_${side.toLowerCase()}`),
        "aria-valuemin": 0, "aria-valuemax": 2048, "aria-valuenow": 0, "aria-orientation": index % 2 === 0 ? "horizontal" : "vertical",
      });
      const by = (pixels) => { this.setDistance(index, pixels); handle.setAttribute("aria-valuenow", this.distances[index]); };
      handle.addEventListener("keydown", (event) => {
        const outward = ["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"];
        const grow = { [outward[index]]: EDGE_STEP, [outward[(index + 2) % 4]]: -EDGE_STEP }[event.key];
        if (!grow) return;
        event.preventDefault();
        by(this.distances[index] + grow);
      });
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        const start = { x: event.clientX, y: event.clientY, was: this.distances[index], scale: this.painter.scale };
        const drag = (move) => {
          const way = [start.x - move.clientX, start.y - move.clientY, move.clientX - start.x, move.clientY - start.y][index];
          by(start.was + way * start.scale);
        };
        handle.addEventListener("pointermove", drag);
        handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", drag), { once: true });
      });
      return handle;
    });
  }

  imagePrompts() {
    const { maxItems } = this.request.schema.properties.controlnet_image;
    const schema = this.schemas.ControlNetImage.properties;
    this.prompts = Array.from({ length: maxItems }, (_, index) => {
      const slot = this.slot(t("inputs.prompt_number", { number: index + 1 }));
      const prompt = { slot, settings: {} };
      const fields = Object.fromEntries(["cn_type", "cn_stop", "cn_weight"].map((name) => [name, makeField(name, schema[name], {
        value: schema[name].default, quiet: true, onchange: (value) => {
          // Another type has another strength of its own.
          prompt.settings = name === "cn_type" ? { cn_type: value } : { ...prompt.settings, [name]: value };
          show();
          this.keepPrompts();
        },
      })]));
      const more = make("div", { class: "stack", hidden: true }, Object.values(fields).map(({ element }) => element));
      const show = () => {
        more.hidden = !slot.source;
        const strength = strengthOf(prompt.settings);
        fields.cn_type.set(prompt.settings.cn_type ?? schema.cn_type.default);
        for (const [name, value] of Object.entries(strength)) if (fields[name].input !== document.activeElement) fields[name].set(value);
      };
      slot.addEventListener("change", () => { show(); this.keepPrompts(); });
      prompt.put = ({ cn_img: source = "", ...settings }) => {
        slot.put(source);
        prompt.settings = settings;
        show();
      };
      return Object.assign(prompt, { element: make("div", { class: "image-prompt" }, slot, more) });
    });
    return [make("div", { class: "image-prompts" }, this.prompts.map(({ element }) => element))];
  }

  keepPrompts() {
    const given = this.prompts.filter(({ slot }) => slot.source);
    this.request.set("controlnet_image", given.map(({ slot, settings }) => ({ cn_img: slot.source, ...settings })));
    this.showOthers();
  }

  enhancements() {
    const { maxItems } = this.request.schema.properties.enhance_ctrls;
    const schema = this.schemas.EnhanceControl.properties;
    this.enhanceSlots = Array.from({ length: maxItems }, (_, index) => {
      const slot = { values: {} };
      const fields = Object.fromEntries(Object.entries(schema).map(([name, one]) => [name, makeField(name, one, {
        value: one.default, quiet: true, onchange: (value) => {
          slot.values = { ...slot.values, [name]: value };
          this.keepEnhancements();
        },
      })]));
      slot.put = (values) => {
        slot.values = values;
        for (const [name, one] of Object.entries(schema)) fields[name].set(values[name] ?? one.default);
      };
      slot.element = make("details", {}, make("summary", {}, t("inputs.enhance_number", { number: index + 1 })),
        make("div", { class: "group" }, Object.values(fields).map(({ element }) => element)));
      return slot;
    });
    return this.enhanceSlots.map(({ element }) => element);
  }

  keepEnhancements() {
    const given = this.enhanceSlots.map(({ values }) => values);
    while (given.length && !given.at(-1).enhance_enabled) given.pop();
    this.request.set("enhance_ctrls", given);
    this.request.set("enhance_checkbox", given.length > 0);
    this.showOthers();
  }

  /** A picture from elsewhere on the page. */
  take(kind, source) {
    if (this.kind !== kind) this.choose(kind);
    if (kind !== "prompt") this.slots[kind].take(source);
    else (this.prompts.find(({ slot }) => !slot.source) ?? this.prompts[0]).slot.take(source);
  }

  async paste(event) {
    if (!this.element.isConnected || !this.element.offsetParent || event.defaultPrevented) return;
    await this.takeFrom(event.clipboardData);
  }

  /** A picture that was pasted, or dropped beside the places for one; false without. */
  async takeFrom(transfer) {
    const found = await pictureOf(transfer);
    if (found && (await isShowable(found))) this.take(this.kind === "none" ? "vary" : this.kind, found);
    return Boolean(found);
  }
}
