// Places of tasks, kept from the changes that the server publishes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { QueuePlaces } from "../../static/js/events.js";

const change = (revision, taskId, before, after) => ({ revision, change: { task_id: taskId, before, after } });

/** Places of a, b and c, which wait in this order, at revision 10. */
function three() {
  const places = new QueuePlaces();
  places.take(10, [["a", 0], ["b", 1], ["c", 2]]);
  return places;
}

const order = (places, names = "abcd") => [...names].map((name) => places.of(name));

test("a task that leaves lets those behind it move up", () => {
  const places = three();
  assert.ok(places.apply(change(11, "a", 0, null)));
  assert.deepEqual(order(places), [undefined, 0, 1, undefined]);
});

test("a task that is added in between moves those behind it down", () => {
  const places = three();
  assert.ok(places.apply(change(11, "d", null, 1)));
  assert.deepEqual(order(places), [0, 2, 3, 1]);
});

test("a move changes the places between its two ends, in both directions", () => {
  const places = three();
  places.apply(change(11, "c", 2, 0));
  assert.deepEqual(order(places, "abc"), [1, 2, 0]);
  places.apply(change(12, "c", 0, 1));
  assert.deepEqual(order(places, "abc"), [0, 2, 1]);
});

test("tasks that nobody asked for move the others and are not kept", () => {
  const places = new QueuePlaces();
  places.take(10, [["mine", 500]]);
  places.apply(change(11, "other", 700, 3));
  assert.equal(places.of("mine"), 501);
  assert.equal(places.of("other"), undefined);
});

test("an event that repeats a known revision changes nothing", () => {
  const places = three();
  assert.ok(places.apply(change(10, "a", 0, null)));
  assert.deepEqual(order(places, "abc"), [0, 1, 2]);
});

test("a missed change is noticed, and an answer of the server heals it", () => {
  const places = three();
  assert.ok(!places.apply(change(12, "a", 0, null)));
  assert.ok(!places.apply(change(13, "b", 0, null)));
  assert.ok(places.take(13, [["c", 0]]));
  assert.deepEqual(order(places, "abc"), [undefined, undefined, 0]);
});

test("an answer that was overtaken by an event is refused", () => {
  const places = three();
  places.apply(change(11, "a", 0, null));
  assert.ok(!places.take(10, [["a", 0]]));
  assert.equal(places.of("a"), undefined);
});

test("before the first answer nothing can be applied", () => {
  assert.ok(!new QueuePlaces().apply(change(0, "a", null, 0)));
});
