// The API's document as the pages' forms read it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { forForms } from "../../static/js/form_state.js";

test("a field that may be null keeps its type, range and choices", () => {
  assert.deepEqual(forForms({ type: ["integer", "null"], minimum: 1 }), { type: "integer", minimum: 1 });
  assert.deepEqual(forForms({ type: ["string", "null"], enum: ["a", null] }), { type: "string", enum: ["a"] });
  assert.deepEqual(forForms({ anyOf: [{ $ref: "#/x" }, { type: "null" }] }), { $ref: "#/x" });
});

test("what applies to a field that is left out is its default", () => {
  assert.deepEqual(forForms({ properties: { on: { type: "boolean", "x-default": false } } }), { properties: { on: { type: "boolean", default: false } } });
});

test("an example is data, not a schema: its nulls stay", () => {
  const document = { examples: { one: { value: { type: ["null"], enum: [null] } } } };
  assert.deepEqual(forForms(document), document);
});

test("a choice of several schemas loses only null", () => {
  const kinds = [{ type: "string" }, { type: "integer" }];
  assert.deepEqual(forForms({ anyOf: [...kinds, { type: "null" }] }), { anyOf: kinds });
});
