// One objective against the cost.
const PAD = { left: 62, right: 16, top: 12, bottom: 48 };
const FEW_BARS = 60; // error bars of that many chosen trials; of members only, where more are chosen

class Scatter {
  constructor(panel, container) {
    Object.assign(this, { panel, container, cursor: null, zoomed: false, view: null, spots: [] });
    this.rows = rows((row) => ranked(row) && valueOf(panel.x, row) !== null && valueOf(panel.y, row) !== null);
    this.stairs = new Set(panel.stairs);
    const count = `${this.rows.length} trials`;
    container.tabIndex = 0;
    container.setAttribute("role", "application");
    container.setAttribute(
      "aria-label",
      `${panel.y_label} against ${panel.x_label}, ${count}. Left and right arrows walk along the chosen members of the front, ` +
        "with Shift along all chosen trials; Enter opens a trial; Escape lets go. The filters in the table do what dragging does.",
    );
    watchPointer(container, {
      drag: (from, to) => this.brush(from, to),
      click: (spot) => this.pick(spot),
      hover: (spot, event) => this.hover(spot, event),
      leave: () => this.point(null),
    });
    container.addEventListener("keydown", (event) => this.key(event));
    container.addEventListener("blur", () => this.point(null));
    listeners.filter.push(() => this.update());
    listeners.open.push(() => this.mark());
  }

  layer(row) {
    if (TRIALS.knee[row]) return "knee";
    if (!TRIALS.pareto[row]) return "dominated";
    return this.stairs.has(row) ? "front" : "aside";
  }

  datum(row) {
    const layer = LAYERS[this.layer(row)];
    const [low, high] = interval(this.panel.y, row) ?? [null, null];
    const x = valueOf(this.panel.x, row);
    return {
      row, x, y: valueOf(this.panel.y, row), low, high, bar: { x, low, high, ink: colour(layer.colour) },
      shape: layer.shape, size: layer.size, ink: colour(layer.colour), fill: layer.hollow ? colour("paper") : colour(layer.colour),
      member: TRIALS.pareto[row],
    };
  }

  domain(axis) {
    const name = this.panel[axis];
    const some = this.zoomed && chosen.some((row) => ranked(row)) ? chosen.filter(ranked) : this.rows;
    const found = some.map((row) => valueOf(name, row)).filter((value) => value !== null);
    if (axis === "y") for (const row of some) if (TRIALS.pareto[row] || this.zoomed) found.push(...(interval(name, row) ?? []));
    if (!this.zoomed) {
      if (this.panel.teacher) found.push(this.panel.teacher[axis === "x" ? 0 : 1]);
      for (const rule of axis === "y" ? this.panel.rules : this.panel.x_rules) found.push(rule.low, rule.high);
    }
    if (!found.length) return axis === "x" && this.panel.log_x ? [0.1, 10] : [0, 1];
    let low = found[0], high = found[0];
    for (const value of found) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (axis === "x" && this.panel.log_x) {
      const margin = low === high ? 1.5 : (high / low) ** 0.05;
      return [low / margin, high * margin];
    }
    const margin = 0.05 * (high - low || Math.abs(high) || 1);
    return [low - margin, high + margin];
  }

  build(width) {
    this.width = width - PAD.left - PAD.right;
    this.height = Math.round(Math.max(260, Math.min(420, 0.68 * width))) - PAD.top - PAD.bottom;
    [this.base, this.view].forEach((view) => view?.finalize());
    this.data = new Map(this.rows.map((row) => [row, this.datum(row)]));
    this.shown = null;
    [this.base, this.view] = makeViews(this.container, [baseSpec(this), chosenSpec(this)]);
    const data = [...this.data.values()];
    const order = { dominated: 0, aside: 1, front: 2, knee: 3 };
    data.sort((a, b) => order[this.layer(a.row)] - order[this.layer(b.row)]);
    this.base.data("trials", data);
    this.base.data("stairs", this.panel.stairs.map((row) => this.data.get(row)));
    this.members = data.filter((datum) => datum.member && datum.low !== null);
    this.update();
  }

  // The scales follow the zoom; the points' places are kept until they move.
  place() {
    const domains = [this.domain("x"), this.domain("y")];
    if (this.shown === String(domains)) return;
    this.shown = String(domains);
    for (const view of [this.base, this.view]) view.signal("xdomain", domains[0]).signal("ydomain", domains[1]);
    this.base.run();
    this.view.run();
    this.spots = this.rows.map((row) => [this.px("x", valueOf(this.panel.x, row)), this.px("y", valueOf(this.panel.y, row)), row]);
  }

  update() {
    if (!this.view) return;
    const drawn = filtered() ? chosen.map((row) => this.data.get(row)).filter((datum) => datum) : [];
    const whole = drawn.length <= FEW_BARS ? drawn : drawn.filter((datum) => datum.member);
    const barred = filtered() ? whole.filter((datum) => datum.low !== null) : this.members;
    this.place();
    this.view.signal("dim", filtered());
    replaceData(this.view, "chosen", drawn);
    replaceData(this.view, "bars", barred.length > 4 * FEW_BARS ? [] : barred.map((datum) => datum.bar));
    this.view.data("brush", this.brushed());
    this.mark();
  }

  px(axis, value) {
    return this.view.scale(axis)(value);
  }

  // The rectangle that the filters of both columns stand for; none if neither is one range.
  brushed() {
    const ranges = { x: rangeOf(this.panel.x), y: rangeOf(this.panel.y) };
    if (!ranges.x && !ranges.y) return [];
    const span = (axis, end) => {
      if (!ranges[axis]) return [0, end];
      const ends = ranges[axis].map((value) => {
        if (value === -Infinity || (axis === "x" && this.panel.log_x && value <= 0)) return axis === "x" ? 0 : end;
        return value === Infinity ? (axis === "x" ? end : 0) : this.px(axis, value);
      });
      return [Math.max(0, Math.min(...ends)), Math.min(end, Math.max(...ends))];
    };
    const [x, x2] = span("x", this.width), [y, y2] = span("y", this.height);
    return [{ x, x2, y, y2 }];
  }

  brush(from, to) {
    const inside = ([x, y]) => [
      Math.max(0, Math.min(this.width, x - PAD.left)), Math.max(0, Math.min(this.height, y - PAD.top)),
    ];
    const [a, b] = [inside(from), inside(to)];
    const value = (axis, pixel) => this.view.scale(axis).invert(pixel);
    const { x, y } = this.panel;
    setFilters({
      [x]: rangeText(COLUMNS.get(x), value("x", a[0]), value("x", b[0])),
      [y]: rangeText(COLUMNS.get(y), value("y", a[1]), value("y", b[1])),
    });
  }

  nearest([x, y], reach = 16) {
    let best = null, least = reach ** 2;
    for (const [px, py, row] of this.spots) {
      const apart = (px + PAD.left - x) ** 2 + (py + PAD.top - y) ** 2 - (TRIALS.pareto[row] ? 20 : 0) - (passes[row] ? 20 : 0);
      if (apart < least) [best, least] = [row, apart];
    }
    return best;
  }

  pick(spot) {
    const row = this.nearest(spot, 22);
    if (row !== null) open(row);
    else if (filters.has(this.panel.x) || filters.has(this.panel.y)) setFilters({ [this.panel.x]: "", [this.panel.y]: "" });
  }

  hover(spot, event) {
    const row = this.nearest(spot);
    this.container.style.cursor = row === null ? "" : "pointer";
    if (row === null) return this.point(null);
    this.point(row);
    return showTip(row, event.clientX, event.clientY);
  }

  // The ring around a trial that the pointer or the keyboard is at.
  point(row) {
    if (row === null) hideTip();
    if (this.cursor === row || !this.view) return;
    this.cursor = row;
    this.mark();
  }

  mark() {
    if (!this.view) return;
    const marked = [...new Set([opened, this.cursor])].filter((row) => row !== null && ranked(row));
    replaceData(this.view, "marked", marked.map((row) => this.data.get(row)).filter((datum) => datum));
    this.view.run();
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (this.cursor !== null) open(this.cursor);
      return;
    }
    if (!(event.key in steps)) return;
    event.preventDefault();
    const members = this.rows.filter((row) => passes[row] && TRIALS.pareto[row]);
    const pool = event.shiftKey || !members.length ? this.rows.filter((row) => passes[row]) : members;
    if (!pool.length) return say("No trial passes the filter.");
    const x = (row) => valueOf(this.panel.x, row);
    pool.sort((a, b) => x(a) - x(b));
    const at = pool.indexOf(this.cursor);
    const next = at < 0 ? (steps[event.key] < 0 && steps[event.key] !== -Infinity ? pool.length - 1 : 0) : at + steps[event.key];
    const row = pool[Math.max(0, Math.min(pool.length - 1, next))];
    this.point(row);
    const box = this.container.getBoundingClientRect();
    showTip(row, box.left + PAD.left + this.px("x", x(row)), box.top + PAD.top + this.px("y", valueOf(this.panel.y, row)));
    say(`${label(row)}, ${place(row)}. ${told(row).join(", ")}.`);
  }
}

// Axes, trials and the front's stairs: drawn again when the scales change.
function baseSpec(plot) {
  const { panel } = plot;
  const kind = COLUMNS.get(panel.y)?.kind;
  const percent = COLUMNS.get(panel.x)?.kind === "share";
  return {
    ...frameSpec(plot),
    data: [{ name: "trials" }, { name: "stairs" }],
    axes: [
      { orient: "bottom", scale: "x", grid: true, title: panel.x_label, tickCount: 6, format: percent ? ".0%" : panel.log_x ? "~g" : "~s", labelOverlap: true, labelSeparation: 8 },
      { orient: "left", scale: "y", grid: true, title: panel.y_label, tickCount: 7, ...(kind === "share" ? { encode: { labels: { update: { text: { signal: "format(100 * datum.value, '~f')" } } } } } : { format: kind === "count" ? "~s" : "~g" }) },
    ],
    marks: [
      symbols("trials", { opacity: { signal: "datum.member ? 0.95 : 0.42" } }),
      { type: "line", from: { data: "stairs" }, clip: true, interactive: false, encode: { update: { ...at("x", "y"), interpolate: { value: panel.step }, stroke: { value: colour("front") }, strokeWidth: { value: 1.5 }, opacity: { value: 0.6 } } } },
    ],
  };
}

// What a filter leaves, and what has to stay readable above the veil.
function chosenSpec(plot) {
  const { panel } = plot;
  const frame = frameSpec(plot);
  return {
    ...frame,
    signals: [
      ...frame.signals, { name: "dim", value: false }, { name: "floor", value: colour("floor") }, { name: "reference", value: colour("reference") },
      { name: "labels", value: TRIALS.trial.map((_, row) => label(row)) },
    ],
    data: [
      { name: "chosen" }, { name: "bars" }, { name: "marked" }, { name: "brush" },
      { name: "rules", values: panel.rules },
      { name: "x_rules", values: panel.x_rules },
      { name: "teacher", values: panel.teacher ? [{ x: panel.teacher[0], y: panel.teacher[1] }] : [] },
    ],
    marks: [
      veil(0.82),
      ...ruleMarks("rules", "y"),
      ...ruleMarks("x_rules", "x"),
      { type: "rule", from: { data: "bars" }, clip: true, interactive: false, encode: { enter: { x: { scale: "x", field: "x" }, y: { scale: "y", field: "low" }, y2: { scale: "y", field: "high" }, stroke: { field: "ink" }, strokeWidth: { value: 1.2 }, opacity: { value: 0.5 } }, update: { x: { scale: "x", field: "x" }, y: { scale: "y", field: "low" }, y2: { scale: "y", field: "high" } } } },
      symbols("chosen", { opacity: { value: 1 }, stroke: { value: colour("chosen") }, strokeWidth: { value: 1.8 }, size: { signal: "datum.size + 12" } }),
      { type: "symbol", from: { data: "teacher" }, clip: true, interactive: false, encode: { update: { ...at("x", "y"), shape: { value: SHAPES.star }, size: { value: LAYERS.teacher.size }, fill: { value: colour("teacher") }, stroke: { value: colour("halo") }, strokeWidth: { value: 1 } } } },
      symbols("marked", { fill: { value: "transparent" }, stroke: { value: colour("focus") }, strokeWidth: { value: 2.5 }, size: { signal: "datum.size * 1.3 + 150" }, shape: { value: "circle" } }),
      { type: "text", from: { data: "marked" }, interactive: false, encode: { update: { ...at("x", "y"), dy: { value: -16 }, align: { value: "center" }, text: { signal: "labels[datum.row]" }, fontWeight: { value: 600 }, fontSize: { value: 12 }, fill: { value: colour("ink") }, stroke: { value: colour("halo") }, strokeWidth: { value: 0 } } } },
      ruleText("rules", "y", { x: { signal: "width - 4" }, dy: { value: -5 }, align: { value: "right" } }),
      ruleText("x_rules", "x", { y: { value: 4 }, dx: { value: -5 }, angle: { value: -90 }, align: { value: "right" }, baseline: { value: "bottom" } }),
      { type: "rect", from: { data: "brush" }, interactive: false, encode: { update: { x: { field: "x" }, x2: { field: "x2" }, y: { field: "y" }, y2: { field: "y2" }, fill: { value: colour("chosen") }, fillOpacity: { value: 0.08 }, stroke: { value: colour("chosen") }, strokeWidth: { value: 1.2 } } } },
    ],
  };
}

// Lines at values of one axis, across the whole of the other, and their bands.
function ruleMarks(data, axis) {
  const [other, size] = axis === "y" ? ["x", "width"] : ["y", "height"];
  const across = { [other]: { value: 0 }, [`${other}2`]: { signal: size } };
  const ink = { signal: "datum.dash == 'dash' ? floor : reference" };
  return [
    { type: "rect", from: { data }, clip: true, encode: { update: { ...across, [axis]: { scale: axis, field: "low" }, [`${axis}2`]: { scale: axis, field: "high" }, fill: ink, fillOpacity: { value: 0.15 } } } },
    { type: "rule", from: { data }, clip: true, encode: { update: { ...across, [axis]: { scale: axis, field: "value" }, stroke: ink, strokeDash: { signal: "datum.dash == 'dash' ? [7, 4] : [2, 3]" }, strokeWidth: { value: 1.6 } } } },
  ];
}

function ruleText(data, axis, place) {
  const shown = { signal: `inrange(datum.value, ${axis}domain) ? 1 : 0` };
  return { type: "text", from: { data }, interactive: false, encode: { update: { [axis]: { scale: axis, field: "value" }, ...place, text: { field: "label" }, fontSize: { value: 11.5 }, fill: { signal: "datum.dash == 'dash' ? floor : reference" }, opacity: shown } } };
}

function frameSpec(plot) {
  return {
    $schema: "https://vega.github.io/schema/vega/v6.json",
    width: plot.width, height: plot.height, padding: PAD, autosize: "none",
    signals: [{ name: "xdomain", value: plot.domain("x") }, { name: "ydomain", value: plot.domain("y") }],
    scales: [
      { name: "x", type: plot.panel.log_x ? "log" : "linear", domain: { signal: "xdomain" }, range: "width", zero: false, nice: false },
      { name: "y", type: "linear", domain: { signal: "ydomain" }, range: "height", zero: false, nice: false },
    ],
  };
}

const at = (x, y) => ({ x: { scale: "x", field: x }, y: { scale: "y", field: y } });
const symbols = (from, encode) => ({
  type: "symbol", from: { data: from }, clip: true, interactive: false,
  encode: {
    enter: { ...at("x", "y"), shape: { field: "shape" }, size: { field: "size" }, fill: { field: "fill" }, stroke: { field: "ink" }, strokeWidth: { value: 1.2 } },
    update: { ...at("x", "y"), ...encode },
  },
});
