// The HTTP client: the only module that knows the server's URLs. Its JSON loses no digits: seeds have
// 64 bits and JavaScript's numbers 53, so integers beyond Number.MAX_SAFE_INTEGER are BigInts here.

const ROOT = new URL("../../", import.meta.url);
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const LONG_INTEGER = /^-?\d{16,}$/;

export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(explain(status, body));
    this.status = status;
    this.code = body?.code ?? "";
    this.retryAfter = retryAfter;
  }
}

/** An error reply in one line. */
function explain(status, body) {
  const detail = body?.detail ?? body?.error;
  if (!detail) return `HTTP ${status}`;
  if (!Array.isArray(detail)) return String(detail);
  return detail.map((item) => `${item.loc.slice(1).join(".")}: ${item.msg}`).join("; ");
}

/** JSON.parse, with unsafe integers as BigInts. Throws SyntaxError as JSON.parse does. */
export function parseExact(text) {
  // A random prefix, so that no string of the document can be taken for a marked number.
  const mark = `big${Math.random()}:`;
  let found = false;
  const marked = text.replace(STRING_OR_NUMBER, (token) => {
    if (!LONG_INTEGER.test(token) || Number.isSafeInteger(Number(token))) return token;
    found = true;
    return `"${mark}${token}"`;
  });
  if (!found) return JSON.parse(text);
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value);
}

/** JSON.stringify, with BigInts written as plain integers. */
export function stringifyExact(value, indent) {
  const mark = `big${Math.random()}:`;
  const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `${mark}${item}` : item), indent);
  return text?.replace(new RegExp(`"${mark}(-?\\d+)"`, "g"), "$1");
}

/** A request to the server and its JSON reply. Throws ApiError, and TypeError without a connection. */
async function ask(path, { method = "GET", query = {}, body, headers = {}, signal } = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  const sent = body === undefined ? { headers } : {
    headers: { ...headers, "Content-Type": "application/json" },
    body: stringifyExact(body),
  };
  const answer = await fetch(url, { method, signal, ...sent });
  const content = await contentOf(answer);
  if (answer.ok) return content;
  if (answer.status === 401) dispatchEvent(new CustomEvent("focal-login"));
  throw new ApiError(answer.status, content, answer.headers.get("Retry-After"));
}

async function contentOf(answer) {
  const text = await answer.text();
  try {
    return parseExact(text);
  } catch { // a proxy's error page, not JSON
    return null;
  }
}

const task = (id, action = "") => `tasks/${encodeURIComponent(id)}${action && `/${action}`}`;
const post = (path, query) => ask(path, { method: "POST", query });

export const api = {
  document: () => ask("openapi.json"),
  models: () => ask("v1/models"),
  modelSource: (name) => ask("v1/models/source", { query: { name } }),
  health: () => ask("health"),
  generate: (parameters, key) =>
    ask("v1/engine/generate/", {
      method: "POST",
      body: { ...parameters, async_process: true },
      headers: { "Idempotency-Key": key },
    }),
  stop: (taskId) => post("v1/engine/control", { action: "stop", task_id: taskId }),
  skip: (taskId) => post("v1/engine/control", { action: "skip", task_id: taskId }),
  unload: () => post("v1/engine/unload"),
  queue: (taskIds = []) => ask("v1/queue", { query: { task_ids: taskIds.join(",") } }),
  pause: () => post("v1/queue/pause"),
  resume: () => post("v1/queue/resume"),
  workers: () => ask("v1/workers"),
  drain: (worker, on) => post(`v1/workers/${encodeURIComponent(worker)}/${on ? "drain" : "resume"}`),
  move: (taskId, place) => post("v1/queue/move", { task_id: taskId, place }),
  prioritise: (taskId, priority) => post("v1/queue/priority", { task_id: taskId, priority }),
  task: (taskId) => ask(task(taskId)),
  retry: (taskId) => post(task(taskId, "retry")),
  favourite: (taskId, on) => post(task(taskId, "favourite"), { on: on ? 1 : 0 }),
  remove: (taskId) => post(task(taskId, "delete")),
  restore: (taskId) => post(task(taskId, "restore")),
  history: (query, signal) => ask("v1/history", { query, signal }),
  summary: () => ask("v1/history/summary"),
  downloads: () => ask("v1/models/downloads"),
  startDownload: (folder, name) => ask("v1/models/downloads", { method: "POST", body: { folder, name } }),
  pauseDownload: (folder, name) => ask("v1/models/downloads/pause", { method: "POST", body: { folder, name } }),
  savePreset: (name, parameters, replace = false, note = "") => ask("v1/presets", { method: "POST", body: { name, parameters, replace, note } }),
  renamePreset: (name, to) => ask("v1/presets/rename", { method: "POST", body: { name, to } }),
  deletePreset: (name) => ask("v1/presets/delete", { method: "POST", body: { name } }),
  boards: () => ask("v1/boards"),
  changeBoard: (name, change = {}) => ask("v1/boards", { method: "POST", body: { name, ...change } }),
  renameBoard: (name, to) => ask("v1/boards/rename", { method: "POST", body: { name, to } }),
  deleteBoard: (name) => ask("v1/boards/delete", { method: "POST", body: { name } }),
  readMetadata: (image) => ask("v1/tools/read-metadata", { method: "POST", body: { image } }),
  generateMask: (body) => ask("v1/tools/generate_mask", { method: "POST", body }),
  describe: (image, kind) =>
    ask("v1/tools/describe-image", { method: "POST", body: { image, image_type: kind } }),
  login: (key) =>
    fetch(new URL("login", ROOT), { method: "POST", body: new URLSearchParams({ key }) }).then((answer) => answer.ok),
  texts: (language) => fetch(new URL(`static/i18n/${language}.json`, ROOT)).then((answer) => answer.json()),
};

/** A picture's path on this server: from /outputs/ or /inputs/ on, without host and path prefix. */
export function picturePath(url) {
  const { pathname } = new URL(url, ROOT);
  const at = pathname.search(/\/(outputs|inputs)\//);
  return at < 0 ? pathname : pathname.slice(at);
}

export const pictureUrl = (url) => new URL(picturePath(url).slice(1), ROOT).href;
export const thumbnailUrl = (url) => new URL(picturePath(url).replace("/outputs/", "thumbnails/"), ROOT).href;
export const modelPictureUrl = (folder, name) => new URL(`v1/models/picture?${new URLSearchParams({ folder, name })}`, ROOT).href;
export const bareUrl = (url) => `${pictureUrl(url)}?metadata=0`;

/** Have the browser save the pictures as one zip file: by a form, so that it goes to the disk as it comes. */
export function saveZip(urls) {
  const form = document.createElement("form");
  const frame = document.createElement("iframe"); // a refusal must not take the page's place
  Object.assign(frame, { name: "zip", hidden: true });
  Object.assign(form, { method: "POST", action: new URL("v1/history/zip", ROOT).href, target: frame.name, hidden: true });
  const field = document.createElement("input");
  Object.assign(field, { name: "pictures", value: urls.map(picturePath).join(",") });
  form.append(field);
  document.querySelector("iframe[name=zip]")?.remove();
  document.body.append(frame, form);
  form.submit();
  form.remove();
}

/** The event stream's URL. `since`: a sequence number; the events after it are replayed. */
export function socketUrl({ types, taskId, since } = {}) {
  const url = new URL("ws", ROOT);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (types?.length) url.searchParams.set("types", types.join(","));
  if (taskId) url.searchParams.set("task_id", taskId);
  if (since !== undefined) url.searchParams.set("since", since);
  return url;
}
