// Draws openapi.json as a page to read and try. All text goes in as text, never as markup.

import { parseExact, stringifyExact } from "./js/api.js";
import { forForms } from "./js/form_state.js";
import { chosenLanguage, make } from "./js/ui.js";

const SHOWN_CHARACTERS = 20000;
const MULTIPART = "multipart/form-data";

let words = {}; // English text → the reader's language

/** A text of the page or of the document in the reader's language. */
const t = (text) => words[text] ?? text;

function resolve(spec, schema) {
  if (!schema?.$ref) return schema ?? {};
  return { name: schema.$ref.split("/").pop(), ...spec.components.schemas[schema.$ref.split("/").pop()] };
}

/** A schema in a few words: "integer 1 to 32", "array of Lora, at most 5". */
function describe(spec, schema) {
  const found = resolve(spec, schema);
  if (found.name) return found.name;
  if (found.anyOf) return found.anyOf.map((option) => describe(spec, option)).join(" or ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  let text = found.type ?? "any";
  if (found.items) text += ` of ${describe(spec, found.items)}`;
  return text + range(found);
}

function range(schema) {
  const { minimum, maximum, minItems, maxItems, maxLength } = schema;
  let text = "";
  if (minimum !== undefined && maximum !== undefined) text += ` ${minimum} to ${maximum}`;
  else if (minimum !== undefined) text += ` from ${minimum}`;
  else if (maximum !== undefined) text += ` up to ${maximum}`;
  if (minItems !== undefined && minItems === maxItems) text += `, ${maxItems} of them`;
  else if (maxItems !== undefined) text += `, at most ${maxItems}`;
  if (maxLength !== undefined) text += `, at most ${maxLength} characters`;
  return text;
}

function table(caption, rows) {
  const head = make("tr", {}, ...[t("name"), t("type and range"), t("default"), t("meaning")].map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell, i) => make("td", {}, i < 3 ? make("code", {}, cell) : cell))));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

function fieldRows(spec, schema) {
  return Object.entries(schema.properties ?? {}).map(([name, field]) => [
    name,
    describe(spec, field),
    field.default === undefined ? "" : JSON.stringify(field.default),
    t(resolve(spec, field).description ?? ""),
  ]);
}

function structTables(spec, schema, seen = new Set()) {
  const found = resolve(spec, schema);
  if (!found.properties || seen.has(found.name)) return [];
  seen.add(found.name);
  const inner = Object.values(found.properties).flatMap((field) => structTables(spec, field.items ?? field, seen));
  return [table(found.name ?? t("Body"), fieldRows(spec, found)), ...inner];
}

function parameterTable(spec, operation) {
  const rows = operation.parameters.map((parameter) => [
    `${parameter.name} (${parameter.in})`,
    describe(spec, parameter.schema),
    parameter.schema.default === undefined ? "" : JSON.stringify(parameter.schema.default),
    t(parameter.description ?? ""),
  ]);
  return rows.length ? [table(t("Parameters"), rows)] : [];
}

function bodyParts(operation) {
  const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const examples = Object.entries(content?.examples ?? {}).map(([name, example]) => [name, JSON.stringify(example.value, null, 2), example["x-accept"] ?? ""]);
  return { type, schema: content?.schema, examples };
}

/** The form that sends a request, and where its answer is shown. */
function tryForm(spec, path, method, operation) {
  const { type, schema, examples } = bodyParts(operation);
  const fields = operation.parameters.map((parameter) => parameterField(operation, parameter));
  const output = make("div", { "aria-live": "polite" });
  const parts = fields.flatMap(({ label, input }) => [label, input]);
  let body = null;
  const entries = type === MULTIPART ? formEntries(spec, operation, schema) : null;
  if (entries) {
    parts.push(...entries.flatMap(({ label, input }) => [label, input]));
  } else if (type) {
    const start = type === "application/json" ? (examples[0]?.[1] ?? "{}") : "key=";
    body = make("textarea", { class: "wide", "aria-label": t("Body"), spellcheck: "false" });
    body.value = start;
    const accept = fields.find(({ parameter }) => parameter.name === "Accept")?.input;
    const choose = (text, kind) => {
      body.value = text;
      if (accept) accept.value = kind;
    };
    const choices = examples.map(([name, text, kind]) => make("button", { type: "button", onclick: () => choose(text, kind) }, name));
    parts.push(make("div", { class: "wide" }, ...choices), body);
  }
  const form = make("form", { class: "try", "aria-label": `Try ${method} ${path}` }, ...parts, make("button", {}, t("Send")));
  const content = () => (entries ? filled(entries) : body?.value);
  const code = samples(() => written({ path, method, type, body: content(), fields }));
  form.addEventListener("input", code.update);
  form.addEventListener("click", code.update);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send({ path, method, type, body: content(), fields, output });
  });
  return [form, output, code.element];
}

/** An input for each field of a multipart form, files included. */
function formEntries(spec, operation, schema) {
  return Object.entries(resolve(spec, schema).properties ?? {}).map(([name, field]) => {
    const id = `${operation.operationId}-body-${name}`;
    const kind = field.format === "binary" || field.items?.format === "binary" ? "file" : "text";
    return { name, label: make("label", { for: id }, name), input: make("input", { id, type: kind, autocomplete: "off" }) };
  });
}

/** What was entered: pairs of a name and a text or a file. */
function filled(entries) {
  return entries.flatMap(({ name, input }) => {
    if (input.type === "file") return [...input.files].map((file) => [name, file]);
    return input.value === "" ? [] : [[name, input.value]];
  });
}

function formData(pairs) {
  const data = new FormData();
  for (const [name, value] of pairs) data.append(name, value);
  return data;
}

function parameterField(operation, parameter) {
  const id = `${operation.operationId}-${parameter.name}`;
  const label = make("label", { for: id }, parameter.name);
  if (!parameter.schema.enum) {
    return { parameter, label, input: make("input", { id, required: parameter.required, autocomplete: "off" }) };
  }
  const options = parameter.schema.enum.filter((value) => value !== "").map((value) => make("option", {}, value));
  return { parameter, label, input: make("select", { id }, make("option", { value: "" }, "—"), ...options) };
}

/** The request that the form stands for. */
function written({ path, method, type, body, fields }) {
  const query = new URLSearchParams();
  const headers = keyHeaders();
  if (type && type !== MULTIPART) headers["Content-Type"] = type; // the boundary of a form is the sender's
  let target = path;
  for (const { parameter, input } of fields) {
    if (input.value === "") continue;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, input.value.split("/").map(encodeURIComponent).join("/"));
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  return { url: `.${target}${query.size ? `?${query}` : ""}`, method, headers, body };
}

async function send({ output, ...form }) {
  const { url, method, headers, body } = written(form);
  output.replaceChildren(make("p", {}, `${method} ${url} …`));
  try {
    const answer = await fetch(url, { method, headers, body: Array.isArray(body) ? formData(body) : body });
    output.replaceChildren(make("p", {}, `${answer.status} ${answer.statusText}`));
    await show(answer, output);
  } catch (error) {
    output.replaceChildren(make("p", { role: "alert" }, `${t("No answer")}: ${error.message}`));
  }
}

const WRITERS = { curl: curlSample, Python: pythonSample, JavaScript: scriptSample };

/** The request in three languages, the same that "Send" sends. */
function samples(request) {
  const text = make("pre", { tabindex: "0", "aria-label": t("Example") });
  let chosen = "curl";
  const update = () => {
    const { url, ...rest } = request();
    text.textContent = WRITERS[chosen]({ url: new URL(url, location.href).href.replaceAll("%7B", "{").replaceAll("%7D", "}"), ...rest });
    for (const tab of tabs) tab.setAttribute("aria-pressed", tab.textContent === chosen);
  };
  const tabs = Object.keys(WRITERS).map((name) => make("button", { type: "button", onclick: () => { chosen = name; update(); } }, name));
  update();
  return { element: make("div", { class: "samples" }, make("div", { role: "group", "aria-label": t("Language of the example") }, ...tabs), text), update };
}

const isStream = (body, url) => (typeof body === "string" && body.includes('"stream_output": true')) || url.includes("/v1/events");

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function compact(body) {
  try {
    JSON.parse(body);
    return body.replace(/\s*\n\s*/g, " ");
  } catch {
    return body;
  }
}

function curlSample({ url, method, headers, body }) {
  const parts = ["curl", ...(method === "GET" ? [] : [`-X ${method}`]), ...Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`)];
  if (Array.isArray(body)) parts.push(...body.map(([name, value]) => `-F ${quoted(`${name}=${value.name ? `@${value.name}` : value}`)}`));
  else if (body) parts.push(`-d ${quoted(compact(body))}`);
  if (/^image/.test(headers.Accept ?? "")) parts.push("-o picture");
  else if (isStream(body, url)) parts.push("-N");
  return [...parts, quoted(url)].join(" \\\n  ");
}

function pythonSample({ url, method, headers, body }) {
  const streams = isStream(body, url);
  const given = [JSON.stringify(url)];
  if (Object.keys(headers).length) given.push(`headers=${JSON.stringify(headers)}`);
  if (Array.isArray(body)) {
    const pairs = body.map(([name, value]) => `(${JSON.stringify(name)}, ${value.name ? `open(${JSON.stringify(value.name)}, "rb")` : `(None, ${JSON.stringify(value)})`})`);
    given.push(`files=[${pairs.join(", ")}]`);
  } else if (body) given.push(`data=${JSON.stringify(compact(body))}`);
  if (streams) given.push("stream=True");
  const call = `answer = requests.${method.toLowerCase()}(\n    ${given.join(",\n    ")},\n)\nanswer.raise_for_status()`;
  const use = streams ? 'for line in answer.iter_lines():\n    if line.startswith(b"data: "):\n        print(json.loads(line[6:]))'
    : /^image/.test(headers.Accept ?? "") ? 'open("picture", "wb").write(answer.content)' : "print(answer.text)";
  return `${streams ? "import json\n\n" : ""}import requests\n\n${call}\n${use}`;
}

function scriptSample({ url, method, headers, body }) {
  if (Array.isArray(body)) {
    const lines = body.map(([name, value]) => `form.append(${JSON.stringify(name)}, ${value.name ? "file" : JSON.stringify(value)});`);
    return ["const form = new FormData();", ...lines, `const answer = await fetch(${JSON.stringify(url)}, { method: "${method}", headers: ${JSON.stringify(headers)}, body: form });`, "console.log(await answer.text());"].join("\n");
  }
  const options = { method, headers, ...(body ? { body: compact(body) } : {}) };
  const streams = isStream(body, url);
  const use = streams
    ? "let rest = \"\";\nfor await (const text of answer.body.pipeThrough(new TextDecoderStream())) {\n  const lines = (rest + text).split(\"\\n\");\n  rest = lines.pop();\n  for (const line of lines) if (line.startsWith(\"data: \")) console.log(JSON.parse(line.slice(6)));\n}"
    : /^image/.test(headers.Accept ?? "") ? "const picture = await answer.blob();" : "console.log(await answer.text());";
  return `const answer = await fetch(${JSON.stringify(url)}, ${JSON.stringify(options, null, 2)});\n${use}`;
}

async function show(answer, output) {
  const type = answer.headers.get("Content-Type") ?? "";
  if (type.startsWith("image/")) {
    const address = URL.createObjectURL(await answer.blob());
    output.append(make("img", { src: address, alt: t("The picture in the answer"), onload: () => URL.revokeObjectURL(address) }));
    return;
  }
  const text = make("pre", { tabindex: "0" });
  output.append(text);
  if (type.startsWith("text/event-stream")) {
    await showStream(answer, text);
    return;
  }
  const whole = await answer.text();
  text.textContent = shorten(type.includes("json") ? pretty(whole) : whole);
}

async function showStream(answer, text) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !text.isConnected) {
      await reader.cancel();
      return;
    }
    text.textContent = (text.textContent + value).slice(-SHOWN_CHARACTERS);
    text.scrollTop = text.scrollHeight;
  }
}

function pretty(text) {
  try {
    return stringifyExact(parseExact(text), 2);
  } catch {
    return text;
  }
}

function shorten(text) {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}\n… ${text.length - SHOWN_CHARACTERS} more characters` : text;
}

function keyHeaders() {
  const key = document.getElementById("key").value;
  return key ? { "X-API-KEY": key } : {};
}

function answersTable(operation) {
  const rows = Object.entries(operation.responses).map(([status, { description }]) => make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, t(description))));
  return make("table", {}, make("caption", {}, t("Answers")), make("tbody", {}, ...rows));
}

function section(spec, path, method, operation) {
  const inside = make("div", { class: "inside" });
  const summary = make(
    "summary", {},
    make("span", { class: "method" }, method), make("span", { class: "path" }, path), make("span", { class: "what" }, t(operation.summary)),
  );
  const details = make("details", { id: operation.operationId }, summary, inside);
  details.addEventListener("toggle", () => {
    if (!details.open || inside.childElementCount) return;
    const canTry = operation.operationId !== "websocket";
    inside.append(
      ...(operation.description ? [make("p", {}, t(operation.description))] : []),
      ...(canTry ? tryForm(spec, path, method, operation) : []),
      ...parameterTable(spec, operation),
      ...structTables(spec, bodyParts(operation).schema),
      answersTable(operation),
    );
  });
  return details;
}

async function draw() {
  const problem = document.getElementById("problem");
  const answer = await fetch("openapi.json", { headers: keyHeaders() });
  problem.hidden = answer.ok;
  if (!answer.ok) {
    problem.textContent = answer.status === 401 ? t("This server wants its API key.") : `${answer.status}: ${answer.statusText}`;
    return;
  }
  const spec = forForms(await answer.json());
  document.getElementById("about").textContent = `${spec.info.title} ${spec.info.version}. ${t(spec.info.description)}`;
  const sections = Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(spec, path, method.toUpperCase(), operation)));
  document.getElementById("operations").replaceChildren(...sections);
  document.getElementById("contents").replaceChildren(...sections.map((one) =>
    make("a", { href: `#${one.id}`, onclick: () => { one.open = true; } }, one.id)));
  const chosen = document.getElementById(location.hash.slice(1));
  if (chosen instanceof HTMLDetailsElement) chosen.open = true;
}

/** The page's own texts, and the choice of language that the other pages know. */
async function translate() {
  const choice = document.getElementById("language");
  choice.value = chosenLanguage();
  choice.addEventListener("change", () => {
    localStorage.setItem("focal.language", choice.value);
    location.reload();
  });
  if (choice.value === "en") return;
  words = await fetch("static/i18n/api.zh.json").then((answer) => answer.json());
  document.documentElement.lang = "zh-CN";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.textContent);
  const key = document.getElementById("key");
  key.placeholder = t(key.placeholder);
}

document.getElementById("access").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
await translate();
draw();
