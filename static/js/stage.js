// Where a task is watched: its preview, progress, place in the queue, and its pictures in the end.

import { api, pictureUrl, thumbnailUrl } from "./api.js";
import { OWN_TASKS } from "./events.js";
import { ResultTools, spell } from "./result_tools.js";
import { announce, attempt, button, downloadOf, icon, make, noteLines, notify, problemText, progressText, t } from "./ui.js";

const STRIP_LENGTH = 24;
const LEAST_SECONDS = 3; // before a guess of the time left is worth saying
const LEAST_PROGRESS = 4; // percent
const EXPECTED = new Set(["expansion", "native_size"]); // notes that tell of nothing unforeseen

export class Stage {
  /** `page` is Create, whose form takes what a result is used for. */
  constructor(shell, page) {
    this.shell = shell;
    this.tools = new ResultTools(page, (index) => this.mark(index));
    this.live = shell.live;
    this.lastSeed = null;
    this.taskId = null;
    this.strip = [];
    this.draw();
    this.live.addEventListener("change", () => this.look());
    this.live.addEventListener("progress", ({ detail }) => { if (detail.task_id === this.taskId) this.showRunning(detail); });
    this.live.addEventListener("image", ({ detail }) => this.imageMade(detail));
    this.live.addEventListener("ended", ({ detail }) => this.ended(detail.taskId));
    this.live.addEventListener("resync", () => this.recover());
    this.own = JSON.parse(sessionStorage.getItem(OWN_TASKS) ?? "[]");
    this.save();
    if (this.own.length) this.follow(...this.own[0]);
    else this.look();
  }

  draw() {
    this.preview = make("img", { alt: t("stage.preview"), hidden: true });
    this.empty = make("div", { class: "empty" }, icon("image"), make("p", {}, t("stage.empty")));
    this.images = make("div", { class: "results" });
    this.bar = make("progress", { max: 100, value: 0, "aria-label": t("stage.progress") });
    this.message = make("p", { class: "message" });
    this.more = make("p", { class: "muted" });
    this.percent = make("span", { class: "percent", "aria-hidden": "true" });
    this.problem = make("p", { class: "problem", role: "alert", hidden: true });
    this.notes = make("ul", { class: "notes", "aria-label": t("notes.title"), hidden: true });
    this.skip = button(t("skip"), { icon: "skip", text: true, onclick: () => attempt(() => api.skip(this.taskId)) });
    this.stop = button(t("stop"), { icon: "stop", text: true, onclick: () => attempt(() => api.stop(this.taskId)) });
    this.again = button(t("retry"), { icon: "retry", text: true, onclick: () => this.retry() });
    this.controls = make("div", { class: "controls" }, this.skip, this.stop, this.again);
    this.meter = make("div", { class: "meter" }, this.bar, this.percent);
    this.recent = make("div", { class: "strip", role: "group", "aria-label": t("stage.recent"), hidden: true });
    this.element = make("section", { class: "stage panel", "aria-label": t("stage.title") },
      make("div", { class: "canvas" }, this.empty, this.preview, this.images), this.tools.element, this.problem, this.notes,
      make("div", { class: "status" },
        make("div", { class: "words" }, make("div", { class: "line-of-words" }, this.message, this.more), this.meter), this.controls),
      this.recent);
    this.idle();
  }

  /** A task was sent from here. It is watched at once, or after those that were sent before it. */
  add(taskId, prompt) {
    this.own.push([taskId, prompt]);
    this.save();
    if (this.taskId && !this.done && this.live.stateOf(this.taskId)) this.look();
    else this.follow(taskId, prompt);
  }

  save() {
    this.live.watch(this.own.map(([taskId]) => taskId));
    sessionStorage.setItem(OWN_TASKS, JSON.stringify(this.own));
  }

  /** Watch a task from now on, whatever state it is in. */
  follow(taskId, prompt) {
    this.taskId = taskId;
    this.prompt = prompt;
    this.done = false;
    this.said = "";
    this.problem.hidden = true;
    this.notes.hidden = true;
    this.images.replaceChildren();
    this.tools.show(null);
    this.made = [];
    this.began = null;
    this.preview.hidden = true;
    this.preview.removeAttribute("src");
    this.empty.hidden = false;
    this.showWaiting(null);
    this.look();
    if (this.live.known) this.live.refresh().then(() => { if (this.taskId === taskId) this.recover(); });
  }

  idle() {
    this.meter.hidden = true;
    this.controls.hidden = true;
    this.message.textContent = t("stage.ready");
  }

  /** Show how the followed task stands in the queue; without one, take up what runs. */
  look() {
    const [first] = this.live.running;
    const next = this.own.find(([taskId]) => taskId !== this.taskId && this.live.stateOf(taskId) === "running");
    if (next && (this.done || this.live.stateOf(this.taskId) !== "running")) {
      this.follow(...next);
      return;
    }
    if (!this.taskId && first) {
      this.follow(first.task_id, first.prompt);
      return;
    }
    this.showMore();
    if (!this.taskId || this.done) return;
    const running = this.live.running.find((task) => task.task_id === this.taskId);
    const position = this.live.positionOf(this.taskId);
    if (running) this.showRunning(running);
    else if (position !== null) this.showWaiting(position);
  }

  showMore() {
    const count = this.own.filter(([taskId]) => taskId !== this.taskId && this.live.stateOf(taskId)).length;
    this.more.textContent = count ? t("stage.more", { count }) : "";
  }

  ended(taskId) {
    const index = this.own.findIndex(([own]) => own === taskId);
    // The last one stays, so that a reload finds its pictures.
    if (index >= 0 && this.own.length > 1) this.own.splice(index, 1);
    this.save();
    if (taskId === this.taskId) this.finish();
    else if (index >= 0) this.rememberTask(taskId);
  }

  /** After a lost connection: tasks that neither wait nor run have ended, or are gone. */
  async recover() {
    const gone = this.own.filter(([taskId]) => !this.live.stateOf(taskId));
    for (const [taskId] of gone) if (taskId !== this.taskId) this.ended(taskId);
    if (this.taskId && !this.done && !this.live.stateOf(this.taskId)) await this.finish();
  }

  async rememberTask(taskId) {
    const record = await api.task(taskId).catch(() => null);
    if (record?.result?.length) this.remember(record);
  }

  showWaiting(position) {
    const text = position === null ? t("stage.sending") : this.live.paused ? t("stage.paused") : t("stage.waiting", { count: position });
    this.message.textContent = text;
    this.meter.hidden = true;
    this.setControls({ stop: true });
    if (position !== null) this.sayOnce(text);
  }

  showRunning(task) {
    if (this.done) return;
    this.meter.hidden = false;
    const fetched = downloadOf(task.message);
    const progress = fetched ? Math.floor((100 * fetched.received) / fetched.total) : task.progress;
    this.bar.value = progress;
    this.percent.textContent = `${progress} %`;
    this.message.textContent = progressText(task);
    this.showTimeLeft(fetched ? "download" : "run", progress);
    this.setControls({ stop: true, skip: true });
    this.sayOnce(t("stage.started"));
    if (task.made?.length) this.showMade(task.made);
    if (task.preview && this.preview.src !== task.preview) {
      this.preview.src = task.preview;
      this.preview.hidden = false;
      this.empty.hidden = true;
    }
  }

  /** Told from the pace so far, once there is one to speak of. */
  showTimeLeft(part, progress) {
    const now = performance.now();
    if (this.began?.part !== part) this.began = { part, progress, at: now };
    const [seconds, done] = [(now - this.began.at) / 1000, progress - this.began.progress];
    if (seconds < LEAST_SECONDS || done < LEAST_PROGRESS) return;
    this.message.append(` · ${t("stage.left", { time: spell(Math.ceil((seconds * (100 - progress)) / done)) })}`);
  }

  imageMade({ taskId, index, seed }) {
    if (taskId !== this.taskId || this.done) return;
    if (index === 0) this.lastSeed = seed;
    const running = this.live.running.find((task) => task.task_id === taskId);
    if (running) this.showMade(running.made);
  }

  /** The pictures of a batch that are there, each as soon as it is; the preview shows the next one beside them. */
  showMade(made) {
    if (made.length === this.made.length) return;
    this.made = [...made];
    this.preview.hidden = true;
    this.empty.hidden = true;
    this.images.classList.add("growing");
    this.images.dataset.count = Math.min(made.length + 1, 9);
    const opened = (index) => async () => {
      const record = await attempt(() => api.task(this.taskId));
      if (record) this.view({ ...record, result: record.result?.length ? record.result : made }, index);
    };
    this.images.replaceChildren(...made.map((url, index) => this.picture(url, index, this.prompt, opened(index))), this.preview);
  }

  async finish() {
    const { taskId } = this;
    if (this.done) return;
    this.done = true;
    let record;
    try {
      record = await api.task(taskId);
    } catch (error) {
      this.done = error.status === 404;
      if (!this.done || taskId !== this.taskId) return;
      record = { task_status: "failed", error: t("stage.unknown_task"), result: [], req_params: {} };
    }
    if (taskId !== this.taskId) {
      if (record.result?.length) this.remember(record);
      return;
    }
    if (record.task_status === null || record.task_status === "running") {
      this.done = false; // it is in the queue again, after a restart
      return;
    }
    this.showEnd(record);
  }

  showEnd(record) {
    const images = record.result ?? [];
    const words = { finished: "stage.finished", stop: "stage.stopped", skip: "stage.skipped" }[record.task_status] ?? "stage.failed";
    this.lastSeed = record.req_params.image_seed ?? this.lastSeed;
    this.message.textContent = t(words);
    announce(t(words));
    this.meter.hidden = true;
    this.problem.hidden = !record.error;
    this.problem.textContent = record.error ? problemText(record) : "";
    this.setControls({ again: record.task_status !== "finished" });
    this.showNotes(record.notes);
    this.images.classList.remove("growing");
    if (this.preview.parentElement === this.images) this.images.before(this.preview);
    if (images.length) {
      this.preview.hidden = true;
      this.empty.hidden = true;
      this.images.dataset.count = Math.min(images.length, 9);
      this.images.replaceChildren(...images.map((url, index) => this.result(record, url, index)));
      this.tools.show(record);
      this.remember(record);
    } else {
      this.empty.hidden = !this.preview.hidden;
    }
  }

  /** What the server found to say of the making: a LoRA that is unknown, a style left out, a mask resized. */
  showNotes(notes) {
    const lines = noteLines(Object.fromEntries(Object.entries(notes ?? {}).filter(([key]) => !EXPECTED.has(key))));
    this.notes.hidden = !lines.length;
    this.notes.replaceChildren(...lines.map((line) => make("li", {}, line)));
  }

  result(record, url, index) {
    return this.picture(url, index, record.req_params.prompt, () => this.view(record, index));
  }

  picture(url, index, prompt, onclick) {
    const picture = make("img", { src: pictureUrl(url), alt: String(prompt || t("stage.picture")) });
    const name = `${t("stage.open", { number: index + 1 })}: ${picture.alt}`;
    const ondragstart = ({ dataTransfer }) => dataTransfer.setData("text/uri-list", picture.src);
    return make("button", { type: "button", class: "result", draggable: "true", "aria-label": name, onclick, ondragstart }, picture);
  }

  /** Show which of several pictures the buttons below act on; -1 where there is only one. */
  mark(index) {
    [...this.images.children].forEach((picture, number) => picture.classList.toggle("chosen", number === index));
  }

  async view(record, index) {
    const { cardOf, openViewer } = await import("./viewer.js");
    openViewer(this.shell, [cardOf(record)], 0, { image: index });
  }

  remember(record) {
    this.strip = [record, ...this.strip.filter((other) => other.task_id !== record.task_id)].slice(0, STRIP_LENGTH);
    this.recent.hidden = this.strip.length < 2;
    this.recent.replaceChildren(...this.strip.map((one) =>
      make("button", {
        type: "button", "aria-label": String(one.req_params.prompt || t("stage.picture")),
        onclick: () => this.follow(one.task_id, one.req_params.prompt),
      },
        make("img", { src: thumbnailUrl(one.result[0]), alt: "" }))));
  }

  async retry() {
    const record = await attempt(() => api.retry(this.taskId));
    if (!record) return;
    notify(t("queue.retried"));
    this.add(record.task_id, this.prompt);
  }

  setControls({ stop = false, skip = false, again = false }) {
    this.controls.hidden = !(stop || skip || again);
    this.stop.hidden = !stop;
    this.skip.hidden = !skip;
    this.again.hidden = !again;
  }

  sayOnce(text) {
    if (this.said === text) return;
    this.said = text;
    announce(text);
  }
}
