// Colours from the style sheet (light or dark), what is common to all Vega views, and what they redraw on.
const SHAPES = {
  star: "M0,-1L.235,-.324L.951,-.309L.38,.124L.588,.809L0,.4L-.588,.809L-.38,.124L-.951,-.309L-.235,-.324Z",
};
const LAYERS = {
  dominated: { colour: "dominated", shape: "circle", size: 26, hollow: false },
  aside: { colour: "front", shape: "circle", size: 48, hollow: true },
  front: { colour: "front", shape: "circle", size: 90, hollow: false },
  knee: { colour: "knee", shape: "diamond", size: 190, hollow: false },
  teacher: { colour: "teacher", shape: SHAPES.star, size: 260, hollow: false },
};
const dark = matchMedia("(prefers-color-scheme: dark)");

// Asked for every point drawn, so the style sheet is read once per colour and scheme.
const palette = new Map();
function colour(name) {
  if (!palette.has(name)) palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return palette.get(name);
}

function vegaConfig() {
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  return {
    background: "transparent",
    axis: {
      labelColor: colour("quiet"), titleColor: colour("ink"), gridColor: colour("grid"), domainColor: colour("line"),
      tickColor: colour("line"), labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 13, titleFontWeight: 500,
      titlePadding: 8, labelFlush: false,
    },
    text: { font, fill: colour("ink") },
  };
}

// Canvases drawn by Vega inside a container, one upon the other: what seldom changes below, so that it isn't drawn again with every
// step of a brush, and what is chosen above. `specs` have the same fixed padding, so that pixels can be turned into values.
function makeViews(container, specs) {
  const layers = specs.map(() => element("div", { class: "layer" }));
  container.replaceChildren(...layers);
  return specs.map((spec, at) => {
    const view = new vega.View(vega.parse(spec, vegaConfig()), { renderer: "canvas", container: layers[at], hover: false, logLevel: vega.Error });
    view.tooltip(() => {});
    return view;
  });
}
const makeView = (container, spec) => makeViews(container, [spec])[0];

// Paper over what lies below while a filter is set: cheaper than drawing thousands of points again in a fainter colour.
const veil = (strength, margin = 0) => ({
  type: "rect", interactive: false,
  encode: {
    update: {
      x: { value: -margin }, x2: { signal: `width + ${margin}` }, y: { value: -margin }, y2: { signal: `height + ${margin}` },
      fill: { value: colour("paper") }, opacity: { signal: `dim ? ${strength} : 0` },
    },
  },
});

// What a view shows becomes `wanted`, objects that stay the same from one time to the next: only what comes and goes is drawn.
function replaceData(view, name, wanted) {
  const before = new Set(view.data(name)), now = new Set(wanted);
  const gone = [...before].filter((datum) => !now.has(datum)), added = wanted.filter((datum) => !before.has(datum));
  if (gone.length || added.length) view.change(name, vega.changeset().remove(gone).insert(added));
}

const plots = [];
// A plot is an object with `build(width)`, called again when its width or the colours change.
function addPlot(container, plot) {
  const entry = { container, plot, width: 0 };
  plots.push(entry);
  new ResizeObserver(() => {
    const width = Math.floor(container.clientWidth);
    if (!width || width === entry.width) return;
    entry.width = width;
    requestAnimationFrame(() => plot.build(width));
  }).observe(container);
}
dark.addEventListener("change", () => {
  palette.clear();
  plots.forEach(({ plot, width }) => width && plot.build(width));
});

function drawSwatch({ colour: name, shape, hollow, size, ring }) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("width", 18);
  svg.setAttribute("height", 18);
  svg.setAttribute("viewBox", "-9 -9 18 18");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  const side = Math.min(8, Math.sqrt(size) / 2);
  const circle = "M-1,0A1,1 0 1 1 1,0A1,1 0 1 1 -1,0Z", diamond = "M0,-1L1,0L0,1L-1,0Z";
  path.setAttribute("d", shape === "circle" ? circle : shape === "diamond" ? diamond : shape);
  path.setAttribute("transform", `scale(${side})`);
  path.setAttribute("vector-effect", "non-scaling-stroke");
  path.style.fill = hollow ? "var(--paper)" : `var(--${name})`;
  path.style.stroke = ring ? `var(--${ring})` : hollow ? `var(--${name})` : "none";
  path.style.strokeWidth = ring ? "3" : "1.5";
  svg.append(path);
  return svg;
}

function drawStroke(name, dash) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("width", 26);
  svg.setAttribute("height", 12);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "line");
  for (const [key, value] of Object.entries({ x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 2, "stroke-dasharray": dash })) {
    line.setAttribute(key, value);
  }
  line.style.stroke = `var(--${name})`;
  svg.append(line);
  return svg;
}
