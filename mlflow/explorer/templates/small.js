// The two small plots: importance of the knobs, and the front's growth.
const R2 = (value) => value.toFixed(2);
const MOST_BARS = 8; // knobs drawn: the rest is noise around 0

class ImportancePlot {
  constructor(entry, container) {
    const keep = (list) => list.slice(0, MOST_BARS);
    entry = { ...entry, knobs: keep(entry.knobs), drop: keep(entry.drop), spread: keep(entry.spread) };
    Object.assign(this, { entry, container, view: null });
    const listed = entry.knobs.map((knob, index) => `${knob} ${R2(entry.drop[index])}`).join(", ");
    container.setAttribute("role", "img");
    container.setAttribute("aria-label", `Loss of held-out R² for ${columnOf(entry.objective).label}: ${listed}`);
  }

  build(width) {
    const { entry } = this;
    const data = entry.knobs.map((knob, index) => ({ knob, drop: entry.drop[index], low: entry.drop[index] - entry.spread[index], high: entry.drop[index] + entry.spread[index] }));
    const left = Math.min(150, 14 + 7 * Math.max(...entry.knobs.map((knob) => knob.length)));
    const middle = { scale: "y", field: "knob", band: 0.5 };
    this.view?.finalize();
    this.view = makeView(this.container, {
      width: width - left - 14, height: 19 * data.length, padding: { left, right: 14, top: 4, bottom: 38 }, autosize: "none",
      data: [{ name: "knobs", values: data }],
      scales: [
        { name: "y", type: "band", domain: entry.knobs, range: "height", padding: 0.25 },
        { name: "x", type: "linear", domain: [Math.min(0, ...data.map((one) => one.low)), Math.max(0.05, ...data.map((one) => one.high))], range: "width", nice: true },
      ],
      axes: [{ orient: "left", scale: "y", ticks: false, domain: false, labelLimit: left - 12 }, { orient: "bottom", scale: "x", grid: true, tickCount: 4, title: "loss of R²" }],
      marks: [
        { type: "rect", from: { data: "knobs" }, encode: { update: { y: { scale: "y", field: "knob" }, height: { scale: "y", band: 1 }, x: { scale: "x", value: 0 }, x2: { scale: "x", field: "drop" }, fill: { value: colour("front") }, fillOpacity: { value: 0.75 } } } },
        { type: "rule", from: { data: "knobs" }, encode: { update: { y: middle, x: { scale: "x", field: "low" }, x2: { scale: "x", field: "high" }, stroke: { value: colour("ink") } } } },
      ],
    });
    this.view.run();
  }
}

function showImportance() {
  for (const entry of DOC.importance) {
    const held = entry.held_out === null ? "" : `held-out R² ${R2(entry.held_out)}, `;
    const note = entry.note ? `; ${entry.note}` : "";
    const box = element("div", { class: "importance" }, element("h3", {}, columnOf(entry.objective).label));
    box.append(element("p", {}, entry.knobs.length ? `${held}${entry.trials} trials${note}` : `Nothing to show – ${held}${entry.note}.`));
    byId("importance").append(box);
    if (!entry.knobs.length) continue;
    const rest = entry.knobs.length - MOST_BARS;
    const container = element("div");
    box.append(container);
    addPlot(container, new ImportancePlot(entry, container));
    if (rest > 0) box.append(element("p", {}, `${rest} other knobs: at most ${R2(Math.max(0, entry.drop[MOST_BARS]))} each`));
  }
}

class ProgressPlot {
  constructor(container) {
    Object.assign(this, { container, view: null });
    container.setAttribute("role", "img");
    container.setAttribute("aria-label", byId("progress-text").textContent);
  }

  build(width) {
    const { trials, hypervolume, attained } = DOC.progress;
    const data = [{ trials: 0, share: 0, attained: 0 }, ...trials.map((count, index) => ({ trials: count, share: hypervolume[index], attained: attained[index] }))];
    const inner = Math.min(width, 900) - 80;
    this.view?.finalize();
    this.view = makeView(this.container, {
      width: inner, height: 170, padding: { left: 62, right: 18, top: 8, bottom: 44 }, autosize: "none",
      data: [{ name: "steps", values: data }],
      scales: [
        { name: "x", type: "linear", domain: { data: "steps", field: "trials" }, range: "width", nice: false },
        { name: "y", type: "linear", domain: [0, 1], range: "height", nice: true },
      ],
      axes: [
        { orient: "bottom", scale: "x", title: "complete trials", tickCount: 8, format: "d" },
        { orient: "left", scale: "y", grid: true, title: "share", tickCount: 5 },
      ],
      marks: [
        { type: "area", from: { data: "steps" }, encode: { update: { x: { scale: "x", field: "trials" }, y: { scale: "y", field: "share" }, y2: { scale: "y", value: 0 }, interpolate: { value: "step-after" }, fill: { value: colour("front") }, fillOpacity: { value: 0.12 } } } },
        { type: "line", from: { data: "steps" }, encode: { update: { x: { scale: "x", field: "trials" }, y: { scale: "y", field: "share" }, interpolate: { value: "step-after" }, stroke: { value: colour("front") }, strokeWidth: { value: 2 } } } },
        { type: "line", from: { data: "steps" }, encode: { update: { x: { scale: "x", field: "trials" }, y: { scale: "y", field: "attained" }, interpolate: { value: "step-after" }, stroke: { value: colour("ink") }, strokeWidth: { value: 1.5 }, strokeDash: { value: [5, 3] } } } },
      ],
    });
    this.view.run();
  }
}

function showProgress() {
  const { trials, hours, hypervolume, attained } = DOC.progress;
  const text = byId("progress-text");
  if (trials.length < 2) {
    text.textContent = trials.length ? "One complete trial: nothing to follow yet." : "No complete trial yet.";
    return;
  }
  const last = hypervolume.at(-1);
  const grown = hypervolume.findIndex((value) => value > last - 0.005 * last);
  const time = hours.at(-1) === null ? "" : ` in ${hours.at(-1) < 1 ? `${Math.round(60 * hours.at(-1))} min` : `${hours.at(-1).toFixed(1)} h`}`;
  text.textContent =
    `Share of the box between the best and worst values of all trials that the front dominates: ${R2(last)} after ${trials.at(-1)} trials${time}. ` +
    `Within half a per cent of that since trial ${trials[grown]}. ` +
    `Dashed: share of the final front that was found, half of it by trial ${trials[attained.findIndex((value) => value >= 0.5)]}, ` +
    `all by trial ${trials[attained.findIndex((value) => value > 1 - 1e-9)]}.`;
  addPlot(byId("progress"), new ProgressPlot(byId("progress")));
}
