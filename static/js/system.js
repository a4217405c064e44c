// The page of the server itself: health, how fast the queue moves, recent errors, and the events as they come.

import { api } from "./api.js";
import { EventConnection } from "./events.js";
import { openViewer } from "./viewer.js";
import { attempt, button, make, size, t, when } from "./ui.js";

const EVENT_TYPES = ["task.queued", "task.started", "task.progress", "task.preview", "task.image", "task.finished", "task.failed",
  "task.stopped", "task.skipped", "task.marked", "queue.changed", "history.deleted", "history.restored", "model.loading",
  "model.loaded", "model.unloaded", "download.progress", "catalog.changed", "server.status"];
const EVENTS_KEPT = 300;
const REFRESH_MS = 5000;
const HOUR_MS = 3_600_000;
const ERRORS_SHOWN = 5;
const SHOWN_CHARACTERS = 400;

export async function open(host, shell) {
  const page = new SystemPage(host, shell);
  await page.refresh();
  page.show();
  return page;
}

class SystemPage {
  constructor(host, shell) {
    this.shell = shell;
    this.cards = make("dl", { class: "cards" });
    this.workers = make("ul", { class: "rows", "aria-label": t("system.workers") });
    this.errors = make("ul", { class: "rows", "aria-label": t("system.errors") });
    this.log = make("div", { class: "log", role: "log", "aria-label": t("system.events"), "aria-live": "off", tabindex: 0 });
    this.types = make("input", {
      type: "text", placeholder: t("system.types_hint"), "aria-label": t("system.types"), autocomplete: "off", list: "event-types",
    });
    this.task = make("input", { type: "text", "aria-label": t("system.task"), placeholder: t("system.task"), autocomplete: "off" });
    this.problem = make("p", { class: "problem", role: "alert", hidden: true });
    this.pause = button(t("queue.pause_log"), { icon: "pause", text: true, "aria-pressed": "false", onclick: () => this.togglePause() });
    const form = make("form", { class: "toolbar" }, this.types, this.task, make("button", { class: "primary" }, t("system.listen")), this.pause,
      button(t("system.clear"), { icon: "trash", text: true, onclick: () => this.log.replaceChildren() }), this.typeList());
    form.addEventListener("submit", (event) => { event.preventDefault(); this.listen(); });
    host.append(this.cards,
      make("section", { class: "panel part" }, make("h2", {}, t("system.workers")), this.workers),
      make("section", { class: "panel part" }, make("h2", {}, t("system.errors")), this.errors, make("p", { class: "nothing" }, t("system.no_errors"))),
      make("section", { class: "panel part" }, make("h2", {}, t("system.events")), form, this.problem, this.log));
    shell.live.addEventListener("ended", () => this.refresh());
    shell.live.addEventListener("resync", () => this.refresh());
  }

  show() {
    this.timer ??= setInterval(() => this.refresh(), REFRESH_MS);
    if (!this.connection) this.listen();
    this.refresh();
  }

  hide() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.connection?.close();
    this.connection = null;
  }

  typeList() {
    return make("datalist", { id: "event-types" }, EVENT_TYPES.map((name) => make("option", { value: name })));
  }

  async refresh() {
    const since = new Date(Date.now() - HOUR_MS).toISOString();
    const answers = await Promise.all([api.health(), api.history({ status: "finished", start_at: since, limit: 0 }),
      api.history({ status: "failed", limit: ERRORS_SHOWN }), api.summary(), api.workers()]).catch(() => null);
    if (!answers) {
      this.showCards([[t("system.status"), t("disconnected"), "bad"]]);
      return;
    }
    const [health, hour, failed, summary, { workers }] = answers;
    this.showCards([
      [t("system.status"), t(`health.${health.status}`), health.ready ? "good" : "bad", health.detail],
      [t("system.version"), health.version, "", t("system.preset", { name: health.preset })],
      [t("system.uptime"), duration(health.uptime_seconds), ""],
      ...health.devices.map((device) =>
        [t("system.device"), device.hardware?.description ?? device.name, device.state === "failed" ? "bad" : "good",
          device.error || [t(`health.${device.state}`), device.hardware && size(device.hardware.memory_bytes)].filter(Boolean).join(" · ")]),
      [t("system.queue"), t("queue.counts_short", { running: health.running, pending: health.pending }), "", this.shell.live.paused ? t("queue.paused") : ""],
      [t("system.rate"), t("system.rate_value", { count: hour.total }), "", t("system.total", { count: summary.total })],
    ]);
    this.showWorkers(workers);
    this.errors.replaceChildren(...failed.items.map((card, index) => make("li", {},
      make("div", { class: "what" }, make("span", { class: "problem" }, card.error ?? ""),
        make("span", { class: "muted" }, `${card.prompt || t("no_prompt")} · ${when(card.finish_mills)}`)),
      button(t("view"), { icon: "image", text: true, onclick: () => openViewer(this.shell, failed.items, index) }))));
  }

  showWorkers(workers) {
    const focused = document.activeElement?.dataset.worker;
    this.workers.replaceChildren(...workers.map((worker) => make("li", {},
      make("div", { class: "what" }, make("strong", {}, [worker.id, worker.node].filter(Boolean).join(" · ")),
        make("span", { class: worker.state === "failed" ? "problem" : "muted" }, describeWorker(worker))),
      button(t(worker.draining ? "system.resume_worker" : "system.drain"), {
        icon: worker.draining ? "play" : "pause", text: true, title: t("system.drain_hint"), "data-worker": worker.id,
        onclick: () => this.drain(worker) }))));
    if (focused) [...this.workers.querySelectorAll("[data-worker]")].find((each) => each.dataset.worker === focused)?.focus();
  }

  async drain(worker) {
    const answer = await attempt(() => api.drain(worker.id, !worker.draining));
    if (answer) this.showWorkers(answer.workers);
  }

  showCards(cards) {
    this.cards.replaceChildren(...cards.map(([name, value, kind, detail]) =>
      make("div", { class: `card ${kind}` }, make("dt", {}, name), make("dd", {}, value), detail ? make("dd", { class: "muted" }, detail) : null)));
  }

  listen() {
    this.connection?.close();
    this.problem.hidden = true;
    const types = this.types.value.split(/[\s,]+/).filter(Boolean);
    const connection = new EventConnection({ types, taskId: this.task.value.trim() });
    this.connection = connection;
    let worked = false;
    connection.addEventListener("open", () => { worked = true; });
    connection.addEventListener("closed", () => {
      if (worked || connection !== this.connection || !types.length) return;
      connection.close(); // a filter that the server refuses does not become right by trying again
      this.problem.textContent = t("system.refused");
      this.problem.hidden = false;
    });
    connection.addEventListener("event", ({ detail }) => { if (!this.paused) this.add(detail); });
    connection.open();
  }

  add({ seq, ts, type, task_id: task, data }) {
    const text = JSON.stringify(data, (_, value) => (typeof value === "bigint" ? String(value) : value));
    const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}… (${text.length})` : text;
    const atEnd = this.log.scrollTop + this.log.clientHeight > this.log.scrollHeight - 40;
    this.log.append(make("div", { class: "line" }, make("time", {}, new Date(ts).toLocaleTimeString()), make("span", { class: "seq" }, String(seq)),
      make("strong", {}, type), make("span", { class: "id" }, task?.slice(0, 8) ?? ""), make("code", {}, shown)));
    while (this.log.childElementCount > EVENTS_KEPT) this.log.firstElementChild.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  togglePause() {
    this.paused = !this.paused;
    this.pause.setAttribute("aria-pressed", this.paused);
  }
}

function describeWorker({ state, error, draining, hardware, memory_bytes: memory, models, pictures, failures }) {
  return [error || t(draining ? "system.draining" : `health.${state}`), hardware?.description, memory && size(memory), models.join(", "),
    t("system.worker_counts", { pictures, failures })].filter(Boolean).join(" · ");
}

function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = Math.max(0, parts.findIndex(([length]) => seconds >= length));
  let rest = Math.floor(seconds);
  return parts.slice(from < 0 ? 3 : from, from + 2).map(([length, unit]) => {
    const count = Math.floor(rest / length);
    rest -= count * length;
    return `${count} ${unit}`;
  }).join(" ") || "0 s";
}
