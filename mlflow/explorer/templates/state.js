// What is chosen. There is one idea of a filter: a text per column, as typed under the table's headings; brushing a plot writes
// such texts. A trial is chosen if it passes all of them.
const filters = new Map();
let frontOnly = false;
let chosen = rows(() => true);
let passes = new Uint8Array(COUNT).fill(1);
let opened = null;
// `filter` listeners follow every step of a brush. `settled` ones cost more (they lay out text, draw long lines): in a large study
// they wait until the brush rests.
const listeners = { filter: [], settled: [], open: [] };
const SMALL = 200; // trials up to which nothing waits
const REST = 90; // ms
let dragging = false;
let resting = 0;
const tell = (kind) => listeners[kind].forEach((listener) => listener());
const filtered = () => frontOnly || filters.size > 0;

// A part of a filter: exact `=v`, a range `lo..hi` (either end may be missing), a comparison, or (text columns) a substring.
function parsePart(column, text) {
  const part = text.trim();
  if (part === "") return null;
  const factor = scaleOf(column);
  if (column.kind === "category") {
    const wanted = part.replace(/^=/, "").trim().toLowerCase();
    return part.startsWith("=") ? { exact: wanted } : { within: wanted };
  }
  const number = (raw) => {
    const found = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kMG]?)(?:\s*[%a-zA-Z]*)?$/.exec(raw.trim());
    return found ? (Number(found[1]) * ({ k: 1e3, M: 1e6, G: 1e9 }[found[2]] ?? 1)) / factor : NaN;
  };
  const between = /^(.*?)\.\.(.*)$/.exec(part);
  const compared = /^([<>]=?|≤|≥)(.*)$/.exec(part);
  let low = -Infinity, high = Infinity, open = "";
  if (between) [low, high] = [between[1].trim() ? number(between[1]) : low, between[2].trim() ? number(between[2]) : high];
  else if (compared && "<≤".includes(compared[1][0])) [high, open] = [number(compared[2]), compared[1] === "<" ? "high" : ""];
  else if (compared) [low, open] = [number(compared[2]), compared[1] === ">" ? "low" : ""];
  else low = high = number(part.replace(/^=/, ""));
  return Number.isNaN(low) || Number.isNaN(high) ? { broken: true } : { low, high, open };
}

const parseFilter = (column, text) => text.split("|").map((part) => parsePart(column, part)).filter((part) => part !== null);

function accepts(part, value) {
  if (value === null) return false;
  if ("exact" in part) return String(value).toLowerCase() === part.exact;
  if ("within" in part) return String(value).toLowerCase().includes(part.within);
  const slack = 1e-6 * Math.abs(value); // the document keeps seven digits
  if (part.open === "high" && value >= part.high) return false;
  if (part.open === "low" && value <= part.low) return false;
  return value >= part.low - slack && value <= part.high + slack;
}

// Columns of the table that aren't in the document.
const TRIAL_COLUMN = { name: "#trial", label: "Trial", unit: "", kind: "category", group: "other" };
const STATE_COLUMN = { name: "#state", label: "State", unit: "", kind: "category", group: "other" };
const SPEED_COLUMN = { name: "#speed", label: "Faster", unit: "×", kind: "quantity", group: "other", direction: "max" };
const OWN = {
  "#trial": [TRIAL_COLUMN, (row) => `${TRIALS.trial[row]} ${label(row)}`],
  "#state": [STATE_COLUMN, (row) => TRIALS.state[row]],
  "#speed": [SPEED_COLUMN, speedUp],
};
const columnOf = (name) => OWN[name]?.[0] ?? COLUMNS.get(name);
const cell = (name, row) => (name in OWN ? OWN[name][1](row) : valueOf(name, row));

function refilter() {
  performance.mark("filter-begin");
  const tests = [...filters].map(([name, text]) => [name, parseFilter(columnOf(name), text)]);
  const sound = tests.filter(([, parts]) => parts.length && !parts.some((part) => part.broken));
  passes = new Uint8Array(COUNT);
  for (let row = 0; row < COUNT; row++) {
    passes[row] =
      (!frontOnly || TRIALS.pareto[row]) && sound.every(([name, parts]) => parts.some((part) => accepts(part, cell(name, row))));
  }
  chosen = rows((row) => passes[row]);
  tell("filter");
  clearTimeout(resting);
  if (dragging && COUNT > SMALL) resting = setTimeout(() => tell("settled"), REST);
  else tell("settled");
  performance.measure("paretolens:filter", "filter-begin");
}

// Several columns at once, so that a brush costs one pass; an empty text removes a filter.
function setFilters(changes) {
  for (const [name, text] of Object.entries(changes)) {
    if (text) filters.set(name, text);
    else filters.delete(name);
  }
  refilter();
}

function clearFilters() {
  filters.clear();
  frontOnly = false;
  byId("front-only").checked = false;
  refilter();
}

// The range a filter stands for, if it is one range: what a plot draws as its brush.
function rangeOf(name) {
  const parts = filters.has(name) ? parseFilter(columnOf(name), filters.get(name)) : [];
  return parts.length === 1 && "low" in parts[0] ? [parts[0].low, parts[0].high] : null;
}

function rangeText(column, low, high) {
  const factor = scaleOf(column);
  const round = (value) => String(Number((value * factor).toPrecision(4)));
  return `${round(Math.min(low, high))}..${round(Math.max(low, high))}`;
}

function open(row) {
  opened = row;
  tell("open");
}
