// The connection to the server's events, and the state of the queue that is kept from them.

import { api, parseExact, QUEUE_PAGE, socketUrl } from "./api.js";

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
const WATCH_MS = 20_000;
const GATHER_MS = 60;
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

/**
 * Places (from 0, waiting tasks only) of some tasks, as of one revision of the queue.
 *
 * Kept up to date from queue.changed, as docs/events.md describes.
 */
export class QueuePlaces {
  #revision = -1;
  #places = new Map();

  /** Forget everything, as after a restart of the server. */
  reset() {
    this.#revision = -1;
    this.#places.clear();
  }

  /** Take over an answer of GET /v1/queue: a map from task ids to places. False if it is outdated. */
  take(revision, places) {
    if (revision < this.#revision) return false;
    this.#revision = revision;
    this.#places = new Map(places);
    return true;
  }

  /** Apply one queue.changed. False if a change before it was missed: GET /v1/queue has it. */
  apply({ revision, change }) {
    if (revision <= this.#revision) return true;
    if (this.#revision < 0 || revision !== this.#revision + 1 || !change) return false;
    this.#revision = revision;
    this.#shift(change.before ?? Infinity, change.after ?? Infinity);
    if (change.after === null) this.#places.delete(change.task_id);
    else if (change.before === null || this.#places.has(change.task_id)) this.#places.set(change.task_id, change.after);
    return true;
  }

  #shift(before, after) {
    for (const [taskId, place] of this.#places) {
      const without = before < place ? place - 1 : place;
      this.#places.set(taskId, after <= without ? without + 1 : without);
    }
  }

  /** A task's place; undefined if it does not wait, or was not asked for. */
  of(taskId) {
    return this.#places.get(taskId);
  }
}

/**
 * The queue as it is now, the same in every window.
 *
 * `running` and `pending`, the first page of the `waiting` tasks, are read again when a change touches
 * them; counts, places, progress and previews come from the events. Events: "change", "progress" (detail: one running task), "ended" (detail:
 * {taskId, type, data}), "image", "connection", "resync".
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
      this.#places.reset(); // after a restart, revisions are those of another server
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

  /** Keep the places of these tasks up to date, wherever in the queue they are. */
  watch(taskIds) {
    this.#watched = taskIds.slice(-QUEUE_PAGE);
    if (this.known && taskIds.some((taskId) => !this.stateOf(taskId))) this.#moved();
  }

  /** Take over an answer of the queue's endpoints, unless events have told of later changes. */
  take(queue) {
    const positions = [...Object.entries(queue.positions), ...queue.pending.map((task) => [task.task_id, task.position])];
    const places = positions.map(([taskId, position]) => [taskId, position - queue.running.length]);
    if (!this.#places.take(queue.revision, places)) {
      this.#moved();
      return;
    }
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
    say(this, "change");
  }

  /** A task's state here: "running", "pending", or "" if it is neither. */
  stateOf(taskId) {
    if (this.running.some((task) => task.task_id === taskId)) return "running";
    return this.#places.of(taskId) === undefined ? "" : "pending";
  }

  /** How many tasks wait or run before a waiting one; null if it does not wait. */
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
    else if (type === "task.started") this.#start(running, taskId, data);
  }

  /** Runs at once, with what is known of it; the answer to the next question has the rest. */
  #start(running, taskId, { device }) {
    const waiting = this.pending.find((task) => task.task_id === taskId);
    const task = { prompt: "", ...waiting, task_id: taskId, device, progress: 0, message: "", preview: "", made: [] };
    if (!running) this.running = [...this.running, task];
    this.pending = this.pending.filter((other) => other !== waiting);
    this.#moved();
  }

  #change(data) {
    this.paused = data.paused;
    this.waiting = data.pending;
    const places = [data.change?.before, data.change?.after].filter((place) => Number.isInteger(place));
    const isShown = places.some((place) => place < QUEUE_PAGE);
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

  /** Tell of a change soon, together with those that follow at once; ask first unless all is known. */
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
