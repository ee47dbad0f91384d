import assert from "node:assert/strict";
import { test } from "node:test";

import { step } from "../../aihub/static/events.js";

const begin = { stage: undefined, first: true };

test("the first event replaces the log that came with the page and draws nothing anew", () => {
  const next = step(begin, { stage: "image", lines: ["a", "b"] });
  assert.deepEqual(next, { stage: "image", first: false, clear: true, lines: ["a", "b"], changed: false, ended: false });
});

test("a first event without lines keeps that log", () => {
  assert.equal(step(begin, { stage: "admit", lines: [] }).clear, false);
});

test("later lines are added", () => {
  const next = step({ stage: "image", first: false }, { stage: "image", lines: ["c"] });
  assert.equal(next.clear, false);
  assert.equal(next.changed, false);
  assert.deepEqual(next.lines, ["c"]);
});

test("a new stage is drawn by the server", () => {
  assert.equal(step({ stage: "image", first: false }, { stage: "start" }).changed, true);
});

test("an event without a stage changes none", () => {
  const next = step({ stage: "image", first: false }, { progress: 50, message: "…" });
  assert.equal(next.stage, "image");
  assert.equal(next.changed, false);
});

for (const key of ["ready", "failed"]) {
  test(`the page is loaded again when a start is ${key}`, () => {
    assert.equal(step({ stage: "ready", first: false }, { [key]: true }).ended, true);
  });
}
