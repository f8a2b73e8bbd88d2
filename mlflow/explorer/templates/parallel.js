// Parallel coordinates: an axis per knob that varies and per objective, a line per ranked trial.
const FRAME = { left: 88, right: 60, top: 46, bottom: 24 };
const APART = 68; // pixels between axes, at least: a label has room, and 18 axes a window of 1366; wider than the window, the plot scrolls
const TALL = 260;
const FEW_VALUES = 9; // numbers that take no more values than that stand evenly spaced, each with its label
const BUNDLE = 40; // lines drawn as one path: fewer items to draw, and still darker where many run

class Parallel {
  constructor(container) {
    this.container = container;
    this.rows = rows(ranked);
    this.view = null;
    this.axes = [...KNOBS.map((column) => column.name), ...OBJECTIVES].map((name) => this.axis(name)).filter((axis) => axis);
    container.setAttribute("role", "img");
    container.setAttribute(
      "aria-label", `Parallel coordinates of ${this.axes.map((axis) => axis.column.label).join(", ")}; the table holds the same values and filters.`,
    );
    this.pulled = null;
    watchPointer(container, {
      drag: (from, to) => this.drag(from, to),
      click: (spot) => this.release(spot),
      hover: () => {},
      leave: () => {},
    });
    listeners.settled.push(() => this.update());
    listeners.open.push(() => this.mark());
  }

  // What an axis shows; null for a knob that takes one value only.
  axis(name) {
    const column = COLUMNS.get(name);
    const found = [...new Set(this.rows.map((row) => valueOf(name, row)))].filter((value) => value !== null);
    const gaps = this.rows.some((row) => valueOf(name, row) === null);
    if (found.length + gaps < 2 && column.group === "knob") return null;
    const plain = found.every((value) => typeof value !== "number" || Number(value.toPrecision(3)) === value);
    const discrete = column.kind === "category" || (column.group === "knob" && plain && found.length <= FEW_VALUES);
    found.sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
    const low = found[0] ?? 0, high = found.at(-1) ?? 1;
    const log = !discrete && low > 0 && (high / low > 20 || (column.group !== "knob" && DOC.panels[0]?.x === name && DOC.panels[0].log_x));
    const domain = low === high ? [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1] : [low, high];
    return { name, column, discrete, log, values: found, gaps, domain };
  }

  build() {
    if (!this.axes.length || !this.rows.length) {
      this.container.replaceChildren(element("p", { class: "hint" }, "No complete trial yet."));
      return;
    }
    const wanted = FRAME.left + FRAME.right + APART * Math.max(1, this.axes.length - 1);
    this.width = Math.max(this.container.parentElement.clientWidth, wanted) - FRAME.left - FRAME.right;
    this.axes.forEach((axis, index) => (axis.x = this.axes.length > 1 ? (index * this.width) / (this.axes.length - 1) : this.width / 2));
    [this.base, this.view].forEach((view) => view?.finalize());
    [this.base, this.view] = makeViews(this.container, [linesSpec(this), axesSpec(this)]);
    this.view.run();
    this.axes.forEach((axis, index) => (axis.scale = this.view.scale(`axis${index}`)));
    this.paths = new Map(this.rows.map((row) => [row, this.path(row)]));
    const bundles = (some) => {
      const joined = [];
      for (let at = 0; at < some.length; at += BUNDLE) joined.push({ path: some.slice(at, at + BUNDLE).map((row) => this.paths.get(row)).join("") });
      return joined;
    };
    this.bundles = bundles;
    this.base.data("dominated", bundles(this.rows.filter((row) => !TRIALS.pareto[row])));
    this.base.data("members", bundles(this.rows.filter((row) => TRIALS.pareto[row])));
    this.base.run();
    this.update();
  }

  path(row) {
    const shift = (((row * 7919) % 13) - 6) * 0.55; // so that trials of one value are told apart
    const points = this.axes.map((axis) => {
      const value = valueOf(axis.name, row);
      const y = value === null ? TALL + 12 : axis.scale(axis.discrete ? String(value) : value) + (axis.discrete ? shift : 0);
      return `${axis.x.toFixed(1)},${y.toFixed(1)}`;
    });
    return `M${points.join("L")}`;
  }

  update() {
    if (!this.view) return;
    const some = filtered() ? chosen.filter(ranked) : [];
    this.view.signal("dim", filtered());
    this.view.data("chosen", this.bundles(some));
    this.view.data("ranges", this.axes.flatMap((axis) => this.range(axis)));
    this.mark();
  }

  range(axis) {
    if (!filters.has(axis.name)) return [];
    const parts = parseFilter(axis.column, filters.get(axis.name));
    if (axis.discrete) {
      const kept = axis.values.filter((value) => parts.some((part) => accepts(part, value)));
      return kept.map((value) => ({ x: axis.x - 7, y: axis.scale(String(value)) - 9, y2: axis.scale(String(value)) + 9 }));
    }
    return parts.filter((part) => "low" in part).map((part) => {
      const clamp = (value) => axis.scale(Math.max(axis.domain[0], Math.min(axis.domain[1], value)));
      return { x: axis.x - 7, y: clamp(part.high) - 1, y2: clamp(part.low) + 1 };
    });
  }

  mark() {
    if (!this.view) return;
    const row = opened !== null && ranked(opened) ? opened : null;
    this.view.data("marked", row === null ? [] : [{ path: this.paths.get(row) }]).run();
  }

  axisAt(x) {
    const near = this.axes.map((axis) => [Math.abs(axis.x + FRAME.left - x), axis]).sort((a, b) => a[0] - b[0])[0];
    return near && near[0] < APART / 2 ? near[1] : null;
  }

  drag(from, to) {
    const axis = this.axisAt(from[0]);
    if (!axis) return;
    const ends = [from[1], to[1]].map((y) => Math.max(-10, Math.min(TALL + 10, y - FRAME.top))).sort((a, b) => a - b);
    let text;
    if (axis.discrete) {
      const kept = axis.values.filter((value) => axis.scale(String(value)) >= ends[0] - 8 && axis.scale(String(value)) <= ends[1] + 8);
      text = kept.map((value) => `=${value}`).join("|");
    } else {
      const [high, low] = ends.map((y) => axis.scale.invert(Math.max(0, Math.min(TALL, y))));
      text = rangeText(axis.column, low, high);
    }
    setFilters({ [axis.name]: text });
  }

  release([x]) {
    const axis = this.axisAt(x);
    if (axis && filters.has(axis.name)) setFilters({ [axis.name]: "" });
  }
}

const lines = (from, stroke, width, opacity) => ({
  type: "path", from: { data: from }, interactive: false,
  encode: { enter: { path: { field: "path" } }, update: { path: { field: "path" }, stroke: { value: colour(stroke) }, strokeWidth: { value: width }, strokeOpacity: { value: opacity } } },
});

// Value → label of at most 11 letters; of long values so much of beginning and end that they are told apart.
function shortened(values) {
  const labelled = (head) => values.map((value) => [value, value.length > 11 ? `${value.slice(0, head)}…${value.slice(head - 10)}` : value]);
  const apart = (labels) => new Set(labels.map(([, label]) => label)).size === values.length;
  return Object.fromEntries([5, 3, 7, 9].map(labelled).find(apart) ?? labelled(5));
}

// All trials: drawn once.
function linesSpec(plot) {
  return {
    width: plot.width, height: TALL, padding: FRAME, autosize: "none",
    data: ["dominated", "members"].map((name) => ({ name })),
    marks: [lines("dominated", "dominated", 1, 0.22), lines("members", "front", 1.3, 0.75)],
  };
}

// What is chosen and the axes.
function axesSpec(plot) {
  const scale = (axis, index) => {
    const name = `axis${index}`;
    if (axis.discrete) return { name, type: "point", domain: axis.values.map(String), range: [TALL, 0], padding: 0.35 };
    return { name, type: axis.log ? "log" : "linear", domain: axis.domain, range: [TALL, 0], nice: false, zero: false };
  };
  const factor = (axis) => (axis.column.kind === "share" ? "format(100 * datum.value, '.1~f')" : axis.column.kind === "count" ? "format(datum.value, '~s')" : "format(datum.value, '.3~g')");
  return {
    width: plot.width, height: TALL, padding: FRAME, autosize: "none",
    signals: [{ name: "dim", value: false }, { name: "short", value: plot.axes.map((axis) => (axis.discrete ? shortened(axis.values.map(String)) : {})) }],
    data: ["chosen", "marked", "ranges"].map((name) => ({ name })),
    scales: plot.axes.map(scale),
    marks: [
      veil(0.82, 16),
      lines("chosen", "chosen", 1.4, 0.8),
      lines("marked", "focus", 3, 1),
      ...plot.axes.map((axis, index) => ({
        type: "group", interactive: false, encode: { update: { x: { value: axis.x } } },
        axes: [{
          orient: index === plot.axes.length - 1 ? "right" : "left", scale: `axis${index}`, ticks: true, tickCount: 5, labelPadding: 4, labelOverlap: true,
          domainColor: colour("quiet"), labelColor: colour("ink"), labelFontSize: 11,
          encode: { labels: { update: { text: { signal: axis.discrete ? `short[${index}][datum.value]` : factor(axis) }, stroke: { value: colour("halo") }, strokeWidth: { value: 0 } } } },
        }],
        marks: [
          { type: "text", encode: { update: { x: { value: 0 }, y: { value: index % 2 ? -14 : -30 }, align: { value: "center" }, text: { value: heading(axis.column) }, fontSize: { value: 11.5 }, fontWeight: { value: 600 }, fill: { value: axis.column.group === "knob" ? colour("ink") : colour("front") } } } },
          ...(axis.gaps ? [{ type: "text", encode: { update: { x: { value: 0 }, y: { value: TALL + 20 }, align: { value: "center" }, text: { value: "none" }, fontSize: { value: 10.5 }, fill: { value: colour("quiet") } } } }] : []),
        ],
      })),
      { type: "rect", from: { data: "ranges" }, interactive: false, encode: { update: { x: { field: "x" }, width: { value: 14 }, y: { field: "y" }, y2: { field: "y2" }, fill: { value: colour("chosen") }, fillOpacity: { value: 0.35 }, stroke: { value: colour("chosen") } } } },
    ],
  };
}
