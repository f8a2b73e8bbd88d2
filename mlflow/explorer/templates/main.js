// The page from top to bottom.
function showHead() {
  byId("study").textContent = `${DOC.study} – Pareto explorer`;
  byId("summary").textContent = DOC.summary;
  byId("notes").append(...DOC.notes.map((note) => element("li", {}, note)));
  const best = OBJECTIVES.map((name) => [`Best ${COLUMNS.get(name).label}`, extreme(name)]);
  const picks = [["Knee: the balanced choice", TRIALS.knee.indexOf(true)], ...best].filter(([, row]) => row >= 0);
  for (const [what, row] of picks) {
    byId("picks").append(element("button", { type: "button", onclick: () => open(row) }, element("b", {}, `${what} – ${label(row).toLowerCase()}`), element("small", {}, told(row).join(" · "))));
  }
  const written_ = new Date(DOC.written).toLocaleString();
  byId("footer").textContent = `Paretolens ${DOC.version}, written ${written_}. Study run ${DOC.run_id || "–"}. Drawn with Vega.`;
}

function extreme(name) {
  const sign = DOC.objectives[name] === "max" ? -1 : 1;
  const members = rows((row) => TRIALS.pareto[row]);
  return members.length ? members.reduce((a, b) => (sign * valueOf(name, b) < sign * valueOf(name, a) ? b : a)) : -1;
}

// A label within a sentence: abbreviations stay as they are.
const within = (text) => (text === text.toUpperCase() ? text : text.toLowerCase());

function showLegend() {
  const item = (swatch, text) => element("span", {}, swatch, text);
  const members = rows((row) => TRIALS.pareto[row]).length;
  const legend = byId("legend");
  if (members) legend.append(item(drawSwatch(LAYERS.front), "front"), item(drawSwatch(LAYERS.aside), "front, for another objective"), item(drawSwatch(LAYERS.knee), "knee"));
  if (rows((row) => ranked(row) && !TRIALS.pareto[row]).length) legend.append(item(drawSwatch(LAYERS.dominated), "dominated"));
  if (DOC.panels.some((panel) => panel.teacher)) legend.append(item(drawSwatch(LAYERS.teacher), "teacher"));
  if (members) legend.append(item(drawSwatch({ ...LAYERS.front, ring: "chosen" }), "passes the filter"));
  const rules = DOC.panels.flatMap((panel) => [...panel.rules, ...panel.x_rules]);
  for (const rule of new Map(rules.map((one) => [one.label, one])).values()) {
    legend.append(item(drawStroke(rule.dash === "dash" ? "floor" : "reference", rule.dash === "dash" ? "7 4" : "2 3"), rule.label));
  }
  if (OBJECTIVES.some((name) => `${name}_low` in TRIALS.values)) legend.append(item(drawStroke("front", "0"), `whiskers: ${DOC.levels} interval`));
}

function showFilter() {
  const some = chosen.length;
  byId("count").textContent = filtered() ? `${some} of ${COUNT} trials` : `${COUNT} trial${COUNT === 1 ? "" : "s"}`;
  byId("chips").replaceChildren(
    ...[...filters].map(([name, text]) => {
      const shown = `${heading(columnOf(name))} ${text}`;
      return element("button", { type: "button", class: "chip", title: "Remove this filter", "aria-label": `Remove the filter ${shown}`, onclick: () => setFilters({ [name]: "" }) }, `${shown} ✕`);
    }),
  );
  byId("clear").hidden = !filtered();
  byId("zoom").hidden = !filtered() && byId("zoom").getAttribute("aria-pressed") === "false";
}

function showPanels() {
  const plots_ = DOC.panels.map((panel) => {
    const container = element("div", { class: "plot" });
    const title = element("h2", {}, `${COLUMNS.get(panel.y).label} against ${within(COLUMNS.get(panel.x).label)}`);
    byId("panels").append(element("div", { class: "panel" }, title, container));
    const plot = new Scatter(panel, container);
    addPlot(container, plot);
    return plot;
  });
  byId("zoom").addEventListener("click", () => {
    const zoomed = byId("zoom").getAttribute("aria-pressed") !== "true";
    byId("zoom").setAttribute("aria-pressed", String(zoomed));
    for (const plot of plots_) plot.zoomed = zoomed;
    refilter();
  });
}

showHead();
showLegend();
buildTable();
showPanels();
addPlot(byId("parallel").parentElement, new Parallel(byId("parallel")));
showImportance();
showProgress();
listeners.filter.push(showFilter);
listeners.open.push(showCard);
byId("clear").addEventListener("click", clearFilters);
byId("front-only").addEventListener("change", (event) => {
  frontOnly = event.target.checked;
  refilter();
});
refilter();
requestAnimationFrame(() => requestAnimationFrame(() => performance.measure("paretolens:first-render", { start: 0 })));
