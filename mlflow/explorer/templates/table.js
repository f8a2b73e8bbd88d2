// All trials as a table: sorted by a column, filtered under the headings, a page at a time so that thousands cost nothing.
const PAGE = 50;
const table = { sort: null, down: false, page: 0, order: [] };
const SHOWN = ["size_mb", "size_bytes", "parameters"];

function tableColumns() {
  const several = new Set(TRIALS.state.map((state) => state || "complete")).size > 1;
  const sizes = SHOWN.filter((name) => COLUMNS.has(name) && !OBJECTIVES.includes(name));
  if (sizes.includes("size_mb")) sizes.splice(sizes.indexOf("size_bytes"), sizes.includes("size_bytes") ? 1 : 0);
  return [
    "#trial", ...(several ? ["#state"] : []), ...OBJECTIVES, ...(rows((row) => speedUp(row) !== null).length ? ["#speed"] : []),
    ...sizes, ...KNOBS.map((column) => column.name),
  ].map((name) => columnOf(name));
}

function buildTable() {
  table.columns = tableColumns();
  const head = element("tr", {});
  for (const column of table.columns) {
    const sorter = element("button", { type: "button", onclick: () => sortBy(column.name), title: `Sort by ${column.label}` }, heading(column));
    const box = element("input", {
      "aria-label": `Filter ${column.label}`, placeholder: column.kind === "category" ? "text" : "lo..hi", spellcheck: "false",
      autocomplete: "off", oninput: (event) => delayed(column.name, event.target.value),
    });
    box.dataset.column = column.name;
    head.append(element("th", { scope: "col", "data-column": column.name }, sorter, box));
  }
  table.body = element("tbody", {});
  byId("table").append(element("thead", {}, head), table.body);
  table.body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line?.dataset.row) open(Number(line.dataset.row));
  });
  listeners.filter.push(showInputs);
  listeners.settled.push(() => {
    table.page = 0;
    fillTable();
  });
  listeners.open.push(markRow);
}

let waiting = 0;
function delayed(name, text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => setFilters({ [name]: text.trim() }), 120);
}

function showInputs() {
  for (const box of document.querySelectorAll("#table input")) {
    const text = filters.get(box.dataset.column) ?? "";
    const broken = parseFilter(columnOf(box.dataset.column), text).some((part) => part.broken);
    if (document.activeElement !== box) box.value = text;
    box.classList.toggle("on", text !== "");
    box.setAttribute("aria-invalid", String(broken));
    box.title = broken ? "Not understood, so it filters nothing: give a number, <, > or lo..hi" : "";
  }
}

function sortBy(name) {
  const better = columnOf(name).direction === "max" || name === "#speed";
  table.down = table.sort === name ? !table.down : better;
  table.sort = name;
  table.page = 0;
  fillTable();
}

// By default the front first, best by the first objective; whatever the order, trials that don't count come last.
function ordered() {
  const first = OBJECTIVES[0];
  const name = table.sort ?? first;
  const sign = (table.sort ? table.down : DOC.objectives[first] === "max") ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [cell(name, a), cell(name, b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  };
  return [...chosen].sort((a, b) => {
    if (ranked(a) !== ranked(b)) return ranked(a) ? -1 : 1;
    if (!table.sort && TRIALS.rank[a] !== TRIALS.rank[b]) return TRIALS.rank[a] - TRIALS.rank[b];
    return compare(a, b) || a - b;
  });
}

function fillTable() {
  table.order = ordered();
  const begin = table.page * PAGE;
  table.body.replaceChildren(...table.order.slice(begin, begin + PAGE).map(line));
  if (!table.order.length) {
    const why = COUNT ? "No trial passes the filter." : "The study has no trial yet.";
    table.body.append(element("tr", {}, element("td", { colspan: table.columns.length }, why)));
  }
  for (const head of document.querySelectorAll("#table th")) {
    const name = head.dataset.column, own = table.sort === name;
    head.setAttribute("aria-sort", own ? (table.down ? "descending" : "ascending") : "none");
    head.firstChild.textContent = heading(columnOf(name)) + (own ? (table.down ? " ▾" : " ▴") : "");
  }
  showPages();
  markRow();
}

function line(row) {
  const cells = table.columns.map((column) => {
    if (column.name === "#trial") return element("td", {}, mark(row), element("button", { type: "button", "aria-label": `${label(row)}, ${place(row)}: open its card` }, label(row).replace(/^Trial /, "")));
    const value = cell(column.name, row);
    const ends = OBJECTIVES.includes(column.name) ? interval(column.name, row) : null;
    const spread = ends ? element("small", {}, ` [${written(column, ends[0])}, ${written(column, ends[1])}]`) : null;
    return element("td", {}, column.name === "#speed" ? (value === null ? "–" : `${value.toFixed(1)}×`) : written(column, value), spread);
  });
  const node = element("tr", { class: ranked(row) ? false : "unranked" }, ...cells);
  node.dataset.row = row;
  return node;
}

function mark(row) {
  const sign = TRIALS.knee[row] ? "◆" : TRIALS.pareto[row] ? "●" : "";
  return element("span", { class: TRIALS.knee[row] ? "mark knee" : "mark", title: place(row), "aria-hidden": "true" }, sign);
}

function markRow() {
  for (const node of table.body.querySelectorAll("tr")) node.setAttribute("aria-selected", String(Number(node.dataset.row) === opened));
}

function showPages() {
  const pages = Math.ceil(table.order.length / PAGE);
  const turn = (to, text) => element("button", { type: "button", disabled: to < 0 || to >= pages, onclick: () => ((table.page = to), fillTable(), byId("table-scroll").scrollTo(0, 0)) }, text);
  const from = table.page * PAGE;
  byId("pages").replaceChildren(
    ...(pages > 1 ? [turn(table.page - 1, "Previous"), `${from + 1}–${Math.min(from + PAGE, table.order.length)} of ${table.order.length}`, turn(table.page + 1, "Next")] : []),
  );
}
