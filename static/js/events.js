// The connection to the server's events, and the state of the queue that is kept from them.

import { api, parseExact, socketUrl } from "./api.js";

export const OWN_TASKS = "focal.own-tasks"; // of this browser tab, in its session storage

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
const WATCH_MS = 20_000;
const GATHER_MS = 60;
const PAGE = 200; // tasks in an answer
const SMALL = 4096; // previews are larger, and hold no seed
const ENDS = new Set(["task.finished", "task.failed", "task.stopped", "task.skipped"]);

const say = (target, type, detail) => target.dispatchEvent(new CustomEvent(type, { detail }));

/**
 * One WebSocket that comes back by itself and asks for what it missed.
 *
 * Events: "event" (detail: the server's event), "open", "closed", and "resync": what is known may
 * be out of date, because this is the first connection or because events are gone for good.
 */
export class EventConnection extends EventTarget {
  #filter;
  #socket = null;
  #since;
  #pause = FIRST_PAUSE_MS;
  #timer = 0;
  #ended = false;
  #heard = 0;
  #asked = 0;
  #watch = 0;
  #online = () => { if (!this.connected) this.#again(0); };

  constructor(filter = {}) {
    super();
    this.#filter = filter;
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  open() {
    addEventListener("online", this.#online);
    this.#watch = setInterval(() => this.#lookAfter(), WATCH_MS);
    this.#connect();
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    removeEventListener("online", this.#online);
    this.#socket?.close();
  }

  #connect() {
    if (this.#ended) return;
    const socket = new WebSocket(socketUrl({ ...this.#filter, since: this.#since }));
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#pause = FIRST_PAUSE_MS;
      this.#heard = this.#asked = Date.now();
      say(this, "open");
    });
    socket.addEventListener("message", ({ data }) => {
      this.#heard = Date.now();
      if (socket === this.#socket) this.#take(data.length < SMALL ? parseExact(data) : JSON.parse(data));
    });
    socket.addEventListener("close", () => { if (socket === this.#socket) this.#lost(); });
  }

  #lost() {
    this.#socket = null;
    say(this, "closed");
    this.#again(this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
  }

  /** A network that went away says nothing: ask, and give up on who does not answer. */
  #lookAfter() {
    if (!this.connected) return;
    if (this.#asked > this.#heard) {
      this.#socket.close();
      this.#lost();
      return;
    }
    this.#asked = Date.now();
    this.#socket.send('{"op":"ping"}');
  }

  #again(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #take(message) {
    if (message.op || message.seq === undefined) return; // an answer, such as to a ping
    this.#since = message.seq;
    if (message.type === "hello" || message.type === "bus.gap") say(this, "resync", message);
    if (message.type !== "hello") say(this, "event", message);
  }
}

/** Places of waiting tasks, kept up to date from queue.changed as docs/events.md describes. */
export class QueuePlaces {
  #revision = -1;
  #places = new Map();

  /** Take over the server's answer, pairs of a task id and a place. False if it is outdated. */
  take(revision, places) {
    if (revision < this.#revision) return false;
    this.#revision = revision;
    this.#places = new Map(places);
    return true;
  }

  /** Apply one queue.changed. False if one before it was missed. */
  apply({ revision, change }) {
    if (revision <= this.#revision) return true;
    if (this.#revision < 0 || revision !== this.#revision + 1 || !change) return false;
    this.#revision = revision;
    const { task_id: id, before, after } = change;
    for (const [taskId, place] of this.#places) {
      const without = place - Number((before ?? Infinity) < place);
      this.#places.set(taskId, without + Number((after ?? Infinity) <= without));
    }
    if (after === null) this.#places.delete(id);
    else if (before === null || this.#places.has(id)) this.#places.set(id, after);
    return true;
  }

  /** Undefined if the task does not wait or was not asked for. */
  of(taskId) {
    return this.#places.get(taskId);
  }
}

/**
 * The queue as it is now, the same in every window.
 *
 * `running` and `pending`, the first page of what waits, are read again when a change touches them;
 * the rest comes from the events. Events: "change", "progress" (detail: a running task), "ended"
 * (detail: {taskId, type, data}), "image", "connection", "resync".
 */
export class LiveQueue extends EventTarget {
  #connection = new EventConnection();
  #gathering = 0;
  #unknown = false;
  #asking = false;
  #askAgain = false;
  #places = new QueuePlaces();
  #watched = [];

  paused = false;
  limit = 0;
  waiting = 0;
  pending = [];
  running = [];
  known = false;

  get connected() {
    return this.#connection.connected;
  }

  get connection() {
    return this.#connection;
  }

  open() {
    this.#connection.addEventListener("event", ({ detail }) => this.#apply(detail));
    this.#connection.addEventListener("open", () => say(this, "connection"));
    this.#connection.addEventListener("closed", () => say(this, "connection"));
    this.#connection.addEventListener("resync", async ({ detail: { type, data } }) => {
      this.#places = new QueuePlaces(); // the server may have been restarted
      const isIdle = type === "hello" && !data.pending && !data.running.length;
      if (isIdle) this.take({ ...data, limit: this.limit, waiting: 0, pending: [], positions: {} });
      else await this.refresh();
      say(this, "resync");
    });
    this.#connection.open();
  }

  /** Ask how things stand. Calls that come while one is under way share the next one. */
  async refresh() {
    if (this.#asking) {
      this.#askAgain = true;
      return;
    }
    this.#asking = true;
    try {
      do {
        this.#askAgain = false;
        this.take(await api.queue(this.#watched));
      } while (this.#askAgain);
    } catch { /* the connection says so, and asks again when it is back */ } finally {
      this.#asking = false;
    }
  }

  /** Know the places of these tasks, wherever in the queue they are. */
  watch(taskIds) {
    this.#watched = taskIds.slice(-PAGE);
    if (this.known && taskIds.some((taskId) => !this.stateOf(taskId))) this.#moved();
  }

  /** Take over an answer of the queue's endpoints, unless events have told of later changes. */
  take(queue) {
    const positions = [...Object.entries(queue.positions), ...queue.pending.map((task) => [task.task_id, task.position])];
    const places = positions.map(([taskId, position]) => [taskId, position - queue.running.length]);
    if (!this.#places.take(queue.revision, places)) return this.#moved();
    const before = new Map(this.running.map((task) => [task.task_id, task]));
    this.paused = queue.paused;
    this.limit = queue.limit;
    this.waiting = queue.waiting;
    this.pending = queue.pending;
    this.running = queue.running.map(({ images: made, ...rest }) => {
      const task = { ...rest, made };
      const known = before.get(task.task_id);
      return known && known.progress > task.progress ? { ...task, progress: known.progress, message: known.message } : task;
    });
    this.known = true;
    return say(this, "change");
  }

  /** A task's state here: "running", "pending", or "" if it is neither. */
  stateOf(taskId) {
    const isIn = (tasks) => tasks.some((task) => task.task_id === taskId);
    if (isIn(this.running)) return "running";
    return this.#places.of(taskId) !== undefined || isIn(this.pending) ? "pending" : "";
  }

  /** How many tasks come before a waiting one; null if it does not wait. */
  positionOf(taskId) {
    const place = this.#places.of(taskId);
    return place === undefined ? null : place + this.running.length;
  }

  #apply({ type, task_id: taskId, data }) {
    const running = this.running.find((task) => task.task_id === taskId);
    if (type === "task.progress" || type === "task.preview") this.#progress(running, type, data);
    else if (type === "task.image") this.#image(running, taskId, data);
    else if (ENDS.has(type)) this.#end(taskId, type, data);
    else if (type === "queue.changed") this.#change(data);
    else if (type === "task.started") this.#moved();
  }

  #change(data) {
    this.paused = data.paused;
    this.waiting = data.pending;
    const { before, after } = data.change ?? {};
    const isShown = Math.min(before ?? Infinity, after ?? Infinity) < PAGE;
    this.#moved(!this.#places.apply(data) || isShown);
  }

  #progress(running, type, data) {
    if (!running) {
      this.#moved(); // its start was missed
      return;
    }
    if (type === "task.preview") running.preview = data.image;
    else Object.assign(running, data);
    say(this, "progress", running);
  }

  #image(running, taskId, data) {
    if (running) running.made = [...running.made, data.url];
    say(this, "image", { taskId, ...data });
  }

  #end(taskId, type, data) {
    this.running = this.running.filter((task) => task.task_id !== taskId);
    this.pending = this.pending.filter((task) => task.task_id !== taskId);
    say(this, "ended", { taskId, type, data });
    this.#moved();
  }

  /** Tell of changes soon and together; ask first unless all is known. */
  #moved(isUnknown = true) {
    this.#unknown ||= isUnknown;
    if (this.#gathering) return;
    this.#gathering = setTimeout(() => {
      const ask = this.#unknown;
      this.#gathering = 0;
      this.#unknown = false;
      if (ask) this.refresh();
      else say(this, "change");
    }, GATHER_MS);
  }
}
