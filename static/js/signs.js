// Signs of progress outside the page: the tab's title and icon, and a message of the system when a picture is done.

import { notify, t } from "./ui.js";

const ASKED = "focal.asked-to-notify";
const REACH = 2 * Math.PI * 13; // round the icon's ring

/** The icon with so much of its ring drawn, in percent. */
export function ringOf(percent) {
  const drawn = (REACH * percent) / 100;
  const ring = (colour, dashes) => `<circle cx="16" cy="16" r="13" fill="none" stroke="${colour}" stroke-width="5" ${dashes}/>`;
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${ring("#b9c0f2", "")}${
    ring("#4051d3", `stroke-dasharray="${drawn.toFixed(1)} 99" transform="rotate(-90 16 16)"`)}<circle cx="16" cy="16" r="6.5" fill="#f2b134"/></svg>`)}`;
}

export class Signs {
  #away = false; // the page was left while a task ran
  #shown = -1;

  /** `live` is the queue; `title` gives the page's title as it would be without a task. */
  constructor(live, title) {
    Object.assign(this, { live, title });
    this.icon = document.querySelector("link[rel=icon]");
    this.plain = this.icon.href;
    for (const kind of ["change", "progress"]) live.addEventListener(kind, () => this.show());
    live.addEventListener("ended", ({ detail }) => this.ended(detail));
    document.addEventListener("visibilitychange", () => this.seen());
    this.show();
  }

  show() {
    const [task] = this.live.running;
    const percent = task ? task.progress : -1;
    document.title = task ? `${percent} % · ${this.title()}` : this.title();
    if (percent === this.#shown) return;
    this.#shown = percent;
    this.icon.href = task ? ringOf(percent) : this.plain;
  }

  seen() {
    if (document.hidden) this.#away ||= this.live.running.length > 0;
    else if (this.#away) this.ask();
  }

  /** Once, and only those who went elsewhere while they waited. */
  ask() {
    this.#away = false;
    if (!("Notification" in window) || Notification.permission !== "default" || localStorage.getItem(ASKED)) return;
    localStorage.setItem(ASKED, "yes");
    notify(t("signs.ask"), { action: t("signs.yes"), run: () => Notification.requestPermission() });
  }

  ended({ type }) {
    if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    if (this.live.waiting || (type !== "task.finished" && type !== "task.failed")) return;
    const note = new Notification("Focal", { body: t(type === "task.finished" ? "signs.done" : "stage.failed"), tag: "focal" });
    note.addEventListener("click", () => { window.focus(); note.close(); });
  }
}
