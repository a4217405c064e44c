// Numbers that pass through the pages keep every digit.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parseExact, stringifyExact } from "../../static/js/api.js";

const roundTrips = [
  ["the largest seed", "9223372036854775807"],
  ["a seed just beyond what a number holds", '{"image_seed":9007199254740993}'],
  ["a negative one", "[-9007199254740993]"],
  ["a fraction with 17 digits", '{"refiner_switch":0.30000000000000004}'],
  ["a fraction beside a large seed", '[0.30000000000000004,18446744073709551615,1.1234567890123457]'],
  ["digits in a string", '{"prompt":"1234567890123456789 and \\"12345678901234567890\\", 0.30000000000000004"}'],
  ["a string that ends with a backslash", '["\\\\",12345678901234567890]'],
  ["a key of digits", '{"12345678901234567890":1}'],
];

for (const [name, text] of roundTrips) {
  test(`${name} comes out as it went in`, () => {
    assert.equal(stringifyExact(parseExact(text)), text);
  });
}

test("only integers that a number cannot hold become BigInts", () => {
  assert.deepEqual(parseExact("[9007199254740991, 9007199254740992, 1e20, 12345678901234568.0, 1e-1234567890123456789, 0]"), [
    9007199254740991, 9007199254740992n, 1e20, 12345678901234568, 0, 0,
  ]);
});

test("what is not JSON is refused as JSON.parse refuses it", () => {
  for (const text of ["", "{", "01", "[1,]", "<html>", "12345678901234567890 1", "nope"]) {
    assert.throws(() => parseExact(text), SyntaxError, text);
  }
});

test("a long document is read in time that grows with its length", () => {
  const text = `[${"1234567890123456789012345678901234567890,".repeat(20_000)}"${"\\\\".repeat(200_000)}"]`;
  const started = performance.now();
  assert.equal(parseExact(text).length, 20_001);
  assert.ok(performance.now() - started < 2000);
});

test("a value that JSON has no form for has no text, as with JSON.stringify", () => {
  assert.equal(stringifyExact(undefined), undefined);
  assert.equal(stringifyExact({ seed: 2n ** 63n - 1n, none: undefined }, 1), '{\n "seed": 9223372036854775807\n}');
});
