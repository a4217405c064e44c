// The shell: which page is shown, language and colours, the connection's state, the key.

import { api } from "./api.js";
import { LiveQueue } from "./events.js";
import { announce, attempt, button, closeDialogs, dialog, icon, language, loadTexts, make, notify, t, translate } from "./ui.js";

const PAGES = { create: "bolt", queue: "list", gallery: "grid", models: "box", system: "pulse" };
const THEMES = ["auto", "light", "dark"];

const live = new LiveQueue();
const opened = new Map();
let current = null;

/** What pages may ask of the shell. */
const shell = {
  live,
  /** Show a page; resolves with what its module made. */
  async go(name) {
    // From a dialog: its entry of the history becomes the page's, so that Back leads to where the dialog was opened.
    if (history.state?.dialog) history.replaceState(null, "", `#${name}`);
    else if (location.hash !== `#${name}`) history.pushState(null, "", `#${name}`);
    return show(name);
  },
};

async function show(name) {
  const page = pageOf(name);
  const isNew = current !== name;
  for (const [other, { host, made }] of opened) {
    if (other !== name && !host.hidden) made?.hide?.();
    host.hidden = other !== name;
  }
  current = name;
  if (isNew) enter(name);
  const made = await page.ready;
  if (isNew && current === name) made?.show?.();
  return made;
}

/** A page's section, made and its module loaded when it is first asked for, and again after a failure. */
function pageOf(name) {
  const before = opened.get(name);
  if (before && !before.failed) return before;
  before?.host.remove();
  const host = make("section", { class: `page ${name}`, "aria-labelledby": `${name}-title` });
  host.append(make("h1", { id: `${name}-title`, class: name === "create" ? "unseen" : "", tabindex: -1 }, t(`page.${name}`)));
  const page = { host, made: null, failed: false, tries: (before?.tries ?? -1) + 1 };
  opened.set(name, page);
  document.getElementById("main").append(host);
  page.ready = load(name, page);
  return page;
}

const titleNow = () => `${t(`page.${current ?? "create"}`)} — Focal`;

/** What changes around the page when another one is shown. */
function enter(name) {
  closeDialogs(0);
  document.title = titleNow();
  if (opened.size > 1) announce(t(`page.${name}`));
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function load(name, page) {
  try {
    // A module that could not be fetched is not asked for again under the same address.
    const module = await import(`./${name}.js${page.tries ? `?try=${page.tries}` : ""}`);
    page.made = await module.open(page.host, shell);
  } catch (error) {
    page.failed = true;
    page.host.append(make("div", { class: "failed-page", role: "alert" }, make("p", {}, t("page_failed")), make("p", { class: "muted" }, error.message),
      button(t("retry"), { icon: "retry", text: true, onclick: () => show(name) })));
  }
  return page.made;
}

function drawNavigation() {
  const links = Object.entries(PAGES).map(([name, drawing]) =>
    make("a", { href: `#${name}`, "data-page": name }, icon(drawing), make("span", {}, t(`page.${name}`)),
      name === "queue" && make("span", { id: "badge", class: "badge", hidden: true })));
  links.push(make("a", { href: "../docs" }, icon("book"), make("span", {}, t("page.docs"))));
  document.getElementById("pages").append(...links);
}

function showBadge() {
  const badge = document.getElementById("badge");
  const count = live.waiting + live.running.length;
  badge.hidden = !count && !live.paused;
  badge.textContent = live.paused ? "❚❚" : String(count);
  badge.setAttribute("aria-label", live.paused ? t("queue.paused") : t("queue.count", { count }));
  badge.setAttribute("role", "img");
}

function showConnection() {
  const place = document.getElementById("connection");
  place.className = live.connected ? "on" : "off";
  place.textContent = live.connected ? t("connected") : t("disconnected");
}

/** Progress in the tab's title and icon, from the first task on that runs. */
async function showSigns() {
  if (!live.running.length) return;
  live.removeEventListener("change", showSigns);
  const { Signs } = await import("./signs.js");
  new Signs(live, titleNow);
}

async function showKeys() {
  (await import("./keys.js")).openKeys();
}

/** Keys that work on every page; what a field or a dialog does with a key goes before. */
function hearKeys(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select");
  if (event.altKey && /^[1-5]$/.test(event.key)) {
    event.preventDefault();
    shell.go(Object.keys(PAGES)[event.key - 1]);
  } else if (event.key === "?" && !isTyping) {
    attempt(showKeys);
  } else if (event.key === "Escape" && current === "create" && !event.target.matches("input[type=search], select")) {
    opened.get("create").made?.stopWatched();
  }
}

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  localStorage.setItem("focal.theme", theme);
  const control = document.getElementById("theme");
  const name = `${t("theme")}: ${t(`theme.${theme}`)}`;
  control.replaceChildren(icon("theme"));
  control.setAttribute("aria-label", name);
  control.title = name;
}

function wireTools() {
  document.querySelector(".skip-link").addEventListener("click", (event) => {
    event.preventDefault(); // its address would be taken for a page's
    opened.get(current).host.querySelector("h1").focus();
  });
  const choice = document.getElementById("language");
  choice.value = language;
  choice.addEventListener("change", () => {
    localStorage.setItem("focal.language", choice.value);
    location.reload();
  });
  choice.disabled = false; // a choice made before now would be lost
  const stored = localStorage.getItem("focal.theme");
  setTheme(THEMES.includes(stored) ? stored : "auto");
  const help = document.getElementById("keys");
  help.title = t("keys.title");
  help.setAttribute("aria-label", t("keys.title"));
  help.addEventListener("click", () => attempt(showKeys));
  document.getElementById("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
}

/** A file dropped beside a place for it would replace the page: Create takes it as an input picture, the others say where it belongs. */
function catchDrops() {
  addEventListener("dragover", (event) => { if (!event.target.matches("input, textarea")) event.preventDefault(); });
  addEventListener("drop", async (event) => {
    if (event.defaultPrevented || (event.target.matches("input, textarea") && !event.dataTransfer.files.length)) return;
    event.preventDefault();
    const create = current === "create" && opened.get("create").made;
    if (create) await attempt(() => create.takeDrop(event.dataTransfer));
    else notify(t("drop_elsewhere"), { bad: true });
  });
}

let asking = null;

/** The server wants its key: trade it for a cookie, then begin anew. */
function askForKey() {
  if (asking) return;
  const key = make("input", { id: "key", type: "password", autocomplete: "current-password", required: true });
  const form = make("form", { class: "stack" }, make("p", {}, t("login.why")), make("label", { for: "key" }, t("login.key")), key,
    make("button", { class: "primary" }, t("login.enter")));
  asking = dialog(t("login.title"), form);
  asking.addEventListener("close", () => { asking = null; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const entered = await attempt(() => api.login(key.value));
    if (entered) location.reload();
    else if (entered === false) notify(t("login.wrong"), { bad: true });
  });
}

async function start() {
  addEventListener("focal-login", askForKey);
  await loadTexts();
  translate(document);
  drawNavigation();
  wireTools();
  live.addEventListener("change", showBadge);
  live.addEventListener("connection", showConnection);
  live.addEventListener("change", showSigns);
  addEventListener("keydown", hearKeys);
  live.open();
  const route = () => {
    closeDialogs();
    return show(location.hash.slice(1) in PAGES ? location.hash.slice(1) : "create");
  };
  addEventListener("popstate", route);
  catchDrops();
  await route();
}

start();
