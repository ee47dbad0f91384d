// The page of a sign-in that cannot be done now: tries again by itself, and goes there once there is another answer.

const line = document.getElementById("retry");
const timer = line.querySelector("[role=timer]");
const LONGEST = 300;
let wait = Number(line.dataset.seconds);
let left = wait;

/** Ask whether the sign-in goes on now. Of an answer that is no failure only its kind matters: the page is opened. */
async function goesOn() {
  const answer = await fetch(line.dataset.again, { redirect: "manual", cache: "no-store" }).catch(() => null);
  return answer !== null && answer.status < 500;
}

async function tick() {
  left -= 1;
  if (left > 0 || document.hidden) {
    timer.textContent = Math.max(left, 0);
    return;
  }
  left = Infinity;
  if (await goesOn()) {
    window.location.assign(line.dataset.again);
    return;
  }
  // A whole class waits: each page a little longer than the last time, and not all at the same moment.
  wait = Math.min(wait * 1.5, LONGEST) * (0.8 + 0.4 * Math.random());
  left = Math.round(wait);
}

line.hidden = false;
setInterval(tick, 1000);
