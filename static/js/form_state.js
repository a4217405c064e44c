// The request form without its page: the parameters as the API's document describes them, the input
// pictures that act, what a preset changes, what survives a reload. Knows no DOM; storages are given.

import { parseExact, stringifyExact } from "./api.js";

const isNull = (schema) => schema?.type === "null";

/** One schema without what only generators need: null beside a type or choice, "x-default". */
function plain(schema) {
  const { "x-default": applies, ...rest } = schema;
  if (Array.isArray(rest.type)) {
    const kinds = rest.type.filter((kind) => kind !== "null");
    rest.type = kinds.length === 1 ? kinds[0] : kinds;
  }
  if (Array.isArray(rest.enum)) rest.enum = rest.enum.filter((value) => value !== null);
  if (applies !== undefined) rest.default ??= applies;
  if (!rest.anyOf) return rest;
  const { anyOf, ...others } = rest;
  const kinds = anyOf.filter((kind) => !isNull(kind));
  return kinds.length === 1 ? { ...kinds[0], ...others } : { ...others, anyOf: kinds };
}

/** The document with `default` where a request's field says what applies, and without nulls. */
export function forForms(node) {
  if (Array.isArray(node)) return node.map(forForms);
  if (node === null || typeof node !== "object") return node;
  const { example, examples, ...rest } = node;
  const inner = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, forForms(value)]));
  return { ...plain(inner), ...(example === undefined ? {} : { example }), ...(examples === undefined ? {} : { examples }) };
}

export const SIDES = ["Left", "Top", "Right", "Bottom"];

// The ways to use input pictures, in the order in which the server looks for them: the parameter of
// each way's picture, and which other parameters belong to it, by their names.
export const TABS = {
  enhance: { image: "enhance_input_image", test: /^(enhance_|debugging_enhance|debugging_dino|dino_|save_final)/ },
  prompt: { test: /^(controlnet_|canny_|mixing_|debugging_cn|skipping_cn)/ },
  vary: { image: "uov_input_image", test: /^(uov_|upscale_|overwrite_(vary|upscale))/ },
  inpaint: { image: "inpaint_input_image", test: /^(inpaint_|outpaint_|invert_mask|debugging_inpaint)/ },
};
// Image prompts beside another way: the flag that makes the server use both.
const MIXING = { vary: "mixing_image_prompt_and_vary_upscale", inpaint: "mixing_image_prompt_and_inpaint" };
// How a result is delivered. The pages always queue and watch, whatever an earlier client asked for.
const DELIVERY = ["stream_output", "async_process", "require_base64", "webhook_url"];
const WORDS = ["prompt", "negative_prompt", "image_seed", "image_number"];
// What the server gives an image prompt whose stop and weight are left out.
const BY_TYPE = { ImagePrompt: [0.5, 0.6], FaceSwap: [0.9, 0.75], PyraCanny: [0.5, 1], CPDS: [0.5, 1] };

/** The way of using pictures that a parameter belongs to; undefined for the others. */
export const tabOf = (name) => Object.keys(TABS).find((tab) => TABS[tab].test.test(name));

/** Stop and weight of an image prompt, as sent or as its type has them. */
export function strengthOf({ cn_type: type = "ImagePrompt", cn_stop: stop, cn_weight: weight }) {
  const [ownStop, ownWeight] = BY_TYPE[type] ?? BY_TYPE.ImagePrompt;
  return { cn_stop: stop ?? ownStop, cn_weight: weight ?? ownWeight };
}

function hasContent(tab, parameters) {
  if (tab === "prompt") return Boolean(parameters.controlnet_image?.some((one) => one.cn_img));
  return Boolean(parameters[TABS[tab].image]) || (tab === "enhance" && Boolean(parameters.enhance_checkbox));
}

/** The ways that a request uses, the one that decides first. */
export const tabsOf = (parameters) => Object.keys(TABS).filter((tab) => hasContent(tab, parameters));

/** Of the chosen ways those that have a picture, and those that a mixing flag adds. */
export function activeTabs(parameters, tabs) {
  const active = new Set(tabs.filter((tab) => hasContent(tab, parameters)));
  for (const [tab, flag] of Object.entries(MIXING)) {
    const both = parameters[flag] && hasContent(tab, parameters) && hasContent("prompt", parameters);
    if (both && (active.has(tab) || active.has("prompt"))) active.add(tab).add("prompt");
  }
  return active;
}

/** What is sent: all parameters but those of ways that are not in use, and those that do not act (`acting` is null where all do). */
export function requestOf(parameters, tabs, acting = null) {
  const active = activeTabs(parameters, tabs);
  const isSent = ([name]) => { const tab = tabOf(name); return (!tab || active.has(tab)) && (!acting || acting.has(name)); };
  return Object.fromEntries(Object.entries(parameters).filter(isSent));
}

/** Parameters of the next request, kept over reloads. Dispatches "replaced" when more than one changes. */
export class FormState extends EventTarget {
  /** `schema`: of GenerateRequest; `presets`: as the list of models has them; `drafts` loads and saves {parameters, tabs}. */
  constructor(schema, presets, drafts) {
    super();
    Object.assign(this, { schema, presets, drafts, changed: {}, tabs: [] });
    /** Names of the parameters that act with the chosen checkpoint; null: all do. */
    this.acting = null;
  }

  /** Take up what was there before a reload. */
  async load() {
    const { parameters = {}, tabs = [] } = await this.drafts.load();
    Object.assign(this, { changed: parameters, tabs });
  }

  get preset() {
    const initial = this.presets.find((preset) => preset.is_initial);
    return this.presets.find((preset) => preset.name === this.changed.preset) ?? initial;
  }

  /** The value in effect: changed here, else the preset's, else the schema's default. */
  get(name) {
    return this.changed[name] ?? this.#given(name);
  }

  #given(name) {
    // The steps of a preset are meant for its own mode: another one has its own.
    const own = name === "overwrite_step" && "performance_selection" in this.changed ? undefined : this.preset?.parameters[name];
    return own ?? this.schema.properties[name]?.default;
  }

  set(name, value) {
    this.changed[name] = value;
    // Sent, the preset's own mode would be another request: one without the preset's steps.
    if (name === "performance_selection" && value === this.#given(name)) delete this.changed[name];
    this.#save();
  }

  clear(...names) {
    for (const name of names) delete this.changed[name];
    this.#save();
  }

  /** Use pictures in this way alone, or in none ("none"). */
  chooseTab(tab) {
    this.tabs = tab === "none" ? [] : [tab];
    this.#save();
  }

  /** Give up one of several ways. */
  leaveTab(tab) {
    this.tabs = this.tabs.filter((other) => other !== tab);
    this.#save();
  }

  /** The parameters to send. */
  request() {
    return requestOf(this.changed, this.tabs, this.acting);
  }

  /** Take over another request's parameters; unknown names and delivery options are left out. */
  replace(values) {
    const known = Object.entries(values).filter(([name]) => name in this.schema.properties && !DELIVERY.includes(name));
    this.restore({ parameters: Object.fromEntries(known), tabs: tabsOf(values) });
  }

  /** Another preset means its values: only the words, the seed, the number of images and the input pictures stay. */
  usePreset(name) {
    const kept = Object.entries(this.changed).filter(([key]) => WORDS.includes(key) || tabOf(key));
    this.restore({ parameters: { ...Object.fromEntries(kept), preset: name }, tabs: this.tabs });
  }

  /** Back to the preset's values, without pictures; the words, the seed and the number stay. Returns what was there, for `restore`. */
  reset() {
    const before = { parameters: this.changed, tabs: this.tabs };
    const kept = Object.entries(this.changed).filter(([key]) => WORDS.includes(key) || key === "preset");
    this.restore({ parameters: Object.fromEntries(kept), tabs: [] });
    return before;
  }

  restore({ parameters, tabs }) {
    Object.assign(this, { changed: { ...parameters }, tabs: [...tabs] });
    this.#save();
    this.dispatchEvent(new Event("replaced"));
  }

  #save() {
    this.drafts.save({ parameters: this.changed, tabs: this.tabs });
  }
}

/** A typed seed: null for none (random), undefined for one that is refused. BigInt where it must be. */
export function readSeed(text, maximum) {
  const typed = text.trim();
  if (typed === "") return null;
  if (!/^\d+$/.test(typed) || BigInt(typed) > BigInt(maximum)) return undefined;
  const seed = BigInt(typed);
  return seed > Number.MAX_SAFE_INTEGER ? seed : Number(seed);
}

// Drafts: words in Web Storage at once, pictures in IndexedDB soon after. Each browser tab has a draft
// of its own; a new tab begins with a copy of the last one.
const DRAFT = "focal.draft";
const DRAFT_ID = "focal.draft-id";
const LAST = "last";

function isPicture(value) {
  if (typeof value === "string") return value.startsWith("data:");
  return Array.isArray(value) && value.some((one) => isPicture(one?.cn_img));
}

/** Drafts in the browser's own storages; `openPictures` gives the PictureStore when there is one to keep. */
export class Drafts {
  #kept = {};
  #store = null;

  constructor(session, local, openPictures) {
    Object.assign(this, { session, local, openPictures });
  }

  /** {parameters, tabs}; what cannot be read is left out. */
  async load() {
    const own = this.session.getItem(DRAFT);
    const { parameters = {}, tabs = [], pictures = 0 } = read(own ?? this.local.getItem(DRAFT));
    if (pictures) this.#kept = (await (await this.#pictures).get(own ? this.#id : LAST))?.values ?? {};
    return { parameters: { ...parameters, ...this.#kept }, tabs };
  }

  async save({ parameters, tabs }) {
    const entries = Object.entries(parameters);
    const values = Object.fromEntries(entries.filter(([, value]) => isPicture(value)));
    const words = Object.fromEntries(entries.filter(([name]) => !(name in values)));
    const draft = stringifyExact({ parameters: words, tabs, pictures: Object.keys(values).length });
    this.session.setItem(DRAFT, draft);
    this.local.setItem(DRAFT, draft);
    const names = new Set([...Object.keys(values), ...Object.keys(this.#kept)]);
    const isNew = [...names].some((name) => values[name] !== this.#kept[name]);
    this.#kept = values;
    if (!isNew) return;
    const store = await this.#pictures;
    await Promise.all([this.#id, LAST].map((id) => store.put(id, { values, at: Date.now() })));
  }

  get #pictures() {
    this.#store ??= this.openPictures();
    return this.#store;
  }

  get #id() {
    const id = this.session.getItem(DRAFT_ID) ?? crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.session.setItem(DRAFT_ID, id);
    return id;
  }
}

function read(text) {
  try {
    return parseExact(text ?? "{}");
  } catch { // written by another version
    return {};
  }
}
