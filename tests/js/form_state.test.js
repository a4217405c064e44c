// The form's state: what a request holds, what a preset changes, what survives a reload.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { activeTabs, Drafts, FormState, readSeed, requestOf, SIDES, strengthOf, tabOf, TABS, tabsOf } from "../../static/js/form_state.js";
import { readNumber } from "../../static/js/ui.js";

const SEED = 2n ** 63n - 1n;
const schema = {
  properties: {
    prompt: { default: "" }, negative_prompt: { default: "" }, image_seed: {}, image_number: { default: 2 }, preset: { default: "initial" },
    sharpness: { default: 2 }, guidance_scale: { default: 4 }, uov_input_image: { default: "" }, stream_output: {}, async_process: {},
    require_base64: {}, webhook_url: {}, performance_selection: { default: "Speed" }, overwrite_step: { default: -1 }, uov_method: {},
    inpaint_input_image: {}, inpaint_mask_image_upload: {}, outpaint_distance: {}, controlnet_image: {}, enhance_checkbox: {}, enhance_ctrls: {},
  },
};
const presets = [
  { name: "default", parameters: { guidance_scale: 4 } },
  { name: "anime", is_initial: true, parameters: { guidance_scale: 6, performance_selection: "Speed", overwrite_step: 20 } },
];

/** A Web Storage in memory. */
class MemoryStorage {
  #items = new Map();

  getItem(name) {
    return this.#items.get(name) ?? null;
  }

  setItem(name, value) {
    this.#items.set(name, String(value));
  }
}

/** A PictureStore in memory. */
class MemoryPictures {
  kept = new Map();

  async get(key) {
    return this.kept.get(key);
  }

  async put(key, value) {
    this.kept.set(key, value);
  }
}

const PICTURE = "data:image/png;base64,AAAA";
let local;
let session;
let pictures;
let state;

/** The form of a browser tab, as it is after loading. */
async function opened(ownSession = session) {
  const form = new FormState(schema, presets, new Drafts(ownSession, local, async () => pictures));
  await form.load();
  return form;
}

beforeEach(async () => {
  local = new MemoryStorage();
  session = new MemoryStorage();
  pictures = new MemoryPictures();
  state = await opened();
});

const settled = () => new Promise((resolve) => { setTimeout(resolve); });

test("a value is the form's, else the preset's, else the schema's default", () => {
  assert.equal(state.get("guidance_scale"), 6);
  assert.equal(state.get("sharpness"), 2);
  state.set("guidance_scale", 0);
  assert.equal(state.get("guidance_scale"), 0);
  state.clear("guidance_scale");
  assert.equal(state.get("guidance_scale"), 6);
  assert.equal(state.get("no_such_parameter"), undefined);
});

test("only what was changed is sent", () => {
  state.set("prompt", "a cat");
  assert.deepEqual(state.changed, { prompt: "a cat" });
});

test("a reload keeps every digit of the seed, and the pictures", async () => {
  state.set("image_seed", SEED);
  state.set("sharpness", 0.30000000000000004);
  state.set("uov_input_image", PICTURE);
  state.chooseTab("vary");
  await settled();
  assert.ok(!local.getItem("focal.draft").includes("data:"), "pictures would fill it");
  const again = await opened();
  assert.deepEqual(again.changed, { image_seed: SEED, sharpness: 0.30000000000000004, uov_input_image: PICTURE });
  assert.deepEqual(again.tabs, ["vary"]);
});

test("each browser tab has a draft of its own; a new one begins with the last", async () => {
  const other = new MemoryStorage();
  state.set("prompt", "one");
  const second = await opened(other);
  assert.deepEqual(second.changed, { prompt: "one" });
  second.set("prompt", "two");
  second.set("uov_input_image", PICTURE);
  await settled();
  assert.deepEqual((await opened()).changed, { prompt: "one" });
  assert.deepEqual((await opened(other)).changed, { prompt: "two", uov_input_image: PICTURE });
  assert.deepEqual((await opened(new MemoryStorage())).changed, { prompt: "two", uov_input_image: PICTURE });
});

test("a picture that was removed does not come back", async () => {
  state.set("uov_input_image", PICTURE);
  state.clear("uov_input_image");
  await settled();
  assert.deepEqual((await opened()).changed, {});
});

test("a store that cannot be read is an empty form", async () => {
  local.setItem("focal.draft", "{not json");
  assert.deepEqual((await opened(new MemoryStorage())).changed, {});
});

test("another request's parameters replace all, without its delivery and what is unknown", async () => {
  let told = 0;
  state.addEventListener("replaced", () => { told += 1; });
  state.set("sharpness", 9);
  state.replace({ prompt: "a dog", image_seed: SEED, stream_output: true, async_process: false, require_base64: true, webhook_url: "x", other: 1 });
  assert.deepEqual(state.changed, { prompt: "a dog", image_seed: SEED });
  assert.deepEqual((await opened()).changed, state.changed);
  assert.equal(told, 1);
});

test("another preset brings its values and leaves the words, the seed and the number", () => {
  for (const [name, value] of Object.entries({ prompt: "a", negative_prompt: "b", image_seed: 7, image_number: 4, guidance_scale: 9 })) {
    state.set(name, value);
  }
  state.usePreset("default");
  assert.deepEqual(state.changed, { prompt: "a", negative_prompt: "b", image_seed: 7, image_number: 4, preset: "default" });
  assert.equal(state.get("guidance_scale"), 4);
});

test("another preset leaves the input pictures", () => {
  state.replace({ prompt: "a", uov_method: "Vary (Subtle)", uov_input_image: "/inputs/a.png", guidance_scale: 9 });
  state.usePreset("default");
  assert.deepEqual(state.request(), { prompt: "a", uov_method: "Vary (Subtle)", uov_input_image: "/inputs/a.png", preset: "default" });
});

test("back to the preset's values: the words and the seed stay, pictures go, and it can be taken back", () => {
  const all = { prompt: "a", negative_prompt: "b", image_seed: 7, image_number: 4, preset: "default", guidance_scale: 9, uov_input_image: PICTURE };
  state.replace(all);
  const before = state.reset();
  assert.deepEqual(state.request(), { prompt: "a", negative_prompt: "b", image_seed: 7, image_number: 4, preset: "default" });
  state.restore(before);
  assert.deepEqual(state.request(), all);
});

test("a mode that is chosen and left again leaves the preset its steps", () => {
  assert.equal(state.get("overwrite_step"), 20);
  state.set("performance_selection", "Quality");
  assert.equal(state.get("overwrite_step"), -1, "the mode's own run");
  state.set("performance_selection", "Speed");
  assert.equal(state.get("overwrite_step"), 20);
  assert.deepEqual(state.request(), {});
});

test("a preset that is gone gives way to the initial one", () => {
  state.set("preset", "removed");
  assert.equal(state.preset.name, "anime");
});

test("seeds are read exactly, up to the schema's maximum", () => {
  const cases = [["", null], ["  ", null], ["0", 0], [" 42 ", 42], ["9007199254740991", 9007199254740991], ["9007199254740992", 9007199254740992n],
    ["9223372036854775807", SEED], ["9223372036854775808", undefined], ["-1", undefined], ["1.5", undefined], ["1e3", undefined], ["0x10", undefined]];
  for (const [text, seed] of cases) assert.equal(readSeed(text, SEED), seed, text);
});

test("numbers are read as typed; where integers are taken they are rounded", () => {
  assert.equal(readNumber("0.30000000000000004", { integer: false }), 0.30000000000000004);
  assert.equal(readNumber("2.6", { integer: true }), 3);
  for (const text of ["", " ", "-", "1,5", "Infinity", "NaN"]) assert.equal(readNumber(text, { integer: false }), undefined, text);
});

test("only what the chosen way shows is sent", () => {
  const vary = { uov_method: "Vary (Subtle)", uov_input_image: PICTURE, overwrite_vary_strength: 0.4 };
  const parameters = { prompt: "a", ...vary, inpaint_input_image: PICTURE, inpaint_strength: 0.5 };
  assert.deepEqual(requestOf(parameters, ["vary"]), { prompt: "a", ...vary });
  assert.deepEqual(requestOf(parameters, ["inpaint"]), { prompt: "a", inpaint_input_image: PICTURE, inpaint_strength: 0.5 });
  assert.deepEqual(requestOf(parameters, []), { prompt: "a" });
  assert.deepEqual(requestOf(parameters, ["prompt"]), { prompt: "a" });
});

test("a way without its picture is not sent: the method of the last variation would be refused", () => {
  state.chooseTab("vary");
  state.set("uov_input_image", PICTURE);
  state.set("uov_method", "Vary (Subtle)");
  state.clear("uov_input_image");
  assert.deepEqual(state.request(), {});
});

test("parameters that do not act with the chosen checkpoint are not sent", () => {
  const parameters = { prompt: "a", loras: [{ model_name: "a" }], uov_input_image: PICTURE, uov_method: "Vary (Subtle)", sharpness: 3 };
  assert.deepEqual(requestOf(parameters, ["vary"], new Set(["prompt", "uov_input_image", "uov_method"])), {
    prompt: "a", uov_input_image: PICTURE, uov_method: "Vary (Subtle)",
  });
  assert.deepEqual(requestOf(parameters, ["vary"], null), parameters);
});

test("enhancing needs no picture of its own", () => {
  const parameters = { enhance_checkbox: true, enhance_ctrls: [{ enhance_enabled: true }] };
  assert.deepEqual(requestOf(parameters, ["enhance"]), parameters);
  assert.deepEqual(requestOf({ ...parameters, enhance_checkbox: false }, ["enhance"]), {});
});

test("with its flag a way is sent beside image prompts, from either side", () => {
  const mixed = { uov_input_image: PICTURE, controlnet_image: [{ cn_img: PICTURE }], mixing_image_prompt_and_vary_upscale: true };
  assert.deepEqual(requestOf(mixed, ["vary"]), mixed);
  assert.deepEqual(requestOf(mixed, ["prompt"]), mixed);
  assert.deepEqual([...activeTabs({ ...mixed, mixing_image_prompt_and_vary_upscale: false }, ["vary"])], ["vary"]);
});

test("an image prompt has the strength that was sent, else its type's", () => {
  assert.deepEqual(strengthOf({}), { cn_stop: 0.5, cn_weight: 0.6 });
  assert.deepEqual(strengthOf({ cn_type: "PyraCanny" }), { cn_stop: 0.5, cn_weight: 1 });
  assert.deepEqual(strengthOf({ cn_type: "FaceSwap", cn_weight: 0 }), { cn_stop: 0.9, cn_weight: 0 });
});

test("no parameter belongs to two ways", () => {
  const names = ["uov_method", "upscale_loops", "overwrite_vary_strength", "inpaint_strength", "outpaint_distance", "invert_mask_checkbox",
    "controlnet_image", "canny_low_threshold", "mixing_image_prompt_and_inpaint", "enhance_checkbox", "enhance_uov_method", "dino_erode_or_dilate"];
  for (const name of names) assert.equal(Object.values(TABS).filter(({ test: fits }) => fits.test(name)).length, 1, name);
  assert.equal(tabOf("prompt"), undefined);
  assert.equal(SIDES.length, 4);
});

// What each way may hold beside its picture, as a task's record has it.
const CONTENTS = {
  vary: { uov_input_image: "/inputs/v.png", uov_method: "Upscale (Custom)", upscale_multiple: 1.5, upscale_model: "default", overwrite_upscale_strength: 0.2 },
  inpaint: { inpaint_input_image: "/inputs/i.png", inpaint_mask_image_upload: PICTURE, inpaint_mask_upload_checkbox: true,
    outpaint_selections: ["Left", "Top"], outpaint_distance: [64, 0, 0, 0], inpaint_engine: "v2.6", inpaint_strength: 0.7,
    inpaint_respective_field: 0.3, invert_mask_checkbox: true, inpaint_erode_or_dilate: -4, inpaint_additional_prompt: "eyes" },
  prompt: { controlnet_image: [{ cn_img: PICTURE, cn_type: "PyraCanny", cn_stop: 0.8, cn_weight: 1.3 }, { cn_img: "/inputs/p.png" }],
    canny_low_threshold: 30, controlnet_softness: 0.5, skipping_cn_preprocessor: true },
  enhance: { enhance_input_image: "/inputs/e.png", enhance_checkbox: true, enhance_uov_method: "Vary (Subtle)", dino_erode_or_dilate: 3,
    enhance_ctrls: [{ enhance_enabled: true, enhance_prompt: "a face" }, { enhance_enabled: false }], save_final_enhanced_image_only: true },
};
const PLAIN = { prompt: "a cat", negative_prompt: "", image_seed: SEED, image_number: 3, guidance_scale: 0.30000000000000004, overwrite_step: 12,
  loras: [{ enabled: true, model_name: "a.safetensors", weight: -0.5 }], style_selections: [], performance_selection: "Speed", clip_skip: 1 };

test("every task's parameters, taken over, give that task's request", () => {
  const ways = Object.keys(CONTENTS);
  for (let chosen = 0; chosen < 2 ** ways.length; chosen += 1) {
    const used = ways.filter((_, index) => chosen & (1 << index));
    const task = Object.assign({ ...PLAIN }, ...used.map((way) => CONTENTS[way]));
    const known = { properties: Object.fromEntries(Object.keys(task).map((name) => [name, {}])) };
    const form = new FormState(known, presets, new Drafts(new MemoryStorage(), new MemoryStorage(), async () => pictures));
    form.replace({ prompt: "left over", uov_input_image: "/inputs/old.png", outpaint_distance: [1, 2, 3, 4] });
    form.replace({ ...task, async_process: true, webhook_url: "http://a/" });
    assert.deepEqual(form.request(), task, used.join());
    assert.deepEqual(new Set(tabsOf(task)), new Set(used));
  }
});
