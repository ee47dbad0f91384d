// The progress page: follows the start by the hub's event stream. The server draws; this only asks it to at the right time.

import { step } from "./events.js";

const EVERY = 5000;
const PARTS = ["now", "bar", "passed", "stages"];

const page = document.getElementById("progress");
const log = document.getElementById("log");
let state = { stage: undefined, first: true };

/** Take over the moving parts of this page as the server draws them now. A start that has ended has another page. */
async function redraw() {
  const answer = await fetch(window.location.href, { redirect: "manual" }).catch(() => null);
  if (!answer) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (answer.type === "opaqueredirect" || !fresh.getElementById("progress")) {
    window.location.reload();
    return;
  }
  for (const id of PARTS) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    // The line that is read aloud changes only when its words do.
    if (old && next && old.outerHTML !== next.outerHTML) {
      if (id === "now") old.textContent = next.textContent;
      else old.replaceWith(next);
    }
  }
}

function write(lines, clear) {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  const kept = clear || !log.textContent ? [] : [log.textContent];
  log.textContent = [...kept, ...lines].join("\n");
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const events = new EventSource(page.dataset.events);
events.onmessage = (message) => {
  state = step(state, JSON.parse(message.data));
  if (state.lines.length) write(state.lines, state.clear);
  if (state.ended) {
    events.close();
    window.location.reload();
  } else if (state.changed) {
    redraw();
  }
};
setInterval(redraw, EVERY);
