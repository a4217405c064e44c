// The HTTP client: URLs, bodies, errors. `fetch` is replaced; the server's root is this checkout.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ApiError, api, bareUrl, picturePath, pictureUrl, socketUrl, thumbnailUrl } from "../../static/js/api.js";

const ROOT = new URL("../../", import.meta.url).href;
const realFetch = globalThis.fetch;
let requests;
let reply;

beforeEach(() => {
  requests = [];
  reply = () => Response.json({});
  globalThis.fetch = async (url, options) => {
    requests.push({ path: url.href.slice(ROOT.length), ...options });
    return reply();
  };
  globalThis.dispatchEvent = () => true; // the window's
});

afterEach(() => {
  globalThis.fetch = realFetch;
  delete globalThis.dispatchEvent;
});

test("a request is queued with its key and every digit of its seed", async () => {
  reply = () => new Response('{"task_id": "a", "image_seed": 9223372036854775807}');
  const record = await api.generate({ prompt: "a cat", image_seed: 2n ** 63n - 1n }, "key-1");
  assert.equal(record.image_seed, 2n ** 63n - 1n);
  const [{ path, method, headers, body }] = requests;
  assert.equal(path, "v1/engine/generate/");
  assert.equal(method, "POST");
  assert.equal(headers["Idempotency-Key"], "key-1");
  assert.equal(headers["Content-Type"], "application/json");
  assert.equal(body, '{"prompt":"a cat","image_seed":9223372036854775807,"async_process":true}');
});

test("empty filters are left out of a query, zero is not", async () => {
  await api.history({ q: "", status: undefined, model: null, favourite: 0, offset: 60 });
  assert.equal(requests[0].path, "v1/history?favourite=0&offset=60");
});

test("a task's id cannot leave its path", async () => {
  await api.task("../v1/queue?x");
  assert.equal(requests[0].path, "tasks/..%2Fv1%2Fqueue%3Fx");
});

const refusals = [
  ["each wrong field by name", [{ loc: ["body", "loras", 0, "weight"], msg: "too large" }, { loc: ["body", "steps"], msg: "too few" }],
    "loras.0.weight: too large; steps: too few"],
  ["one sentence as it is", "the queue is full", "the queue is full"],
];
for (const [name, detail, message] of refusals) {
  test(`a refusal says ${name}`, async () => {
    reply = () => Response.json({ detail, code: "invalid_field" }, { status: 422, headers: { "Retry-After": "3" } });
    await assert.rejects(api.queue(), (error) => {
      assert.ok(error instanceof ApiError);
      assert.deepEqual([error.message, error.status, error.code, error.retryAfter], [message, 422, "invalid_field", "3"]);
      return true;
    });
  });
}

test("a proxy's error page is told by its status", async () => {
  reply = () => new Response("<html>Bad Gateway</html>", { status: 502 });
  await assert.rejects(api.models(), { message: "HTTP 502", status: 502, code: "" });
});

test("a missing key asks for one", async () => {
  const heard = [];
  globalThis.dispatchEvent = (event) => heard.push(event.type);
  reply = () => Response.json({ detail: "a key is needed" }, { status: 401 });
  await assert.rejects(api.queue(), { status: 401 });
  assert.deepEqual(heard, ["focal-login"]);
});

test("pictures are looked for on this server, whatever host and prefix their URL names", () => {
  const url = "https://other.example/prefix/outputs/2026-01-02/a%20b.png?x=1";
  assert.equal(picturePath(url), "/outputs/2026-01-02/a%20b.png");
  assert.equal(pictureUrl(url), `${ROOT}outputs/2026-01-02/a%20b.png`);
  assert.equal(thumbnailUrl(url), `${ROOT}thumbnails/2026-01-02/a%20b.png`);
  assert.equal(bareUrl(url), `${ROOT}outputs/2026-01-02/a%20b.png?metadata=0`);
});

test("the event stream is asked for what was missed, the first event included", () => {
  const url = socketUrl({ types: ["task.progress", "task.image"], taskId: "a b", since: 0 });
  assert.deepEqual(Object.fromEntries(url.searchParams), { types: "task.progress,task.image", task_id: "a b", since: "0" });
  assert.equal(socketUrl().search, "");
});
