// Copy a text and say so where the button is.

/** Put `text` on the clipboard, then show `done` in `label` for two seconds. */
export async function copy(text, label, done) {
  await navigator.clipboard.writeText(text);
  const before = label.textContent;
  if (before === done) return;
  label.textContent = done;
  setTimeout(() => {
    label.textContent = before;
  }, 2000);
}
