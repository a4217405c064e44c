// What can be done with a picture that has just been made, as buttons below it.

import { api, picturePath, pictureUrl } from "./api.js";
import { announce, attempt, button, icon, make, notify, t } from "./ui.js";

/** A picture's own seed: those of a batch follow one another, unless the request forbids it. Undefined where the record has none. */
export function seedOf({ req_params: { image_seed: seed, disable_seed_increment: same } }, index) {
  if (seed === undefined || same) return seed;
  const own = BigInt(seed) + BigInt(index);
  return own > Number.MAX_SAFE_INTEGER ? own : Number(own);
}

/** Seconds as people read them: 0.8 s, 42 s, 3 min 5 s. */
export function spell(seconds) {
  const whole = Math.round(seconds);
  if (seconds < 10 && seconds !== whole) return t("time.seconds", { seconds: Math.max(0.1, seconds).toFixed(1) });
  return whole < 60 ? t("time.seconds", { seconds: whole }) : t("time.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
}

/** The row of buttons; `page` is Create, `onchoose` hears which picture of several they act on. */
export class ResultTools {
  constructor(page, onchoose) {
    Object.assign(this, { page, onchoose });
    this.choices = make("div", { class: "picture-numbers", role: "group", "aria-label": t("tools.which") });
    this.star = this.tool("star", "viewer.favourite", () => this.favourite(), { kind: "star", "aria-pressed": false });
    this.download = make("a", { class: "button bare", "aria-label": t("viewer.download"), title: t("viewer.download") }, icon("fetch"));
    this.time = make("span", { class: "muted" });
    const into = (kind, values) => () => this.page.useAsInput(kind, this.path, values);
    const seed = this.tool("lock", "tools.seed", () => this.page.keepSeed(this.seed));
    const use = this.tool("copy", "viewer.use_parameters", () => this.page.use(this.record.req_params));
    this.element = make("div", { class: "result-tools", role: "toolbar", "aria-label": t("tools.title"), hidden: true }, this.choices,
      this.tool("dice", "tools.vary", into("vary", { uov_method: "Vary (Subtle)" }), { text: true }),
      this.tool("up", "tools.upscale", into("vary", { uov_method: "Upscale (2x)" }), { text: true }),
      this.tool("brush", "tools.inpaint", into("inpaint"), { text: true }),
      this.download, this.star, seed, use, this.time);
  }

  tool(drawing, name, onclick, rest = {}) {
    return button(t(name), { icon: drawing, onclick, ...rest });
  }

  /** Offer what can be done with a task's pictures; without a record nothing. */
  show(record) {
    const images = record?.result ?? [];
    this.element.hidden = !images.length;
    if (!images.length) return;
    this.record = record;
    this.starred = false;
    this.star.setAttribute("aria-pressed", false);
    const { start_mills: start, finish_mills: end } = record;
    this.time.textContent = start > 0 && end > start ? t("tools.took", { time: spell((end - start) / 1000) }) : "";
    this.choices.hidden = images.length < 2;
    this.choices.replaceChildren(...images.map((_, index) =>
      button(String(index + 1), { text: true, "aria-label": t("tools.picture", { number: index + 1 }), onclick: () => this.choose(index) })));
    this.choose(0);
  }

  choose(index) {
    this.index = index;
    this.path = picturePath(this.record.result[index]);
    this.seed = seedOf(this.record, index);
    this.download.href = pictureUrl(this.path);
    this.download.download = this.path.split("/").pop();
    [...this.choices.children].forEach((choice, number) => choice.setAttribute("aria-pressed", number === index));
    this.onchoose(this.record.result.length > 1 ? index : -1);
  }

  async favourite() {
    const answer = await attempt(() => api.favourite(this.record.task_id, !this.starred));
    if (!answer) return;
    this.starred = answer.favourite;
    this.star.setAttribute("aria-pressed", answer.favourite);
    announce(t(answer.favourite ? "viewer.marked" : "viewer.unmarked"));
    notify(t(answer.favourite ? "viewer.marked" : "viewer.unmarked"));
  }
}
