// Load the page again after the seconds that it names.

const seconds = Number(document.querySelector("[data-again]").dataset.again);
setTimeout(() => window.location.reload(), 1000 * seconds);
