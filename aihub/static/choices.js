// What the start page knows of a project's choices (aihub.form.availability), as pure functions.

/** The verdict on image, profile and accelerator count together: the first part that refuses, as the server decides. */
export function verdict(data, image, profile, count) {
  const picture = data.images[image];
  const size = data.profiles[profile];
  if (!picture || !size) return null;
  if (data.verdict.state !== "ok") return data.verdict;
  if (picture.state !== "ok") return picture;
  return profileVerdict(size, image, count);
}

/** What a profile says beside an image; null for an unknown count means its default. */
export function profileVerdict(profile, image, count) {
  const known = profile.counts[String(count)] ?? profile.counts[String(profile.default)];
  const unfit = profile.unfit[image];
  return unfit ? { ...known, state: "no", word: profile.no, why: unfit, free: false } : known;
}

/** The pill of the summary: how soon the server is ready where it can start, else the state. */
export function summaryPill(data, image, profile, count) {
  const found = verdict(data, image, profile, count);
  if (!found) return null;
  const word = found.free ? data.images[image].summary : found.word;
  return { state: found.state, word };
}

/** A launch link with these choices. */
export function launchLink(address, choices) {
  const pairs = Object.entries(choices).filter(([, value]) => value);
  const query = new URLSearchParams(pairs).toString();
  return query ? `${address}?${query}` : address;
}
