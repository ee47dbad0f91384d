// The start page: fills in the summary, freshens states and their age, copies the link. All of it is also without this.

import { launchLink, profileVerdict, summaryPill } from "./choices.js";
import { copy } from "./copy.js";

const REFRESH = 20000;

const form = document.getElementById("start");
const source = document.getElementById("choices");

/** What is chosen in the form now. */
function chosen() {
  const image = form.querySelector("input[name=image]:checked");
  const profile = form.querySelector("input[name=profile]:checked");
  const count = document.getElementById("accelerator-count");
  return {
    image: image ? tagged(image.closest(".ah-choice")) : "",
    profile: profile ? profile.value : "",
    count: count && count.value !== "" ? Number(count.value) : null,
    path: form.elements.path ? form.elements.path.value : "",
  };
}

function tagged(card) {
  return `${card.dataset.stream}:${card.querySelector("select").value}`;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Show a state in `slot`; an unchanged one is left alone, so that nothing is read aloud twice. */
function showPill(slot, state, word) {
  if (slot.textContent.trim() === word) return;
  const pill = document.createElement("span");
  const text = document.createElement("span");
  pill.className = `ah-state ah-tone-${state}`;
  text.textContent = word;
  pill.append(icon(state), text);
  slot.replaceChildren(...(word ? [pill] : []));
}

/** Show the text of a part of a card; an empty part is hidden. */
function showPart(card, name, text) {
  const part = card.querySelector(`[data-part=${name}]`);
  part.textContent = text;
  part.hidden = !text;
}

function setUnavailable(card, unavailable) {
  const radio = card.querySelector("input[type=radio]");
  if (unavailable) radio.setAttribute("aria-disabled", "true");
  else radio.removeAttribute("aria-disabled");
  return radio;
}

function showImage(card, data) {
  const image = data.images[tagged(card)];
  if (!image) return;
  const radio = setUnavailable(card, image.state === "no");
  showPill(document.getElementById(`${radio.id}-state`), image.state, image.word);
  showPart(card, "why", image.why);
  card.querySelector("[data-part=software]").replaceChildren(
    ...image.software.map((name) => Object.assign(document.createElement("li"), { textContent: name })),
  );
  const ready = card.querySelector("[data-part=ready]");
  ready.hidden = !image.ready;
  ready.querySelector("use").setAttribute("href", `#i-${image.readyIcon}`);
  ready.querySelector("span").textContent = image.ready;
}

function showProfile(card, data, choice) {
  const profile = data.profiles[card.dataset.profile];
  if (!profile) return;
  const mine = card.dataset.profile === choice.profile;
  const found = profileVerdict(profile, choice.image, mine ? choice.count : null);
  const radio = setUnavailable(card, found.state === "no");
  showPill(document.getElementById(`${radio.id}-state`), found.state, found.word);
  document.getElementById(`${radio.id}-size`).textContent = found.size;
  showPart(card, "why", found.why);
  showPart(card, "room", found.room);
}

/** Only the counts of the chosen profile can be chosen. */
function showCounts(data, choice) {
  const select = document.getElementById("accelerator-count");
  const profile = data.profiles[choice.profile];
  if (!select || !profile) return;
  for (const option of select.options) {
    option.hidden = option.value !== "" && !(option.value in profile.counts);
  }
  if (select.selectedOptions[0]?.hidden) select.value = "";
}

function showSummary(data, choice) {
  const profile = data.profiles[choice.profile];
  const pill = summaryPill(data, choice.image, choice.profile, choice.count);
  document.getElementById("summary-image").textContent = data.images[choice.image]?.name ?? "";
  document.getElementById("summary-profile").textContent = profile?.name ?? "";
  document.getElementById("summary-size").textContent = profile
    ? profileVerdict(profile, choice.image, choice.count).size
    : "";
  showPill(document.getElementById("summary-state"), pill?.state ?? "", pill?.word ?? "");
  const link = document.getElementById("launch-link");
  const { image, profile: size, path } = choice;
  link.href = launchLink(link.href.split("?")[0], { image, profile: size, path });
}

function showMeters(meters) {
  for (const [id, meter] of Object.entries(meters)) {
    const text = document.getElementById(`${id}-n`);
    const bar = document.getElementById(`${id}-bar`);
    if (text) text.textContent = meter.text;
    if (bar && meter.max) bar.value = Number(meter.value);
  }
}

function show(data) {
  showCounts(data, chosen());
  const choice = chosen();
  form.querySelectorAll("[data-stream]").forEach((card) => showImage(card, data));
  form.querySelectorAll("[data-profile]").forEach((card) => showProfile(card, data, choice));
  showSummary(data, choice);
}

/** Ask again how things are. Without an answer the page keeps what it has, and the age that stands beside it. */
async function refresh(state) {
  if (document.hidden) return;
  const headers = { Accept: "application/json", "X-XSRFToken": form.elements.namedItem("_xsrf").value };
  const answer = await fetch(form.dataset.availability, { headers }).catch(() => null);
  if (!answer?.ok) return;
  state.data = await answer.json();
  show(state.data);
  showMeters(state.data.meters);
  document.querySelectorAll("[data-part=as-of]").forEach((time) => {
    time.textContent = state.data.asOfText;
    time.dateTime = state.data.asOf;
  });
}

function begin() {
  const state = { data: JSON.parse(source.textContent) };
  form.querySelectorAll("[data-script]").forEach((part) => {
    part.hidden = false;
  });
  form.addEventListener("change", () => show(state.data));
  const link = document.getElementById("launch-link");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    copy(link.href, link.querySelector("span"), link.dataset.copied).catch(() => {
      window.location.assign(link.href);
    });
  });
  show(state.data);
  setInterval(() => refresh(state), REFRESH);
}

document.getElementById("errors")?.focus();
if (form && source && document.getElementById("summary-image")) begin();
