// One trial in full.
const GROUPS = { size: "Size and cost", latency: "Latency", explanation: "Explanations", quality: "Quality", other: "Other figures" };
const OPEN_GROUPS = ["size", "latency"];
let returnTo = null;

function showCard() {
  const card = byId("card");
  byId("layout").classList.toggle("open", opened !== null);
  if (opened === null) {
    const had = card.contains(document.activeElement) || document.activeElement === document.body;
    card.hidden = true;
    if (had && returnTo?.isConnected) returnTo.focus({ preventScroll: true });
    return;
  }
  const active = document.activeElement;
  if (!card.contains(active)) returnTo = active;
  card.replaceChildren(...cardOf(opened).filter((node) => node));
  card.hidden = false;
  card.scrollTop = 0;
  byId("card-title").focus({ preventScroll: true });
}

function cardOf(row) {
  const close = element("button", { type: "button", "aria-label": "Close the card", onclick: () => open(null) }, "✕");
  const title = element("h2", { id: "card-title", tabindex: "-1" }, label(row));
  return [
    element("header", {}, mark(row), title, close),
    element("p", { class: "hint" }, standing(row)),
    objectivesTable(row),
    exportBlock(row),
    knobsTable(row),
    ...Object.keys(GROUPS).map((group) => figuresOf(row, group)),
    overlays(row),
    element("p", { class: "hint" }, "MLflow run ", element("code", {}, TRIALS.run_id[row] || "–")),
  ];
}

// Which members beat it, or which it can't be told apart from.
function standing(row) {
  if (!ranked(row)) return `Not ranked: ${TRIALS.note[row] || TRIALS.state[row]}.`;
  if (TRIALS.pareto[row]) {
    const tied = TRIALS.tied_with[row];
    return `${TRIALS.knee[row] ? "The knee of the front." : "On the front: no trial is as good in every objective and better in one."}${tied ? ` Within the intervals of ${tied}, which would beat it.` : ""}`;
  }
  const better = rows((other) => TRIALS.pareto[other] && beats(other, row));
  const gain = (other) => OBJECTIVES.map((name) => `${COLUMNS.get(name).label} ${withUnit(COLUMNS.get(name), valueOf(name, other))}`).join(", ");
  const shown = better.slice(0, 3).map((other) => `${label(other).toLowerCase()} (${gain(other)})`).join("; ");
  return `Dominated: as good or better in every objective ${better.length > 1 ? "are" : "is"} ${shown}${better.length > 3 ? ` and ${better.length - 3} more` : ""}.`;
}

function beats(first, second) {
  let strictly = false;
  for (const name of OBJECTIVES) {
    const sign = DOC.objectives[name] === "max" ? -1 : 1;
    const apart = sign * (valueOf(name, first) - valueOf(name, second));
    if (apart > 0) return false;
    strictly ||= apart < 0;
  }
  return strictly;
}

function objectivesTable(row) {
  const knee = TRIALS.knee.indexOf(true);
  const compared = [["teacher", (name) => DOC.teacher[name] ?? (name === "eps" ? 1 : null)], ...(knee >= 0 && knee !== row ? [["knee", (name) => valueOf(name, knee)]] : [])];
  const lines = OBJECTIVES.map((name) => {
    const column = COLUMNS.get(name), value = valueOf(name, row), ends = interval(name, row);
    const spread = ends ? element("small", {}, `${+(100 * DOC.confidence[name]).toFixed(1)} % [${written(column, ends[0])}, ${written(column, ends[1])}]`) : null;
    const beside = compared.map(([, of]) => comparison(column, value, of(name)));
    return element("tr", {}, element("th", { scope: "row" }, column.label), element("td", {}, element("b", {}, withUnit(column, value)), spread), ...beside);
  });
  const head = ["", "this", ...compared.map(([who]) => `against ${who}`)].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

function comparison(column, value, other) {
  if (value === null || other === null || other === undefined) return element("td", {}, "–");
  const ratio = (column.direction === "min" || column.kind === "count") && value > 0 && other > 0;
  const better = column.direction === "max" ? value > other : value < other;
  const times = other / value;
  const text = ratio ? (times >= 1 ? `${times.toFixed(1)}× less` : `${(1 / times).toFixed(1)}× more`) : `${value >= other ? "+" : "−"}${written(column, Math.abs(value - other))}${column.kind === "share" ? " points" : ""}`;
  return element("td", { class: value === other ? false : better ? "better" : "worse" }, text, element("small", {}, `${withUnit(column, other)}`));
}

function knobsTable(row) {
  const lines = KNOBS.map((column) => [column.label, valueOf(column.name, row)]).filter(([, value]) => value !== null);
  if (!lines.length) return null;
  return element("div", {}, element("h3", {}, "Knobs"), pairs(lines.map(([name, value]) => [name, written({ group: "knob" }, value)])));
}

function figuresOf(row, group) {
  const found = DOC.columns.filter((column) => column.group === group && valueOf(column.name, row) !== null);
  const own = found.map((column) => [column.label, cellText(column, row)]);
  if (!own.length) return null;
  const measured = group === "latency" && DOC.measured ? ` (${DOC.measured})` : "";
  const extra = group === "latency" ? OBJECTIVES.filter((name) => COLUMNS.get(name).unit === "ms").map((name) => [COLUMNS.get(name).label, cellText(COLUMNS.get(name), row)]) : [];
  return element("details", { open: OPEN_GROUPS.includes(group) }, element("summary", {}, element("b", {}, GROUPS[group] + measured)), pairs([...extra, ...own], ["", "this", "teacher"]));
}

function cellText(column, row) {
  const teacher = DOC.teacher[column.name];
  return [withUnit(column, valueOf(column.name, row)), teacher === undefined || teacher === null ? "" : withUnit(column, teacher)];
}

function pairs(lines, head = null) {
  const body = lines.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), ...[value].flat().map((text) => element("td", {}, text))));
  const top = head ? element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))) : null;
  return element("table", {}, top, element("tbody", {}, ...body));
}

function exportBlock(row) {
  const command = DOC.commands[TRIALS.trial[row]];
  if (!command) return null;
  const code = element("code", { tabindex: "0" }, command);
  const button = element("button", { type: "button", id: "copy" }, "Copy");
  button.addEventListener("click", () => copy(command, code, button));
  return element("div", {}, element("h3", {}, "Export"), element("div", { class: "command" }, code, button));
}

// The clipboard is refused in a sandboxed frame and for pages opened from a file in some browsers: then the old command is tried,
// and at last the text is selected, so that Ctrl+C takes it.
async function copy(text, code, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
  say(done ? "The command was copied." : "The command is selected; press Control C to copy it.");
  setTimeout(() => (button.textContent = "Copy"), 4000);
}

function overlays(row) {
  const pictures = DOC.pictures[TRIALS.trial[row]] ?? [];
  if (!pictures.length) return null;
  const figures = pictures.map((picture) => {
    const what = `Sample with the ${picture.name} EPS: what the teacher and this student look at`;
    return element("figure", {}, element("img", { src: picture.src, alt: what, width: picture.width, height: picture.height, loading: "lazy" }), element("figcaption", {}, what));
  });
  return element("div", {}, element("h3", {}, "Explanations, teacher and student"), ...figures);
}
