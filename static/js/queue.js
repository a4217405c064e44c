// The page of the queue: what runs, what waits in which order, and what has just ended.

import { api, thumbnailUrl } from "./api.js";
import { announce, attempt, button, icon, make, notify, progressText, t, when } from "./ui.js";

const ENDED_SHOWN = 20;
const DRAGGED = "application/x-focal-task";

export async function open(host, shell) {
  return new QueuePage(host, shell);
}

class QueuePage {
  constructor(host, shell) {
    this.shell = shell;
    this.live = shell.live;
    this.toggle = make("button", { type: "button", class: "primary", onclick: () => this.pauseOrResume() });
    this.count = make("p", { class: "muted" });
    this.running = make("ul", { class: "tasks", "aria-label": t("queue.running") });
    this.pending = make("ol", { class: "tasks", "aria-label": t("queue.pending") });
    this.ended = make("ul", { class: "tasks", "aria-label": t("queue.ended") });
    this.rows = new Map();
    host.append(make("div", { class: "toolbar" }, this.count, this.toggle),
      part(t("queue.running"), this.running, t("queue.nothing_running")),
      part(t("queue.pending"), this.pending, t("queue.nothing_pending")),
      part(t("queue.ended"), this.ended, t("queue.nothing_ended")));
    this.live.addEventListener("change", () => this.draw());
    this.live.addEventListener("progress", ({ detail }) => this.progress(detail));
    this.live.addEventListener("ended", () => this.drawEnded());
    this.live.addEventListener("resync", () => this.drawEnded());
    this.live.refresh();
    this.draw();
    this.drawEnded();
  }

  show() {
    this.live.refresh();
    this.drawEnded();
  }

  draw() {
    const { paused, pending, running, limit, waiting } = this.live;
    this.toggle.replaceChildren(icon(paused ? "play" : "pause"), make("span", {}, t(paused ? "queue.resume" : "queue.pause")));
    const counts = t("queue.counts", { running: running.length, pending: waiting, limit: limit || "…" });
    this.count.textContent = paused ? `${t("queue.paused")} · ${counts}` : counts;
    this.rows.clear();
    this.running.replaceChildren(...running.map((task) => this.runningRow(task)));
    const rows = pending.map((task, index) => this.pendingRow(task, index, waiting));
    keepFocus(this.pending, () => this.pending.replaceChildren(...rows));
    const more = waiting - pending.length;
    if (more > 0) this.pending.append(make("li", { class: "muted" }, t("queue.more", { count: more })));
  }

  runningRow(task) {
    const bar = make("progress", { max: 100, value: task.progress, "aria-label": t("stage.progress") });
    const words = make("span", { class: "muted" }, progressText(task));
    const preview = make("img", { alt: t("stage.preview"), src: task.preview || false });
    const row = make("li", { class: "task" }, make("div", { class: "thumb" }, preview),
      make("div", { class: "what" }, make("strong", {}, task.prompt || t("no_prompt")), words, bar),
      make("div", { class: "actions" },
        button(t("skip"), { icon: "skip", text: true, onclick: () => attempt(() => api.skip(task.task_id)) }),
        button(t("stop"), { icon: "stop", text: true, onclick: () => attempt(() => api.stop(task.task_id)) })));
    this.rows.set(task.task_id, { bar, words, preview });
    return row;
  }

  progress(task) {
    const row = this.rows.get(task.task_id);
    if (!row) return;
    row.bar.value = task.progress;
    row.words.textContent = progressText(task);
    if (task.preview) row.preview.src = task.preview;
  }

  pendingRow(task, index, count) {
    const move = (place, key) => button(t(`queue.${key}`), {
      icon: key, text: false, disabled: place < 0 || place >= count || place === index, "data-key": `${task.task_id}-${key}`,
      onclick: () => this.change(() => api.move(task.task_id, place), t("queue.moved", { place: Math.max(0, place) + 1 })),
    });
    const priority = make("input", {
      type: "number", min: -100, max: 100, value: task.priority, "data-key": `${task.task_id}-priority`,
      "aria-label": t("queue.priority"), title: t("queue.priority"),
      onchange: (event) => this.change(() => api.prioritise(task.task_id, Number(event.target.value))),
    });
    const drag = {
      draggable: "true",
      ondragstart: (event) => event.dataTransfer.setData(DRAGGED, task.task_id),
      ondragover: (event) => { if (event.dataTransfer.types.includes(DRAGGED)) event.preventDefault(); },
      ondrop: (event) => {
        event.preventDefault();
        const dragged = event.dataTransfer.getData(DRAGGED);
        if (dragged) this.change(() => api.move(dragged, index), t("queue.moved", { place: index + 1 }));
      },
    };
    return make("li", { class: "task", ...drag },
      make("span", { class: "place", "aria-hidden": "true" }, String(index + 1)),
      make("div", { class: "what" }, make("strong", {}, task.prompt || t("no_prompt")),
        make("span", { class: "muted" }, `${t("queue.images", { count: task.image_number })} · ${when(task.in_queue_mills)}`)),
      make("div", { class: "actions" }, priority, move(0, "top"), move(index - 1, "up"), move(index + 1, "down"),
        button(t("cancel"), { icon: "close", text: true, onclick: () => attempt(() => api.stop(task.task_id)) })));
  }

  async change(work, said) {
    const queue = await attempt(work);
    if (queue) this.live.take(queue);
    if (queue && said) announce(said);
  }

  pauseOrResume() {
    return this.change(this.live.paused ? api.resume : api.pause, t(this.live.paused ? "queue.resumed" : "queue.paused"));
  }

  async drawEnded() {
    const { items } = await api.history({ limit: ENDED_SHOWN }).catch(() => ({ items: [] }));
    this.ended.replaceChildren(...items.map((card, index) => this.endedRow(items, card, index)));
  }

  endedRow(cards, card, index) {
    const status = t(`status.${card.status}`);
    const view = async () => (await import("./viewer.js")).openViewer(this.shell, cards, index);
    const again = card.status !== "finished" && button(t("retry"), { icon: "retry", text: true, onclick: () => this.retry(card) });
    const small = card.images[0] && make("img", { alt: "", loading: "lazy", src: thumbnailUrl(card.images[0]) });
    return make("li", { class: "task" }, make("div", { class: "thumb" }, small || icon(card.status === "failed" ? "close" : "stop")),
      make("div", { class: "what" }, make("strong", {}, card.prompt || t("no_prompt")),
        make("span", { class: "muted" }, make("span", { class: `tag ${card.status}` }, status), ` ${when(card.finish_mills)}`),
        card.error && make("span", { class: "problem" }, card.error)),
      make("div", { class: "actions" }, again, button(t("view"), { icon: "image", text: true, onclick: view })));
  }

  async retry(card) {
    if (await attempt(() => api.retry(card.task_id))) notify(t("queue.retried"));
  }
}

function part(title, list, nothing) {
  return make("section", { class: "panel part" }, make("h2", {}, title), list, make("p", { class: "nothing" }, nothing));
}

/** Redraw a list without taking the focus from whoever is in it. */
function keepFocus(list, redraw) {
  const key = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  redraw();
  if (key) list.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}
