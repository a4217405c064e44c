// What painting in is for: Fooocus's three ways as one control, and a mask found by words.

import { api } from "./api.js";
import { attempt, button, make, notify, t } from "./ui.js";

// The settings that Fooocus 2.5.5 gives each of its ways; an engine that is not named is the preset's.
export const WAYS = {
  fill: { inpaint_disable_initial_latent: false, inpaint_engine: undefined, inpaint_strength: 1, inpaint_respective_field: 0.618 },
  improve: { inpaint_disable_initial_latent: false, inpaint_engine: "None", inpaint_strength: 0.5, inpaint_respective_field: 0 },
  modify: { inpaint_disable_initial_latent: true, inpaint_engine: undefined, inpaint_strength: 1, inpaint_respective_field: 0 },
};

/** The way whose settings a form's state has; "own" for any others. `get` gives a parameter's value in effect. */
export const wayOf = (get) =>
  Object.keys(WAYS).find((way) => Object.entries(WAYS[way]).every(([name, value]) => value === undefined || get(name) === value)) ?? "own";

/** A choice of the way; `onchange` hears that the settings are others now. Returns {element, update}. */
export function wayField(request, onchange) {
  const input = make("select", { id: "inpaint-way", "aria-describedby": "inpaint-way-help", onchange: () => {
    for (const [name, value] of Object.entries(WAYS[input.value] ?? {})) {
      if (value === undefined) request.clear(name);
      else request.set(name, value);
    }
    onchange();
  } }, [...Object.keys(WAYS), "own"].map((way) => make("option", { value: way }, t(`inpaint.${way}`))));
  const help = make("small", { id: "inpaint-way-help", class: "help" });
  const update = () => {
    input.value = wayOf((name) => request.get(name));
    input.lastElementChild.disabled = input.value !== "own";
    help.textContent = t(`inpaint.${input.value}_help`);
  };
  update();
  return { element: make("div", { class: "field choice" }, make("label", { for: "inpaint-way" }, t("inpaint.way")), input, help), update };
}

/** A line to say what the mask shall cover; `painter` gives the one that there is, `source` its picture. */
export function findByWords(painter, source) {
  const input = make("input", { type: "text", placeholder: t("inpaint.find_example"), "aria-label": t("inpaint.find"), autocomplete: "off" });
  const find = button(t("inpaint.find_go"), { icon: "brush", text: true, onclick: async () => {
    if (!painter()) {
      notify(t("inputs.picture_first"), { bad: true });
      return;
    }
    if (!input.value.trim()) {
      input.focus();
      return;
    }
    find.disabled = true;
    const mask = await attempt(() => api.generateMask({ image: source(), mask_model: "sam", dino_prompt_text: input.value.trim() }));
    find.disabled = false;
    if (mask) await painter().add(mask.startsWith("data:") ? mask : `data:image/png;base64,${mask}`);
  } });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    find.click();
  });
  return make("div", { class: "field" }, make("span", { class: "label", "aria-hidden": "true" }, t("inpaint.find")), make("div", { class: "with-buttons" }, input, find));
}
