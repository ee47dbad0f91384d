// The page of a sign-in that has to wait: tries again by itself, and goes there once there is another answer.

import { longer } from "./waits.js";

const line = document.getElementById("retry");
let wait = Number(line.dataset.seconds);
let left = wait;
let asking = false;

/** Whether the sign-in goes on now. What the answer is, the page there says; here it counts that it is no failure. */
async function goesOn() {
  const answer = await fetch(line.dataset.again, { redirect: "manual", cache: "no-store" }).catch(() => null);
  return answer !== null && answer.status < 500;
}

async function again() {
  asking = true;
  const on = await goesOn();
  if (on) window.location.assign(line.dataset.again);
  wait = longer(wait, Math.random());
  left = wait;
  asking = on;
}

function tick() {
  if (asking) return;
  left = Math.max(0, left - 1);
  line.textContent = line.dataset.text.replace("#", left);
  if (left === 0 && !document.hidden) again();
}

line.hidden = false;
setInterval(tick, 1000);
