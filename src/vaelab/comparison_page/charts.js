// Curves and parallel coordinates, drawn by plotly.

const CHARTS = { elbo: "ELBO", reconstruction: "Reconstruction", kl: "KL" };
const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  showSendToCloud: false, plotlyServerURL: "", // plotly offers to upload a chart; what is here stays here
};
const MANY_POINTS = 2000; // above which a line is drawn without markers

// plotly reads some HTML in labels
const escaped = (label) => String(label).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const colourOf = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
const translucent = (colour) => `${colour}2b`;

const background = () => ({
  font: { family: "system-ui, sans-serif", size: 12, color: colourOf("--ink") },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
});

function layout(title, dtick) {
  const axis = { gridcolor: colourOf("--line"), zerolinecolor: colourOf("--line"), automargin: true };
  return {
    ...background(), title: { text: title, x: 0.02, font: { size: 13 } },
    margin: { l: 52, r: 8, t: 34, b: 40 }, showlegend: false, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger that scrolls must not zoom
    xaxis: { ...axis, title: { text: "epoch" }, dtick }, yaxis: axis,
  };
}

function drawCurves() {
  const shown = drawn(), style = styles();
  for (const [name, title] of Object.entries(CHARTS)) {
    const key = `${state.split}/${name}`;
    const withCurve = shown.filter((entry) => entry.curves[key]);
    const points = withCurve.reduce((sum, entry) => sum + entry.curves[key].x.length, 0);
    const last = Math.max(...withCurve.map((entry) => entry.curves[key].x.at(-1)));
    const bands = withCurve.filter((entry) => entry.curves[key].error).map((entry) => band(entry, key, style));
    const lines = withCurve.map((entry) => line(entry, key, style, points));
    Plotly.react(name, [...bands, ...lines], layout(title, last <= 10 ? 1 : undefined), CONFIG);
  }
  byId("band").hidden = state.view !== "groups";
}

function line(entry, key, style, points) {
  const { colour, dash } = style.get(entry.id), curve = entry.curves[key];
  return {
    type: "scatter", x: curve.x, y: curve.y, name: escaped(entry.name), meta: entry.id,
    mode: points > MANY_POINTS && curve.x.length > 1 ? "lines" : "lines+markers",
    line: { color: colour, width: 1.6, dash }, marker: { size: 5 },
    hovertemplate: "%{fullData.name}<br>epoch %{x:.4~g}: %{y:,.2f}<extra></extra>",
  };
}

function band(entry, key, style) {
  const { x, y, error } = entry.curves[key];
  const upper = y.map((value, index) => value + error[index]), lower = y.map((value, index) => value - error[index]);
  return {
    type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", meta: entry.id,
    x: [...x, ...x.toReversed()], y: [...upper, ...lower.toReversed()],
    line: { width: 0 }, fillcolor: translucent(style.get(entry.id).colour),
  };
}

// An axis gives each entry a number: the value, its logarithm over a wide range, or its place among the values.
function axis(key) {
  const values = distinct(key);
  const missing = entries().some((entry) => cell(entry, key) === undefined && rankingMetric in entry.metrics);
  const label = data.metrics[key] ?? key;
  if (!values.every(isNumber) || missing) {
    const places = missing ? [...values, undefined] : values;
    return {
      key, label, value: (entry) => places.indexOf(cell(entry, key)), range: [-0.5, places.length - 0.5],
      tickvals: places.map((_, index) => index), ticktext: places.map((value) => escaped(value ?? "none")),
    };
  }
  if (key in data.metrics) return { key, label, value: (entry) => cell(entry, key) };
  const wide = values[0] > 0 && values.at(-1) / values[0] >= 10;
  const scale = wide ? Math.log10 : Number;
  const ticks = values.length <= 10 ? values : [0, 0.25, 0.5, 0.75, 1].map((part) => values[Math.round(part * (values.length - 1))]);
  return {
    key, label, value: (entry) => scale(cell(entry, key)), range: [scale(values[0]), scale(values.at(-1))],
    tickvals: ticks.map(scale), ticktext: ticks.map((tick) => format(tick, key)),
  };
}

function axes() {
  const scored = entries().filter((entry) => rankingMetric in entry.metrics);
  // bits/dim are the ELBO on another scale
  const wanted = Object.keys(data.metrics).filter((key) => !key.endsWith("bits_per_dim"));
  const metrics = wanted.filter((key) => scored.every((entry) => key in entry.metrics));
  const settings = data.settings.filter((key) => distinct(key).length > 1);
  return [...settings, ...metrics].map(axis);
}

function isBrushed(entry) {
  if (!state.brushes.size) return true;
  if (!(rankingMetric in entry.metrics)) return false; // it has no line to keep
  return axes().every(({ key, value }) => {
    const ranges = state.brushes.get(key);
    return !ranges || ranges.some(([low, high]) => low <= value(entry) && value(entry) <= high);
  });
}

const parallelEntries = () => filtered().filter((entry) => rankingMetric in entry.metrics && !state.hidden.has(entry.id));

function drawParallel() {
  const shown = parallelEntries(), found = axes();
  const scores = shown.map((entry) => entry.metrics[rankingMetric]);
  const dimensions = found.map(({ key, label, value, range, tickvals, ticktext }) => ({
    label: escaped(label), values: shown.map(value), constraintrange: state.brushes.get(key),
    ...(range && { range }), ...(tickvals && { tickvals, ticktext }),
  }));
  const colorscale = RAMP.map((colour, index) => [index / (RAMP.length - 1), colour]);
  const trace = {
    type: "parcoords", dimensions, line: { color: scores, colorscale },
    labelfont: { size: 12 }, tickfont: { size: 11 }, unselected: { line: { opacity: 0.08 } },
  };
  const node = byId("parallel");
  node.style.minWidth = `${found.length * 112}px`;
  Plotly.react(node, shown.length ? [trace] : [], { ...background(), margin: { l: 60, r: 60, t: 56, b: 24 } }, { ...CONFIG, displayModeBar: false });
}

// The ranges that plotly keeps on its axes after a drag become the state's.
function readBrushes() {
  const dimensions = byId("parallel").data[0]?.dimensions ?? [];
  state.brushes.clear();
  axes().forEach(({ key }, index) => {
    const kept = dimensions[index]?.constraintrange;
    if (kept?.length) state.brushes.set(key, Array.isArray(kept[0]) ? kept : [kept]);
  });
}
