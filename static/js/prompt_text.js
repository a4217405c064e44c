// What is done with a prompt's text: weights, what may be completed, an estimate of its tokens. Knows no DOM.

const STEP = 0.1;
const [LEAST, MOST] = [0.1, 2];
const WEIGHTED = /^\(([^()]*):(\d+(?:\.\d+)?)\)$/;
const LETTERS_BEFORE = /[\p{L}\p{N}'_-]*$/u;
const LETTERS_AFTER = /^[\p{L}\p{N}'_-]*/u;
export const CHUNK = 75; // tokens that CLIP sees together

/** The weighted stretch or the word around the caret. */
function stretchAround(text, caret) {
  const open = text.lastIndexOf("(", caret - 1);
  const close = text.indexOf(")", caret);
  if (open >= 0 && close >= 0 && WEIGHTED.test(text.slice(open, close + 1))) return [open, close + 1];
  const before = text.slice(0, caret).match(LETTERS_BEFORE)[0].length;
  const after = text.slice(caret).match(LETTERS_AFTER)[0].length;
  return [caret - before, caret + after];
}

/** The stretch that a weight is for: what is marked, with the weight that it has. */
function stretchAt(text, start, end) {
  if (start === end) return stretchAround(text, start);
  const after = text.slice(end).match(/^:\d+(?:\.\d+)?\)/);
  if (after && text[start - 1] === "(") return [start - 1, end + after[0].length];
  const inside = text.slice(start, end);
  const trimmed = inside.trim();
  const from = start + inside.indexOf(trimmed);
  return [from, from + trimmed.length];
}

/** The text with the weight of what is marked one step up (1) or down (-1), and what is marked then: {text, start, end}. */
export function weigh(text, start, end, way) {
  const [from, to] = stretchAt(text, start, end);
  if (from === to) return { text, start, end };
  const known = text.slice(from, to).match(WEIGHTED);
  const words = known ? known[1] : text.slice(from, to);
  const weight = Math.max(LEAST, Math.min(MOST, Math.round((Number(known?.[2] ?? 1) + way * STEP) * 100) / 100));
  const [before, after] = weight === 1 ? ["", ""] : ["(", `:${weight})`];
  return { text: text.slice(0, from) + before + words + after + text.slice(to), start: from + before.length, end: from + before.length + words.length };
}

/** What is being typed that could be completed: {kind, start, word}; null otherwise. */
export function typedAt(text, caret) {
  const before = text.slice(0, caret);
  const found = (kind, match) => match && { kind, start: caret - match[0].length, word: match[1] };
  const lora = found("lora", before.match(/<lora:([^<>:]*)$/));
  const isOpen = (before.match(/__/g) ?? []).length % 2 === 1;
  const style = before.match(/(?<=^|[\s,])@([\w -]{0,30})$/);
  return lora || found("embedding", before.match(/\bembedding:([^\s,():]*)$/)) || (isOpen && found("wildcard", before.match(/__([\w-]*)$/)))
    || found("style", style) || null;
}

/** The names that have all of the typed words in them, those that begin with them first. */
export function suggest(names, typed, limit = 12) {
  const words = typed.toLowerCase().split(/[\s_-]+/).filter(Boolean);
  const fits = names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  const begins = (name) => name.toLowerCase().startsWith(words[0] ?? "");
  return [...fits.filter(begins), ...fits.filter((name) => !begins(name))].slice(0, limit);
}

const stem = (name) => name.replace(/\.(safetensors|bin|pt|pth|ckpt)$/, "");

/** The text with the typed beginning completed, and the caret behind it: {text, caret}. A style is chosen elsewhere, so its text goes. */
export function complete(text, caret, { kind, start }, name) {
  const whole = { lora: `<lora:${stem(name)}:1>`, embedding: `embedding:${stem(name)}`, wildcard: `__${name}__`, style: "" }[kind];
  return { text: text.slice(0, start) + whole + text.slice(caret), caret: start + whole.length };
}

/** About how many of CLIP's tokens a prompt takes: common words are one, long words and other scripts several. */
export function estimateTokens(text) {
  const plain = text.replace(/<lora:[^<>]*>/g, " ").replace(/:\d+(?:\.\d+)?(?=\))/g, "").replace(/[()[\]]/g, " ");
  let count = 0;
  for (const [part] of plain.matchAll(/[A-Za-z']+|\d|[^\sA-Za-z'\d]/g)) {
    if (part.charCodeAt(0) > 127) count += 2;
    else count += part.length <= 10 ? 1 : Math.ceil(part.length / 6);
  }
  return count;
}

const MOST_PROMPTS = 50;

/** The prompts with one more in front, each once. */
export function remembered(prompts, prompt) {
  const text = prompt.trim();
  return text ? [text, ...prompts.filter((other) => other !== text)].slice(0, MOST_PROMPTS) : prompts;
}
