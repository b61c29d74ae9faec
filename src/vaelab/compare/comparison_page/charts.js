// Curves and parallel coordinates, drawn by plotly.

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

// The extents of both axes, made for the usual runs; where these are all, plotly's own.
function extents(shown, key) {
  const base = usual(shown).map((entry) => entry.curves[key]);
  if (base.length === shown.length) return [{ autorange: true }, { autorange: true }];
  const all = (name) => base.flatMap((curve) => curve[name]);
  const spread = (values) => {
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const margin = 0.05 * (high - low || 1);
    return { range: [low - margin, high + margin] };
  };
  return [spread(all("x")), spread(all("y"))];
}

function layout(title, dtick, [x, y]) {
  const axis = { gridcolor: colourOf("--line"), zerolinecolor: colourOf("--line"), automargin: true };
  return {
    ...background(), title: { text: title, x: 0.02, font: { size: 13 } },
    margin: { l: 52, r: 8, t: 34, b: 40 }, showlegend: false, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger that scrolls must not zoom
    xaxis: { ...axis, title: { text: "epoch" }, dtick, ...x }, yaxis: { ...axis, ...y },
  };
}

function drawCurves() {
  const shown = drawn(), style = styles();
  for (const [name, title] of Object.entries(data.charts)) {
    const key = `${state.split}/${name}`;
    const withCurve = shown.filter((entry) => entry.curves[key]);
    const points = withCurve.reduce((sum, entry) => sum + entry.curves[key].x.length, 0);
    const last = Math.max(...withCurve.map((entry) => entry.curves[key].x.at(-1)));
    const bands = withCurve.filter((entry) => entry.curves[key].error).map((entry) => band(entry, key, style));
    const lines = withCurve.map((entry) => line(entry, key, style, points));
    Plotly.react(name, [...bands, ...lines], layout(title, last <= 10 ? 1 : undefined, extents(withCurve, key)), CONFIG);
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

// An axis gives each entry a number: the value, its logarithm over a wide range, or its place among the values. It is
// made for the usual runs; a number beyond theirs is at its end.
function axis(key) {
  const scored = entries().filter(isScored), all = distinct(key, scored);
  const missing = scored.some((entry) => cell(entry, key) === undefined);
  const label = data.metrics[key]?.label ?? key;
  if (!all.every(isNumber) || missing) {
    const places = missing ? [...all, undefined] : all;
    return {
      key, label, value: (entry) => places.indexOf(cell(entry, key)), range: [-0.5, places.length - 0.5],
      tickvals: places.map((_, index) => index), ticktext: places.map((value) => escaped(value ?? "none")),
    };
  }
  const values = distinct(key, usual(scored));
  const within = (entry) => Math.min(Math.max(cell(entry, key), values[0]), values.at(-1));
  if (key in data.metrics) return { key, label, value: within };
  const wide = values[0] > 0 && values.at(-1) / values[0] >= 10;
  const scale = wide ? Math.log10 : Number;
  const ticks = values.length <= 10 ? values : [0, 0.25, 0.5, 0.75, 1].map((part) => values[Math.round(part * (values.length - 1))]);
  return {
    key, label, value: (entry) => scale(within(entry)), range: [scale(values[0]), scale(values.at(-1))],
    tickvals: ticks.map(scale), ticktext: ticks.map((tick) => format(tick, key)),
  };
}

function axes() {
  const scored = entries().filter(isScored);
  // bits/dim are the ELBO on another scale
  const wanted = Object.keys(data.metrics).filter((key) => !key.endsWith("bits_per_dim"));
  const metrics = wanted.filter((key) => scored.every((entry) => key in entry.metrics));
  const settings = data.settings.filter((key) => distinct(key, scored).length > 1);
  return [...settings, ...metrics].map(axis);
}

function isBrushed(entry) {
  if (!state.brushes.size) return true;
  if (!isScored(entry)) return false; // it has no line to keep
  return axes().every(({ key, value }) => {
    const ranges = state.brushes.get(key);
    return !ranges || ranges.some(([low, high]) => low <= value(entry) && value(entry) <= high);
  });
}

const parallelEntries = () => filtered().filter((entry) => isScored(entry) && !state.hidden.has(entry.id));

function drawParallel() {
  const shown = parallelEntries(), found = axes();
  const scores = shown.map((entry) => entry.merit), usualScores = usual(shown).map((entry) => entry.merit);
  const dimensions = found.map(({ key, label, value, range, tickvals, ticktext }) => ({
    label: escaped(label), values: shown.map(value), constraintrange: state.brushes.get(key),
    ...(range && { range }), ...(tickvals && { tickvals, ticktext }),
  }));
  const colorscale = RAMP.map((colour, index) => [index / (RAMP.length - 1), colour]);
  const trace = {
    type: "parcoords", dimensions, line: { color: scores, colorscale, cmin: Math.min(...usualScores), cmax: Math.max(...usualScores) },
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
