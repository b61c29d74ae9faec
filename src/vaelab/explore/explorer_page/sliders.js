// A slider a dimension, most informative first, each with the images along it.

const RANGE = 3; // at least from -3 to 3, and as far as the test images and what is shown
const TILES = 9;
const PAGE = 24; // sliders that are shown at once
const sliders = new Map();

function order() {
  const dimensions = Array.from({ length: data.dim }, (_, dimension) => dimension);
  return data.kl ? dimensions.sort((one, other) => data.kl[other] - data.kl[one]) : dimensions;
}

function addSlider(dimension) {
  const row = document.createElement("div");
  row.className = "slider";
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = `z${dimension + 1}`;
  if (data.kl) {
    const kl = document.createElement("div");
    kl.className = "kl";
    kl.textContent = `${data.kl[dimension].toFixed(2)} nats`;
    name.append(kl);
  }
  const track = document.createElement("div");
  track.className = "track";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", step: 0.05, value: 0, id: `z${dimension + 1}` });
  input.setAttribute("aria-label", `dimension ${dimension + 1}`);
  const band = document.createElement("div");
  band.className = "band";
  band.hidden = true;
  track.append(input, band);
  const output = document.createElement("output");
  const strip = document.createElement("canvas");
  strip.setAttribute("aria-hidden", "true");
  [strip.width, strip.height] = [TILES * width, height]; // as it will be, so that nothing moves
  row.append(name, track, output, strip);
  document.getElementById("sliders").append(row);
  input.addEventListener("input", () => move(dimension, Number(input.value)));
  strip.addEventListener("click", (event) => move(dimension, slider.range * (2 * Math.floor((TILES * event.offsetX) / strip.clientWidth) / (TILES - 1) - 1)));
  const slider = { input, output, strip, band, row, visible: false, stale: true };
  sliders.set(dimension, slider);
  let farthest = RANGE;
  for (let place = dimension; place < latents.length; place += data.dim) farthest = Math.max(farthest, Math.abs(latents[place]));
  reach(slider, farthest);
  watch.observe(row);
}

function reach(slider, value) {
  if (Math.abs(value) <= slider.range) return;
  slider.range = Math.ceil(Math.abs(value));
  Object.assign(slider.input, { min: -slider.range, max: slider.range });
  slider.stale = true;
}

// Strips are drawn where they can be seen.
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    for (const slider of sliders.values()) if (slider.row === entry.target) slider.visible = entry.isIntersecting;
  }
  drawStrips();
});

function showSliders() {
  const all = order();
  const shown = Math.min(all.length, sliders.size + PAGE);
  all.slice(sliders.size, shown).forEach(addSlider);
  const more = document.getElementById("more");
  more.hidden = shown === all.length;
  more.textContent = `Show ${Math.min(PAGE, all.length - shown)} more of ${all.length - shown}`;
  showValues();
  showBands();
}

function showValues() {
  for (const [dimension, slider] of sliders) {
    const { input, output } = slider;
    reach(slider, state.u[dimension]);
    input.value = state.u[dimension];
    output.textContent = state.u[dimension].toFixed(2);
  }
}

function showBands() {
  const { u: mean, std } = state.own ?? {};
  for (const [dimension, { band, range }] of sliders) {
    band.hidden = !std;
    if (!std) continue;
    const [low, high] = [-1, 1].map((side) => Math.min(range, Math.max(-range, mean[dimension] + side * std[dimension])));
    band.style.left = `${(50 * (low + range)) / range}%`;
    band.style.width = `${(50 * (high - low)) / range}%`;
    band.title = `q(z|x): ${mean[dimension].toFixed(2)} ± ${std[dimension].toFixed(2)}`;
  }
}

function staleStrips() {
  for (const slider of sliders.values()) slider.stale = true;
  drawStrips();
}

let drawing = false;
async function drawStrips() {
  if (drawing) return;
  drawing = true;
  for (;;) {
    const next = [...sliders].find(([, slider]) => slider.visible && slider.stale);
    if (!next || state.busy) break;
    const [dimension, slider] = next;
    slider.stale = false;
    const rows = new Float32Array(TILES * data.dim);
    for (let tile = 0; tile < TILES; tile++) {
      rows.set(state.u, tile * data.dim);
      rows[tile * data.dim + dimension] = slider.range * ((2 * tile) / (TILES - 1) - 1);
    }
    const { images } = await decode(rows, state);
    paint(slider.strip, images, TILES);
  }
  drawing = false;
}
