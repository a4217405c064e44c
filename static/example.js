// The smallest complete client of Focal's stream: post a request, read one JSON event a line.

const $ = (id) => document.getElementById(id);
const IDEAS = [
  "a yellow star on a purple background",
  "a green heart on a white background",
  "a sunset over the sea",
  "a snowy mountain under a starry night sky",
  "a blue house on an orange background",
];
// Paths are relative to this file: a proxy may serve everything under a prefix.
const ROOT = new URL("../", import.meta.url);
let taskId = null;

/** Yield the stream's events as they arrive. A line that is no JSON object is a keep-alive comment. */
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
    }
  }
}

/** The request's parameters: only what the form says, so that the preset decides the rest. */
function readForm() {
  const form = new FormData($("request"));
  const parameters = {
    prompt: form.get("prompt"),
    negative_prompt: form.get("negative_prompt"),
    performance_selection: form.get("performance_selection"),
    image_number: Number(form.get("image_number")) || 1,
    stream_output: true,
  };
  if (form.get("aspect_ratios_selection")) {
    parameters.aspect_ratios_selection = form.get("aspect_ratios_selection");
  }
  const seed = form.get("image_seed").trim();
  const body = JSON.stringify(parameters);
  // A 64-bit seed does not fit a JavaScript number, so its digits go into the text as they are.
  return /^\d+$/.test(seed) ? `${body.slice(0, -1)},"image_seed":${BigInt(seed)}}` : body;
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}

function showProgress({ progress, message }) {
  $("progress").value = progress;
  $("percent").textContent = `${progress} %`;
  $("message").textContent = message;
}

function showPreview(source) {
  $("preview").src = source;
  $("preview").hidden = false;
  $("empty").hidden = true;
}

/** A result's address on this page's server: its URL may name another host, or lack the prefix. */
const pictureUrl = (url) => new URL(url.slice(url.lastIndexOf("/outputs/") + 1), ROOT).href;

function showImages(urls, prompt) {
  $("images").replaceChildren(
    ...urls.map(pictureUrl).map((url) => {
      const link = document.createElement("a");
      const picture = document.createElement("img");
      link.href = url;
      picture.src = url;
      picture.alt = prompt;
      link.append(picture);
      return link;
    }),
  );
  $("stage").hidden = urls.length > 0;
}

/** What the server says of a refused request, in one line. */
async function explain(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.detail ?? `${response.status} ${response.statusText}`;
  if (!Array.isArray(detail)) return String(detail);
  return detail.map((item) => `${item.loc.slice(1).join(".")}: ${item.msg}`).join("; ");
}

async function generate() {
  const prompt = $("prompt").value;
  const response = await fetch(new URL("v1/engine/generate/", ROOT), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: readForm(),
  });
  if (response.status === 401 || response.status === 403) $("login").hidden = false;
  if (!response.ok) throw new Error(await explain(response));
  taskId = response.headers.get("X-Task-Id");
  for await (const event of readEvents(response)) {
    showProgress(event);
    if (event.preview) showPreview(event.preview);
    if (event.images.length) showImages(event.images, prompt);
    if (event.error) showError(event.error);
  }
}

function control(action) {
  const task = taskId ? `&task_id=${encodeURIComponent(taskId)}` : "";
  fetch(new URL(`v1/engine/control?action=${action}${task}`, ROOT), { method: "POST" });
}

$("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("error").hidden = true;
  $("stage").hidden = false;
  $("images").replaceChildren();
  showProgress({ progress: 0, message: "Sending ..." });
  for (const id of ["generate", "skip", "stop"]) $(id).disabled = id === "generate";
  try {
    await generate();
  } catch (error) {
    showProgress({ progress: 0, message: "" });
    showError(error.message);
  } finally {
    for (const id of ["generate", "skip", "stop"]) $(id).disabled = id !== "generate";
  }
});

$("skip").addEventListener("click", () => control("skip"));
$("stop").addEventListener("click", () => control("stop"));

$("ideas").append(
  ...IDEAS.map((idea) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = idea;
    button.addEventListener("click", () => { $("prompt").value = idea; });
    return button;
  }),
);

$("login").elements.next.value = location.pathname;

const health = await fetch(new URL("health", ROOT)).then((response) => response.json()).catch(() => ({}));
$("notice").hidden = health.preset !== "embedded";
