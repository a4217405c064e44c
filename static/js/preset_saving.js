// Asks for a name and saves parameters as a preset on the server.

import { api } from "./api.js";
import { attempt, dialog, make, notify, t } from "./ui.js";

// What a preset can set; the server leaves out the rest, and pictures need not travel.
const FIELDS = ["base_model_name", "refiner_model_name", "refiner_switch", "loras", "guidance_scale", "sharpness", "adaptive_cfg", "clip_skip",
  "sampler_name", "scheduler_name", "performance_selection", "overwrite_step", "overwrite_switch", "prompt", "negative_prompt", "style_selections",
  "aspect_ratios_selection", "vae_name", "inpaint_engine"];
const NAME_LENGTH = 128;

/** Ask for a name, starting from `value`; `done` gets it, trimmed. `more` are further fields of the dialog. */
export function askName(title, value, done, more = []) {
  const input = make("input", { type: "text", value, maxlength: NAME_LENGTH, required: true, pattern: "[\\p{L}\\p{N}_][\\p{L}\\p{N}_ .+\\(\\)\\-]*", title: t("presets.name_help"), "aria-label": t("presets.name") });
  const box = dialog(title, make("form", { class: "stack", onsubmit: (event) => {
    event.preventDefault();
    box.close();
    done(input.value.trim());
  } }, make("label", {}, t("presets.name"), input), more, make("button", { class: "primary" }, t("save"))));
  input.select();
}

export function askToSave(parameters) {
  const kept = Object.fromEntries(FIELDS.filter((name) => parameters[name] !== undefined).map((name) => [name, parameters[name]]));
  const words = make("input", { type: "checkbox", checked: false });
  const replace = make("input", { type: "checkbox", checked: false });
  const box = (input, text) => make("label", { class: "check" }, input, make("span", {}, text));
  askName(t("presets.save"), "", async (name) => {
    if (!words.checked) {
      delete kept.prompt;
      delete kept.negative_prompt;
    }
    if (await attempt(() => api.savePreset(name, kept, replace.checked))) notify(t("presets.saved", { name }));
  }, [box(words, t("presets.with_words")), box(replace, t("presets.replace"))]);
}
