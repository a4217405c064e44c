// The interface's building blocks: elements, texts in two languages, icons, notices, form fields.
// Everything that comes from people or files goes in as text, never as markup.

import { api } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const NOTICE_MS = 6000;
const NOTICE_WITH_ACTION_MS = 60000;
const MOST_NOTICES = 3;
const PATHS = {
  bolt: "M13 2 4 14h7l-1 8 9-12h-7z",
  list: "M8 6h13M8 12h13M8 18h13M3.5 6h.01M3.5 12h.01M3.5 18h.01",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  box: "m12 2 9 5v10l-9 5-9-5V7zM3 7l9 5 9-5M12 12v10",
  pulse: "M2 12h5l3-8 4 16 3-8h5",
  book: "M4 5a2 2 0 0 1 2-2h14v16H6a2 2 0 0 0-2 2zM4 19V5",
  stop: "M6 6h12v12H6z",
  skip: "m5 5 10 7-10 7zM19 5v14",
  pause: "M8 5v14M16 5v14",
  play: "m7 4 13 8-13 8z",
  up: "m6 14 6-6 6 6",
  down: "m6 10 6 6 6-6",
  top: "M5 4h14M12 20V8M6 14l6-6 6 6",
  fetch: "M12 3v12M7 11l5 5 5-5M4 20h16",
  close: "M6 6l12 12M18 6 6 18",
  retry: "M20 12a8 8 0 1 1-2.4-5.7M20 3v5h-5",
  star: "m12 3 2.8 5.8 6.2.9-4.5 4.4 1 6.3-5.5-3-5.5 3 1-6.3L3 9.7l6.2-.9z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v6M14 11v6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  dice: "M4 4h16v16H4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  lock: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  left: "m15 5-7 7 7 7",
  right: "m9 5 7 7-7 7",
  compare: "M4 5h7v14H4zM13 5h7v14h-7z",
  image: "M3 5h18v14H3zM3 16l5-5 5 5 3-3 5 5M15.5 9h.01",
  brush: "M20 4 9 15M9 15c-2 0-4 1-4 5 4 0 6-1.500 6-3.500",
  undo: "M4 9h10a6 6 0 0 1 0 12h-3M4 9l4-4M4 9l4 4",
  redo: "M20 9H10a6 6 0 0 0 0 12h3M20 9l-4-4M20 9l-4 4",
  move: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  large: "M4 10V4h6M20 14v6h-6M4 4l7 7M20 20l-7-7",
  theme: "M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z",
};

let texts = {};
let help = {};
let refusals = {};
export let language = "en";

/** Make an element: "on…" are listeners, known properties are set, the rest are attributes. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "textContent") element[key] = value;
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  drawing.classList.add("icon");
  path.setAttribute("d", PATHS[name]);
  drawing.append(path);
  return drawing;
}

/** A button; with an icon and no visible text its name is for those who cannot see it. */
export function button(label, { onclick, icon: drawing, text = !drawing, kind = "", ...rest } = {}) {
  const name = text ? {} : { "aria-label": label, title: label };
  return make("button", { type: "button", class: `${kind} ${text ? "" : "bare"}`.trim(), onclick, ...name, ...rest },
    drawing && icon(drawing), text ? make("span", {}, label) : null);
}

/** The saved choice of language, else the browser's. */
export function chosenLanguage() {
  const wanted = localStorage.getItem("focal.language") ?? navigator.language;
  return wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export async function loadTexts() {
  language = chosenLanguage();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  texts = await api.texts(language);
  // What the API document says, by its English text.
  if (language !== "en") {
    [help, refusals] = await Promise.all([`api.${language}`, `refusals.${language}`].map((name) => api.texts(name).catch(() => ({}))));
  }
}

/** The text called `key`, with {names} filled in; the key itself where there is none. A {count} of 1 takes `key.one` where there is one. */
export function t(key, values = {}) {
  const single = String(values.count) === "1" ? texts[`${key}.one`] : undefined;
  return (single ?? texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Fill in the texts of a piece of HTML that names them. */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}

/** A download that a task waits for: {name, received, total} in MB; null while it does something else. */
export function downloadOf(message = "") {
  const said = message.match(/^Downloading (.+), (\d+) of (\d+) MB/);
  return said && { name: said[1], received: said[2], total: said[3] };
}

/** What the server says of a task's progress, in the reader's language. */
export function progressText({ message = "" }) {
  if (language === "en") return message;
  const fetched = downloadOf(message);
  if (fetched) return t("progress.downloading", fetched);
  const said = message.match(/^Sampling step (\d+)\/(\d+), image (\d+)\/(\d+)/);
  if (said) return t("progress.sampling", { step: said[1], steps: said[2], image: said[3], images: said[4] });
  const known = Object.entries({ Loading: "loading", Preparing: "preparing", Saving: "saving" }).find(([word]) => message.startsWith(word));
  return known ? t(`progress.${known[1]}`) : message;
}

/** What the server says of an error, in the reader's language where its code is known, with the server's own words behind it. */
export function problemText({ code = "", message = "", error = message }) {
  const known = refusals[code];
  return known && error ? `${known}（${error}）` : known ?? error;
}

/** A record's notes, a line each: "LoRAs not found: a, b". */
export function noteLines(notes) {
  const said = (value) => (Array.isArray(value) ? value.map(said).join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value));
  const name = (key) => (`note.${key}` in texts ? t(`note.${key}`) : labelOf(key));
  return Object.entries(notes ?? {}).map(([key, value]) => `${name(key)}: ${said(value)}`);
}

export const labelOf = (name) => {
  const key = `field.${name}`;
  if (key in texts) return texts[key];
  const words = name.replaceAll("_", " ").replace(/ (selection|checkbox|name)$/, "");
  return words[0].toUpperCase() + words.slice(1);
};
/** A field's explanation: the pages' own words, else those of the API's document. */
export const helpOf = (schema, name = "") => texts[`help.${name}`] ?? help[schema?.description] ?? schema?.description ?? "";

export function when(mills) {
  return mills ? new Date(mills).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }) : "";
}

export function size(bytes) {
  if (!bytes) return "";
  const unit = bytes >= 1e9 ? [1e9, "GB"] : [1e6, "MB"];
  return `${(bytes / unit[0]).toLocaleString(document.documentElement.lang, { maximumFractionDigits: 1 })} ${unit[1]}`;
}

/** Notices and announcements stand in the dialog that is open: the rest of the page is out of reach then. */
function bringAlong() {
  const parent = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  for (const id of ["notices", "announcer"]) {
    const host = document.getElementById(id);
    if (host.parentNode !== parent) parent.append(host);
  }
}

/** Say something in passing. With `action`, a button that takes it back or goes on from it. */
export function notify(text, { bad = false, action, run, ms } = {}) {
  bringAlong();
  const host = document.getElementById("notices");
  const close = () => notice.remove();
  for (const other of [...host.children]) if (other.firstChild.textContent === text) other.remove();
  const notice = make("div", { class: `notice ${bad ? "bad" : ""}`, role: bad ? "alert" : "status" }, make("span", {}, text));
  if (action) notice.append(button(action, { onclick: () => { close(); run(); } }));
  notice.append(button(t("close"), { icon: "close", onclick: close }));
  host.append(notice);
  while (host.childElementCount > MOST_NOTICES) host.firstElementChild.remove();
  setTimeout(close, ms ?? (action ? NOTICE_WITH_ACTION_MS : NOTICE_MS));
  return notice;
}

/** Run what may be refused; the refusal is shown. Undefined then. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    const unreachable = error instanceof TypeError;
    notify(unreachable ? t("unreachable") : problemText(error), { bad: true });
    return undefined;
  }
}

// Dialogs stand in the browser's history, so that Back closes them: each entry holds its dialog's number, higher than those before.
let lastDialog = Date.now();

/** Close the dialogs that the history's present entry does not know. */
export function closeDialogs(known = history.state?.dialog ?? 0) {
  for (const box of [...document.querySelectorAll("dialog[open]")].reverse()) if (Number(box.dataset.number) > known) box.close();
}

/** A modal dialog, shown. Back closes it, as Esc and its button do. */
export function dialog(title, content, { wide = false } = {}) {
  const heading = make("h2", {}, title);
  const box = make("dialog", { class: wide ? "wide" : "", "aria-label": title },
    make("header", {}, heading, button(t("close"), { icon: "close", onclick: () => box.close() })), content);
  document.body.append(box);
  lastDialog += 1;
  const number = lastDialog;
  box.dataset.number = number;
  box.addEventListener("close", () => {
    bringAlong();
    box.remove();
    if (history.state?.dialog === number) history.back(); // unless Back closed it, or another page took its place
  });
  box.addEventListener("click", (event) => { if (event.target === box && !box.classList.contains("wide")) box.close(); });
  box.showModal();
  history.pushState({ dialog: number }, "");
  bringAlong();
  return box;
}

/** A text said to screen readers and shown to nobody. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

let fieldNumber = 0;

/**
 * A form field made from a parameter's schema: its kind, range, choices and help come from there.
 * Returns {element, set, input} and for choices `offer`, which takes others; `onchange` hears every new value.
 */
export function makeField(name, schema, { value, onchange, options, quiet = false, multiline = false }) {
  const id = `field-${fieldNumber++}`;
  const kind = options || schema.enum ? "choice" : schema.type;
  const makers = { choice: choiceInput, boolean: switchInput, integer: numberInput, number: numberInput };
  const made = (makers[kind] ?? textInput)({ id, name, schema, options, onchange, multiline });
  const explained = helpOf(schema, name);
  const note = explained && make("small", { id: `${id}-help`, class: quiet ? "unseen" : "help" }, explained);
  made.input.setAttribute("aria-describedby", note ? note.id : "");
  const label = make("label", { for: id, title: quiet ? explained : false }, labelOf(name));
  const element = make("div", { class: `field ${kind}`, "data-field": name }, label, made.controls, note || null);
  made.set(value);
  return { element, set: made.set, input: made.input, offer: made.offer };
}

function choiceInput({ id, schema, options, onchange }) {
  const choices = options ?? schema.enum;
  const input = make("select", { id, onchange: () => onchange(input.value) });
  let offered = [];
  const offer = (names) => {
    if (names.length && names.join("\n") === offered.join("\n")) return;
    offered = names;
    input.replaceChildren(...names.map((choice) => make("option", { value: choice }, choice)));
  };
  offer(choices);
  const set = (value) => {
    if (![...input.options].some((option) => option.value === value)) input.append(make("option", { value }, value));
    input.value = value;
  };
  return { input, controls: [input], set, offer };
}

function switchInput({ id, onchange }) {
  const input = make("input", { id, type: "checkbox", role: "switch", onchange: () => onchange(input.checked) });
  return { input, controls: [input], set: (value) => { input.checked = Boolean(value); } };
}

/** A typed number: undefined for one that is refused; rounded where only integers are taken. */
export function readNumber(text, { integer }) {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) return undefined;
  return integer ? Math.round(value) : value;
}

function numberInput({ id, name, schema, onchange }) {
  const { minimum: min, maximum: max } = schema;
  const whole = schema.type === "integer";
  const step = whole ? 1 : max - min <= 3 ? 0.01 : 0.1;
  const tell = (text) => {
    const value = readNumber(text, { integer: whole });
    if (value !== undefined) onchange(value);
  };
  const input = make("input", { id, type: "number", min, max, step: whole ? 1 : "any", required: true });
  const slider = make("input", { type: "range", min, max, step, tabindex: -1, "aria-hidden": "true" });
  input.addEventListener("input", () => { slider.value = input.value; if (input.checkValidity()) tell(input.value); });
  slider.addEventListener("input", () => { input.value = slider.value; tell(slider.value); });
  slider.dataset.for = name;
  const set = (value) => { input.value = value; slider.value = value; };
  return { input, controls: [input, slider], set };
}

function textInput({ id, schema, onchange, multiline }) {
  const attributes = { id, maxlength: schema.maxLength, oninput: () => onchange(input.value), autocomplete: "off" };
  const input = multiline ? make("textarea", { ...attributes, rows: 3 }) : make("input", { ...attributes, type: "text" });
  return { input, controls: [input], set: (value) => { input.value = value ?? ""; } };
}
