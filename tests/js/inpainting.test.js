// The ways of painting in, from settings and back. ui.js needs a document only when it is used.

import assert from "node:assert/strict";
import test from "node:test";

import { wayOf, WAYS } from "../../static/js/inpainting.js";

const filled = (way) => ({ inpaint_engine: "v2.6", ...Object.fromEntries(Object.entries(WAYS[way]).filter(([, value]) => value !== undefined)) });

for (const way of Object.keys(WAYS)) {
  test(`the settings of "${way}" are known as it`, () => {
    const settings = filled(way);
    assert.equal(wayOf((name) => settings[name]), way);
  });
}

test("other settings are the reader's own", () => {
  const settings = { ...filled("improve"), inpaint_strength: 0.6 };
  assert.equal(wayOf((name) => settings[name]), "own");
});

test("filling leaves the engine to the preset, whichever it is", () => {
  const settings = { ...filled("fill"), inpaint_engine: "None" };
  assert.equal(wayOf((name) => settings[name]), "fill");
});
