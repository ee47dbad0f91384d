// What an event of a start means to the progress page, as a pure function.

/** The next state of the page: `lines` are appended, `ended` reloads it, `changed` asks the server to draw it again. */
export function step(state, event) {
  const lines = [...(event.lines ?? [])];
  const moved = event.stage !== undefined && event.stage !== state.stage;
  return {
    stage: event.stage ?? state.stage,
    first: false,
    clear: state.first && lines.length > 0,
    lines,
    changed: moved && state.stage !== undefined,
    ended: Boolean(event.ready || event.failed),
  };
}
