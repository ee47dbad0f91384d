import assert from "node:assert/strict";
import { test } from "node:test";

import { launchLink, profileVerdict, summaryPill, verdict } from "../../aihub/static/choices.js";

const data = {
  verdict: { state: "ok", word: "Free now", why: "" },
  images: {
    "pytorch:2.9": { state: "ok", word: "", why: "", summary: "Ready in about 20 s" },
    "rocm:6": { state: "ok", word: "", why: "", summary: "Free now" },
    "old:1": { state: "no", word: "Not available", why: "Retired.", summary: "Free now" },
  },
  profiles: {
    small: { default: 0, counts: { 0: { state: "ok", word: "Free now", why: "", size: "1 CPU", free: true } }, unfit: {}, no: "No" },
    far: { default: 0, counts: { 0: { state: "ok", word: "On a new machine", why: "Soon.", size: "", free: false } }, unfit: {}, no: "" },
    gpu: {
      default: 1,
      counts: {
        1: { state: "ok", word: "Free now", why: "", size: "1 GPU", free: true },
        2: { state: "wait", word: "Wait", why: "In use.", size: "2 GPUs", free: false },
      },
      unfit: { "rocm:6": "Made for another." },
      no: "Not available",
    },
  },
};

test("what can start is ready when its image is", () => {
  assert.deepEqual(summaryPill(data, "pytorch:2.9", "small", null), { state: "ok", word: "Ready in about 20 s" });
});

test("what waits for a machine is not ready when its image is", () => {
  assert.deepEqual(summaryPill(data, "pytorch:2.9", "far", null), { state: "ok", word: "On a new machine" });
});

test("a project that starts nothing goes before everything else", () => {
  const archived = { ...data, verdict: { state: "no", word: "Not available", why: "Archived." } };
  assert.equal(verdict(archived, "old:1", "gpu", 2).why, "Archived.");
  assert.deepEqual(summaryPill(archived, "pytorch:2.9", "small", null), { state: "no", word: "Not available" });
});

test("the image's reason goes before the profile's", () => {
  assert.equal(verdict(data, "old:1", "gpu", 2).why, "Retired.");
});

test("a profile that does not suit the image cannot be had at any count", () => {
  assert.deepEqual(summaryPill(data, "rocm:6", "gpu", 2), { state: "no", word: "Not available" });
  assert.equal(profileVerdict(data.profiles.gpu, "rocm:6", 1).why, "Made for another.");
  assert.equal(profileVerdict(data.profiles.gpu, "rocm:6", 1).size, "1 GPU");
});

test("the count decides; none, or one that is not open, means the default", () => {
  assert.equal(verdict(data, "pytorch:2.9", "gpu", 2).state, "wait");
  assert.equal(verdict(data, "pytorch:2.9", "gpu", null).state, "ok");
  assert.equal(verdict(data, "pytorch:2.9", "gpu", 8).state, "ok");
});

test("a choice that stands for nothing has no verdict", () => {
  assert.equal(verdict(data, "", "small", null), null);
  assert.equal(summaryPill(data, "pytorch:2.9", "gone", null), null);
});

test("a launch link names what is chosen and nothing else", () => {
  const address = "https://hub.example.org/hub/aihub/launch/ml101";
  assert.equal(launchLink(address, { image: "", profile: "" }), address);
  assert.equal(
    launchLink(address, { image: "pytorch:2.9", profile: "a&b", path: "lab 5/ü.ipynb" }),
    `${address}?image=pytorch%3A2.9&profile=a%26b&path=lab+5%2F%C3%BC.ipynb`,
  );
});
