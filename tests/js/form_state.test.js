// The form's state: what a request holds, what a preset changes, what survives a reload.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { FormState, readSeed } from "../../static/js/create.js";
import { readNumber } from "../../static/js/ui.js";

const SEED = 2n ** 63n - 1n;
const schema = {
  properties: {
    prompt: { default: "" }, negative_prompt: { default: "" }, image_seed: {}, image_number: { default: 2 }, preset: { default: "initial" },
    sharpness: { default: 2 }, guidance_scale: { default: 4 }, uov_input_image: { default: "" }, stream_output: {}, async_process: {},
    require_base64: {}, webhook_url: {},
  },
};
const presets = [
  { name: "default", parameters: { guidance_scale: 4 } },
  { name: "anime", is_initial: true, parameters: { guidance_scale: 6 } },
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

let storage;
let state;

beforeEach(() => {
  storage = new MemoryStorage();
  state = new FormState(schema, presets, storage);
});

const reloaded = () => new FormState(schema, presets, storage);

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

test("a reload keeps every digit of the seed, and no picture", () => {
  state.set("image_seed", SEED);
  state.set("sharpness", 0.30000000000000004);
  state.set("uov_input_image", "data:image/png;base64,AAAA");
  assert.deepEqual(reloaded().changed, { image_seed: SEED, sharpness: 0.30000000000000004 });
});

test("a store that cannot be read is an empty form", () => {
  storage.setItem("focal.request", "{not json");
  assert.deepEqual(reloaded().changed, {});
});

test("another request's parameters replace all, without its delivery and what is unknown", () => {
  let told = 0;
  state.addEventListener("replaced", () => { told += 1; });
  state.set("sharpness", 9);
  state.replace({ prompt: "a dog", image_seed: SEED, stream_output: true, async_process: false, require_base64: true, webhook_url: "x", other: 1 });
  assert.deepEqual(state.changed, { prompt: "a dog", image_seed: SEED });
  assert.deepEqual(reloaded().changed, state.changed);
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
