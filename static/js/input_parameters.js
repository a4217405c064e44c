// What input pictures add to a request: which parameters belong to which way of using them. No DOM.

export const SIDES = ["Left", "Top", "Right", "Bottom"];

// The parameter of each way's picture, and which other parameters belong to it, by their names.
export const TABS = {
  vary: { image: "uov_input_image", test: /^(uov_|upscale_|overwrite_(vary|upscale))/ },
  inpaint: { image: "inpaint_input_image", test: /^(inpaint_|outpaint_|invert_mask|debugging_inpaint)/ },
  prompt: { test: /^(controlnet_|canny_|mixing_|debugging_cn|skipping_cn)/ },
  enhance: { image: "enhance_input_image", test: /^(enhance_|debugging_enhance|debugging_dino|dino_|save_final)/ },
};

/**
 * Parameters of the chosen tab, to be laid over the form's (`changed`).
 *
 * `kind` is a tab or "none"; `image` its picture or ""; `mask` a data URL or null; `sides` a Set of
 * SIDES; `distances` pixels by side; `prompts` [{source, settings}]; `enhancements` [parameters].
 */
export function inputParameters({ kind, image, mask, sides, distances, prompts = [], enhancements = [] }, changed) {
  const given = withoutPictures(changed);
  if (kind === "none") return given;
  if (TABS[kind].image && image) given[TABS[kind].image] = image;
  if (kind === "inpaint" && image) Object.assign(given, paintingParameters(mask, sides, distances));
  if (kind === "prompt") {
    given.controlnet_image = prompts.filter(({ source }) => source).map(({ source, settings }) => ({ cn_img: source, ...settings }));
  }
  if (kind === "enhance") {
    given.enhance_ctrls = enhancements.filter((one) => one.enhance_enabled);
    given.enhance_checkbox = given.enhance_ctrls.length > 0;
  }
  return given;
}

function paintingParameters(mask, sides, distances) {
  return {
    ...(mask ? { inpaint_mask_image_upload: mask, inpaint_mask_upload_checkbox: true } : {}),
    outpaint_selections: SIDES.filter((side) => sides.has(side)),
    outpaint_distance: SIDES.map((side, index) => (sides.has(side) ? distances[index] : 0)),
  };
}

/** Pictures of an earlier request whose parameters are in use are sent only when chosen again. */
function withoutPictures(changed) {
  const empty = {};
  for (const { image } of Object.values(TABS)) if (image && changed[image]) empty[image] = "";
  if (changed.controlnet_image?.length) empty.controlnet_image = [];
  return empty;
}
