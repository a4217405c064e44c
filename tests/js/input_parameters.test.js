// What each way of using input pictures adds to a request.

import assert from "node:assert/strict";
import { test } from "node:test";

import { inputParameters, SIDES, TABS } from "../../static/js/input_parameters.js";

const NONE = { kind: "none", image: "", mask: null, sides: new Set(), distances: [0, 0, 0, 0] };
const PICTURE = "data:image/png;base64,AAAA";

test("without a tab nothing is added", () => {
  assert.deepEqual(inputParameters(NONE, { prompt: "a cat" }), {});
});

test("pictures of a request whose parameters are in use are emptied, whatever the tab", () => {
  const changed = { uov_input_image: "/inputs/a.png", controlnet_image: [{ cn_img: "/inputs/b.png" }] };
  const emptied = { uov_input_image: "", controlnet_image: [] };
  assert.deepEqual(inputParameters(NONE, changed), emptied);
  assert.deepEqual(inputParameters({ ...NONE, kind: "enhance", image: PICTURE }, changed), {
    ...emptied, enhance_input_image: PICTURE, enhance_checkbox: false, enhance_ctrls: [],
  });
  assert.deepEqual(inputParameters({ ...NONE, kind: "vary", image: PICTURE }, changed), { ...emptied, uov_input_image: PICTURE });
});

test("a painted mask is sent with the sides that are on, and their pixels alone", () => {
  const painted = { kind: "inpaint", image: PICTURE, mask: "data:mask", sides: new Set(["Bottom", "Left"]), distances: [64, 32, 0, 0] };
  assert.deepEqual(inputParameters(painted, {}), {
    inpaint_input_image: PICTURE,
    inpaint_mask_image_upload: "data:mask",
    inpaint_mask_upload_checkbox: true,
    outpaint_selections: ["Left", "Bottom"],
    outpaint_distance: [64, 0, 0, 0],
  });
});

test("an unpainted mask is not sent", () => {
  const given = inputParameters({ ...NONE, kind: "inpaint", image: PICTURE, mask: "" }, {});
  assert.deepEqual(given, { inpaint_input_image: PICTURE, outpaint_selections: [], outpaint_distance: [0, 0, 0, 0] });
});

test("the inpaint tab without a picture adds nothing", () => {
  assert.deepEqual(inputParameters({ ...NONE, kind: "inpaint", sides: new Set(["Top"]) }, {}), {});
});

test("image prompts without a picture are left out, settings go along", () => {
  const prompts = [{ source: "", settings: { cn_weight: 1 } }, { source: PICTURE, settings: { cn_type: "PyraCanny", cn_stop: 0.8 } }];
  assert.deepEqual(inputParameters({ ...NONE, kind: "prompt", prompts }, {}), {
    controlnet_image: [{ cn_img: PICTURE, cn_type: "PyraCanny", cn_stop: 0.8 }],
  });
});

test("only enabled enhancements are sent, and they switch enhancing on", () => {
  const enhancements = [{}, { enhance_enabled: true, enhance_prompt: "a face" }, { enhance_enabled: false }];
  const given = inputParameters({ ...NONE, kind: "enhance", image: PICTURE, enhancements }, {});
  assert.equal(given.enhance_checkbox, true);
  assert.deepEqual(given.enhance_ctrls, [{ enhance_enabled: true, enhance_prompt: "a face" }]);
});

test("no parameter belongs to two tabs", () => {
  const names = ["uov_method", "upscale_loops", "overwrite_vary_strength", "inpaint_strength", "outpaint_distance", "invert_mask_checkbox",
    "controlnet_image", "canny_low_threshold", "mixing_image_prompt_and_inpaint", "enhance_checkbox", "dino_erode_or_dilate"];
  for (const name of names) assert.equal(Object.values(TABS).filter(({ test: fits }) => fits.test(name)).length, 1, name);
  assert.equal(SIDES.length, 4);
});
