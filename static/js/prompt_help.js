// Help while a prompt is written: names that complete what is typed, weights by keys, its length, and the prompts of before.

import { complete, CHUNK, estimateTokens, remembered, suggest, typedAt, weigh } from "./prompt_text.js";
import { button, dialog, make, t } from "./ui.js";

const PROMPTS = "focal.prompts";

function prompts() {
  try {
    const kept = JSON.parse(localStorage.getItem(PROMPTS) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch { // written by another version
    return [];
  }
}

/** Keep a prompt that was sent among the last ones. */
export function remember(prompt) {
  localStorage.setItem(PROMPTS, JSON.stringify(remembered(prompts(), prompt)));
}

/** Choose one of the last prompts; `onchoose` hears it. */
export function openHistory(onchoose) {
  const search = make("input", { type: "search", placeholder: t("prompt.search"), "aria-label": t("prompt.search") });
  const rows = prompts().map((prompt) => make("li", {}, button(prompt, { text: true, onclick: () => { box.close(); onchoose(prompt); } })));
  const list = make("ul", { class: "prompts", "aria-label": t("prompt.history") }, rows);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  });
  const box = dialog(t("prompt.history"), make("div", { class: "stack asked" }, search, rows.length ? list : make("p", {}, t("prompt.none"))));
  search.focus();
}

/** Completion and keys of one text field. */
export class PromptHelp {
  #typed = null;
  #chosen = 0;

  /** `names` gives the names of each kind now; `onchange` hears the text; `onstyle` a style that was chosen. */
  constructor(area, { names, onchange, onstyle, count }) {
    Object.assign(this, { area, names, onchange, onstyle, count });
    this.list = make("ul", { id: `${area.id}-names`, class: "completions", role: "listbox", "aria-label": t("prompt.names"), hidden: true });
    area.after(this.list);
    area.setAttribute("aria-autocomplete", "list");
    area.setAttribute("aria-controls", this.list.id);
    for (const kind of ["input", "click"]) area.addEventListener(kind, () => this.look());
    area.addEventListener("blur", () => this.close());
    area.addEventListener("keydown", (event) => this.key(event));
    this.look();
  }

  look() {
    this.showCount();
    const { value, selectionStart, selectionEnd } = this.area;
    const typed = document.activeElement === this.area && selectionStart === selectionEnd ? typedAt(value, selectionStart) : null;
    const found = typed ? suggest(this.names(typed.kind), typed.word) : [];
    if (!found.length) {
      this.close();
      return;
    }
    this.#typed = typed;
    this.found = found;
    this.list.hidden = false;
    this.list.replaceChildren(...found.map((name, index) => {
      const onpointerdown = (event) => { event.preventDefault(); this.take(name); }; // before the field loses the focus
      return make("li", { id: `${this.list.id}-${index}`, role: "option", onpointerdown }, name);
    }));
    this.choose(0);
  }

  showCount() {
    const tokens = estimateTokens(this.area.value);
    this.count.textContent = tokens ? t("prompt.tokens", { tokens, room: CHUNK * Math.max(1, Math.ceil(tokens / CHUNK)) }) : "";
  }

  choose(index) {
    this.#chosen = (index + this.found.length) % this.found.length;
    [...this.list.children].forEach((row, number) => row.setAttribute("aria-selected", number === this.#chosen));
    this.list.children[this.#chosen].scrollIntoView({ block: "nearest" });
    this.area.setAttribute("aria-activedescendant", `${this.list.id}-${this.#chosen}`);
  }

  close() {
    this.#typed = null;
    this.list.hidden = true;
    this.area.removeAttribute("aria-activedescendant");
  }

  take(name) {
    const typed = this.#typed;
    const { text, caret } = complete(this.area.value, this.area.selectionStart, typed, name);
    this.write(text, caret, caret);
    this.close();
    if (typed.kind === "style") this.onstyle(name);
  }

  write(text, start, end) {
    this.area.value = text;
    this.area.setSelectionRange(start, end);
    this.onchange(text);
    this.showCount();
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (command && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      const { value, selectionStart, selectionEnd } = this.area;
      const { text, start, end } = weigh(value, selectionStart, selectionEnd, event.key === "ArrowUp" ? 1 : -1);
      this.write(text, start, end);
      return;
    }
    if (!this.#typed || command) return;
    const does = {
      ArrowDown: () => this.choose(this.#chosen + 1), ArrowUp: () => this.choose(this.#chosen - 1),
      Enter: () => this.take(this.found[this.#chosen]), Tab: () => this.take(this.found[this.#chosen]), Escape: () => this.close(),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}
