// The pictures that a request brings along, and what is to be done with them: masks, outpainting, image prompts.

import { api } from "./api.js";
import { inputParameters, SIDES, TABS } from "./input_parameters.js";
import { MaskPainter } from "./mask.js";
import { pictureOf, shown } from "./slot.js";
import { announce, attempt, button, labelOf, make, makeField, notify, t } from "./ui.js";

const DRAWN = new Set(["uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image",
  "outpaint_selections", "outpaint_distance", "controlnet_image", "enhance_ctrls", "inpaint_mask_upload_checkbox",
  "inpaint_advanced_masking_checkbox", "enhance_checkbox"]);
const EDGE_STEP = 32; // pixels a key press

/** The section of the form; `parameters()` gives what it adds to a request. */
export class InputPictures {
  constructor({ request, schemas, names }) {
    Object.assign(this, { request, schemas, names });
    this.updates = [];
    this.kind = "none";
    this.slots = {};
    this.panels = {};
    this.element = make("div", { class: "stack" });
    this.draw();
    document.addEventListener("paste", (event) => this.paste(event));
  }

  draw() {
    const kinds = ["none", ...Object.keys(TABS)];
    this.choices = kinds.map((kind) => make("input", { type: "radio", name: "input-kind", value: kind, onchange: () => this.choose(kind) }));
    this.element.append(make("div", { class: "segments", role: "radiogroup", "aria-label": t("inputs.kind") },
      kinds.map((kind, index) => make("label", {}, this.choices[index], make("span", {}, t(`inputs.${kind}`))))));
    for (const kind of Object.keys(TABS)) {
      this.panels[kind] = make("div", { class: "stack", hidden: true });
      this.element.append(this.panels[kind]);
    }
    this.choose("none");
  }

  choose(kind) {
    this.kind = kind;
    for (const choice of this.choices) choice.checked = choice.value === kind;
    for (const [name, panel] of Object.entries(this.panels)) {
      panel.hidden = name !== kind;
      if (name === kind && !panel.childElementCount) this.fill(name, panel);
    }
  }

  fill(kind, panel) {
    const { image, test } = TABS[kind];
    if (image) {
      this.slots[kind] = this.slot(labelOf(image));
      panel.append(this.slots[kind], this.describing(this.slots[kind]));
    }
    if (kind === "inpaint") panel.append(...this.painting());
    if (kind === "prompt") panel.append(...this.imagePrompts());
    if (kind === "enhance") panel.append(...this.enhancements());
    const names = this.names.filter((name) => test.test(name) && !DRAWN.has(name));
    panel.append(...names.map((name) => this.field(name)));
    if (kind === "vary") this.preferVarying();
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
      value: this.request.get(name), onchange: (value) => this.request.set(name, value), multiline: schema.maxLength > 4096,
    });
    this.updates.push(() => field.set(this.request.get(name)));
    return field.element;
  }

  /** After the request was replaced: show its pictures. */
  update() {
    for (const update of this.updates) update();
    const { changed } = this.request;
    const kind = Object.keys(TABS).find((name) => changed[TABS[name].image]);
    if (kind) this.take(kind, changed[TABS[kind].image]);
    const prompts = changed.controlnet_image?.filter((prompt) => prompt.cn_img) ?? [];
    if (prompts.length) this.choose("prompt");
    prompts.slice(0, this.prompts?.length).forEach((prompt, index) => {
      Object.assign(this.prompts[index].settings, prompt);
      this.prompts[index].slot.take(prompt.cn_img);
    });
  }

  painting() {
    const host = make("div", { class: "painter-host", hidden: true });
    const slot = this.slots.inpaint;
    this.painter = null;
    this.distances = [0, 0, 0, 0];
    this.sides = new Set();
    slot.addEventListener("change", () => {
      host.hidden = !slot.source;
      slot.classList.toggle("small", Boolean(slot.source));
      host.replaceChildren();
      this.painter = slot.source ? new MaskPainter(shown(slot.source)) : null;
      if (!this.painter) return;
      host.append(this.painter.element);
      this.painter.frame(this.outpaintHandles());
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
    return [host, this.finding(), make("fieldset", { class: "sides" }, make("legend", {}, t("inputs.outpaint")), boxes)];
  }

  setSide(side, on) {
    if (on) this.sides.add(side);
    else this.sides.delete(side);
    this.showOutpaint();
  }

  setDistance(index, pixels, from) {
    const { maximum } = this.request.schema.properties.outpaint_distance.items;
    this.distances[index] = Math.max(0, Math.min(maximum, Math.round(pixels) || 0));
    if (this.distances[index]) this.sides.add(SIDES[index]);
    if (from !== this.distanceInputs[index]) this.distanceInputs[index].value = this.distances[index];
    this.showOutpaint();
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
      const settings = {};
      const fields = ["cn_type", "cn_stop", "cn_weight"].map((name) =>
        makeField(name, schema[name], { value: schema[name].default, quiet: true, onchange: (value) => { settings[name] = value; } }).element);
      const more = make("div", { class: "stack", hidden: true }, fields);
      slot.addEventListener("change", () => { more.hidden = !slot.source; });
      return { slot, settings, element: make("div", { class: "image-prompt" }, slot, more) };
    });
    return [make("div", { class: "image-prompts" }, this.prompts.map(({ element }) => element))];
  }

  enhancements() {
    const { maxItems } = this.request.schema.properties.enhance_ctrls;
    const schema = this.schemas.EnhanceControl.properties;
    this.enhanceSlots = Array.from({ length: maxItems }, () => ({}));
    return this.enhanceSlots.map((values, index) => {
      const fields = Object.entries(schema).map(([name, one]) =>
        makeField(name, one, { value: one.default, quiet: true, onchange: (value) => { values[name] = value; } }).element);
      return make("details", {}, make("summary", {}, t("inputs.enhance_number", { number: index + 1 })), make("div", { class: "group" }, fields));
    });
  }

  /** A picture from elsewhere on the page. */
  take(kind, source) {
    this.choose(kind);
    if (kind !== "prompt") this.slots[kind].take(source);
    else (this.prompts.find(({ slot }) => !slot.source) ?? this.prompts[0]).slot.take(source);
  }

  async paste(event) {
    if (!this.element.isConnected || !this.element.offsetParent || event.defaultPrevented) return;
    const found = await pictureOf(event.clipboardData);
    if (found) this.take(this.kind === "none" ? "vary" : this.kind, found);
  }

  /** What the chosen tab adds to a request. */
  parameters() {
    const chosen = {
      kind: this.kind,
      image: this.slots[this.kind]?.source ?? "",
      mask: this.kind === "inpaint" ? this.painter?.mask() : null,
      sides: this.sides,
      distances: this.distances,
      prompts: this.prompts?.map(({ slot, settings }) => ({ source: slot.source, settings })),
      enhancements: this.enhanceSlots,
    };
    return inputParameters(chosen, this.request.changed);
  }
}
