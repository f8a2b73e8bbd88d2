// Dragging and hovering on a plot, with mouse, pen or finger. Calls back with pixels within the plot's container.
const SLIP = 5; // pixels that a click may wander

function watchPointer(container, { drag, click, hover, leave }) {
  let start = null, moved = false, waiting = null;
  const spot = (event) => {
    const box = container.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const flush = () => {
    if (waiting) drag(start, waiting);
    waiting = null;
  };
  container.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    [start, moved] = [spot(event), false];
    container.setPointerCapture(event.pointerId);
  });
  container.addEventListener("pointermove", (event) => {
    const now = spot(event);
    if (!start) return hover(now, event);
    if (!moved && Math.hypot(now[0] - start[0], now[1] - start[1]) < SLIP) return;
    moved = dragging = true;
    leave();
    if (!waiting) requestAnimationFrame(flush); // at most one pass per frame
    waiting = now;
  });
  container.addEventListener("pointerup", (event) => {
    if (!start) return;
    dragging = false;
    if (moved) {
      waiting = spot(event);
      flush();
    } else click(spot(event), event);
    start = null;
  });
  // the finger scrolls the page instead
  container.addEventListener("pointercancel", () => {
    [start, waiting, dragging] = [null, null, false];
    tell("settled");
  });
  container.addEventListener("pointerleave", () => start || leave());
}

const tip = byId("tip");
function showTip(row, x, y) {
  const place_ = place(row);
  tip.replaceChildren(element("b", {}, `${label(row)} – ${place_}`));
  for (const name of OBJECTIVES) {
    const column = COLUMNS.get(name), ends = interval(name, row);
    const spread = ends ? `  [${written(column, ends[0])}, ${written(column, ends[1])}]` : "";
    tip.append(element("div", {}, `${column.label} ${withUnit(column, valueOf(name, row))}${spread}`));
  }
  const factor = speedUp(row);
  if (factor) tip.append(element("div", {}, `${factor.toFixed(1)}× the teacher's speed`));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, x + 16 + width > innerWidth ? x - width - 12 : x + 16)}px`;
  tip.style.top = `${Math.max(4, y + 16 + height > innerHeight ? y - height - 12 : y + 16)}px`;
}
const hideTip = () => (tip.hidden = true);

function say(text) {
  byId("live").textContent = text;
}

addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hideTip();
  if (opened !== null) open(null);
  else if (filtered()) clearFilters();
});
