// How long a page waits until it tries again, as a pure function.

const LONGEST = 300;

/** The next wait in whole seconds: half as long again, up to five minutes, and not the same for a whole class at once. */
export function longer(seconds, random) {
  return Math.round(Math.min(seconds * 1.5, LONGEST) * (0.8 + 0.4 * random));
}
