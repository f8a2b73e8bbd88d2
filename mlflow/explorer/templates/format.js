// The document, small helpers for the DOM, and how numbers are written. Text reaches the page as text nodes only.
const DOC = JSON.parse(document.getElementById("document").textContent);
const TRIALS = DOC.trials;
const COUNT = TRIALS.trial.length;
const COLUMNS = new Map(DOC.columns.map((column) => [column.name, column]));
const OBJECTIVES = Object.keys(DOC.objectives);
const KNOBS = DOC.columns.filter((column) => column.group === "knob");
const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const rows = (condition) => Array.from({ length: COUNT }, (_, row) => row).filter(condition);
const valueOf = (name, row) => TRIALS.values[name]?.[row] ?? null;
const ranked = (row) => TRIALS.rank[row] !== null;
const label = (row) => {
  const number = TRIALS.trial[row].replace(/^trial-/, "");
  return /^\d+$/.test(number) ? `Trial ${Number(number)}` : TRIALS.trial[row];
};
const heading = (column) => (column.unit ? `${column.label} (${column.unit})` : column.label);

// Per cent are what people read and type; the document keeps shares of 1.
const scaleOf = (column) => (column.kind === "share" ? 100 : 1);

function significant(number, digits) {
  if (number === 0) return "0";
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(number))));
  return number.toFixed(Math.min(places, 6));
}

function counted(number) {
  for (const [size, prefix] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (Math.abs(number) >= size) return Number((number / size).toPrecision(3)) + prefix;
  }
  return String(Math.round(number));
}

function written(column, value) {
  if (value === null || value === undefined) return "–";
  if (column.kind === "share") return (100 * value).toFixed(1);
  if (column.kind === "count") return counted(value);
  if (column.kind === "score") return value.toFixed(3);
  if (column.group === "knob") return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
  return typeof value === "number" ? significant(value, 3) : String(value);
}

const withUnit = (column, value) =>
  value === null || value === undefined || !column.unit ? written(column, value) : `${written(column, value)} ${column.unit}`;

function interval(name, row) {
  const low = valueOf(`${name}_low`, row), high = valueOf(`${name}_high`, row);
  return low === null || high === null ? null : [low, high];
}

const speedUp = (row) => {
  const own = valueOf("latency_ms", row), teacher = DOC.teacher.latency_ms;
  return own > 0 && teacher > 0 ? teacher / own : null;
};

function told(row) {
  const parts = OBJECTIVES.map((name) => `${COLUMNS.get(name).label} ${withUnit(COLUMNS.get(name), valueOf(name, row))}`);
  const factor = speedUp(row);
  if (factor) parts.push(`${factor.toFixed(1)} times the teacher's speed`);
  return parts;
}

const place = (row) =>
  !ranked(row) ? TRIALS.state[row] || "not ranked" : TRIALS.knee[row] ? "knee of the front" : TRIALS.pareto[row] ? "on the front" : "dominated";
