// Weights, completion and length of a prompt.

import assert from "node:assert/strict";
import test from "node:test";

import { complete, estimateTokens, remembered, suggest, typedAt, weigh } from "../../static/js/prompt_text.js";

const marked = (text) => {
  const [before, inside, after] = text.split("|");
  return after === undefined ? [before + inside, before.length, before.length] : [before + inside + after, before.length, before.length + inside.length];
};
const shown = ({ text, start, end }) => `${text.slice(0, start)}|${text.slice(start, end)}|${text.slice(end)}`;

for (const [before, way, after] of [
  ["a |red| star", 1, "a (|red|:1.1) star"],
  ["a (|red|:1.1) star", 1, "a (|red|:1.2) star"],
  ["a (|red|:1.1) star", -1, "a |red| star"],
  ["a |red| star", -1, "a (|red|:0.9) star"],
  ["a re|d star", 1, "a (|red|:1.1) star"],
  ["a (red star:1.3|)", 1, "a (|red star|:1.4)"],
  ["a| red star |!", 1, "a (|red star|:1.1) !"],
  ["(|x|:2)", 1, "(|x|:2)"],
  ["a  |", 1, "a  ||"],
  ["一颗|红色|星", 1, "一颗(|红色|:1.1)星"],
]) test(`weight ${way} of ${before}`, () => assert.equal(shown(weigh(...marked(before), way)), after));

for (const [text, kind, word] of [
  ["a cat <lora:sk", "lora", "sk"], ["(embedding:ea", "embedding", "ea"], ["a __ani", "wildcard", "ani"], ["cat, @water co", "style", "water co"],
  ["@", "style", ""],
]) {
  test(`"${text}" asks for a ${kind}`, () => {
    const typed = typedAt(text, text.length);
    assert.deepEqual([typed.kind, typed.word], [kind, word]);
  });
}

for (const text of ["a cat", "a __animal__", "<lora:sketch:1>", "me@example", ""]) {
  test(`"${text}" asks for nothing`, () => assert.equal(typedAt(text, text.length), null));
}

test("a chosen name stands in place of what was typed", () => {
  const text = "a <lora:sk cat";
  const typed = typedAt(text, 10);
  assert.deepEqual(complete(text, 10, typed, "sub/sketch.safetensors"), { text: "a <lora:sub/sketch:1> cat", caret: 21 });
  assert.equal(complete("x __an", 6, typedAt("x __an", 6), "animal").text, "x __animal__");
  assert.equal(complete("x @wat", 6, typedAt("x @wat", 6), "SAI Watercolor").text, "x ");
});

test("names are found by words in any order, those that begin with them first", () => {
  assert.deepEqual(suggest(["artstyle watercolor", "watercolor 2", "oil"], "water"), ["watercolor 2", "artstyle watercolor"]);
  assert.deepEqual(suggest(["color_flower", "flower"], "flower col"), ["color_flower"]);
});

test("weights, brackets and LoRAs are no tokens", () => {
  assert.equal(estimateTokens("a red star"), 3);
  assert.equal(estimateTokens("a (red:1.3) star <lora:sketch:0.5>"), 3);
  assert.equal(estimateTokens("a red star, watercolor"), 5);
  assert.ok(estimateTokens("红色的星星") >= 5);
});

test("the last fifty prompts are kept, each once, the newest first", () => {
  let kept = [];
  for (let number = 0; number < 60; number += 1) kept = remembered(kept, `prompt ${number}`);
  kept = remembered(kept, "  prompt 30 ");
  assert.equal(kept.length, 50);
  assert.deepEqual(kept.slice(0, 2), ["prompt 30", "prompt 59"]);
  assert.equal(kept.filter((one) => one === "prompt 30").length, 1);
  assert.deepEqual(remembered(kept, " "), kept);
});
