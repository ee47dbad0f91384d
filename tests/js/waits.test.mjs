import assert from "node:assert/strict";
import { test } from "node:test";

import { longer } from "../../aihub/static/waits.js";

test("waits grow by half, spread by a fifth to either side", () => {
  assert.equal(longer(30, 0.5), 45);
  assert.equal(longer(30, 0), 36);
  assert.equal(longer(30, 1), 54);
});

test("a wait never grows beyond five minutes and a fifth", () => {
  let wait = 30;
  for (let count = 0; count < 100; count += 1) wait = longer(wait, 1);
  assert.equal(wait, 360);
  assert.equal(longer(10_000, 0.5), 300);
});
