// The project page: Copy buttons, and the focus on what needs an answer.

import { copy } from "./copy.js";

document.querySelectorAll("[data-copy]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    copy(field.value, button.querySelector("span"), button.dataset.copied).catch(() => field.focus());
  });
});
(document.getElementById("errors") ?? document.getElementById("confirm"))?.focus();
