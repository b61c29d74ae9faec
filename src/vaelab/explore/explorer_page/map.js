// The test images by their latents: hover to see one, choose one, drag to go from one to another; the same with keys.

const FRAMES = 32; // of a way from one image to another
const PLANE = 24; // images across the decoded plane
let points, latents, images;
const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const view = { centre: [0, 0], scale: 1, chosen: -1, decoded: -1, from: -1, to: null, plane: null };
const mapCanvas = document.getElementById("map");
const hover = document.getElementById("hover");

const count = () => points.length / 2;
const imageOf = (index) => Float32Array.from(images.subarray(index * pixels, (index + 1) * pixels), (level) => level / 255);

async function loadMap() {
  points = new Float32Array(await unpacked(data.points));
  latents = new Float32Array(await unpacked(data.latents));
  images = new Uint8Array(await unpacked(data.images));
  document.getElementById("map-axes").textContent = data.axes.filter(Boolean).join(" · ");
  document.getElementById("map-hint").textContent =
    `${count().toLocaleString("en")} test images where their means lie. Choose one to decode it, drag from one to another to see what lies between.`;
  const names = [...new Set(data.labels ?? [])].sort((one, other) => one - other);
  for (const label of names.slice(0, 24)) {
    const entry = document.createElement("span");
    const dot = document.createElement("i");
    dot.style.background = colourOf(label);
    entry.append(dot, data.labelNames?.[label] ?? String(label));
    document.getElementById("legend").append(entry);
  }
  new ResizeObserver(drawMap).observe(mapCanvas);
}

// Where a point lies on the canvas, in its own pixels, and back.
const toCanvas = (x, y) => [mapCanvas.clientWidth / 2 + view.scale * (x - view.centre[0]), mapCanvas.clientHeight / 2 - view.scale * (y - view.centre[1])];
const placeOf = (index) => toCanvas(points[2 * index], points[2 * index + 1]);
const toPlane = (left, top) => [(left - mapCanvas.clientWidth / 2) / view.scale + view.centre[0], (mapCanvas.clientHeight / 2 - top) / view.scale + view.centre[1]];

function fitView() {
  const bounds = [0, 1].map((axis) => {
    const values = points.filter((_, index) => index % 2 === axis);
    return [values.reduce((least, value) => Math.min(least, value), Infinity), values.reduce((most, value) => Math.max(most, value), -Infinity)];
  });
  view.centre = bounds.map(([low, high]) => (low + high) / 2);
  const spans = bounds.map(([low, high]) => Math.max(high - low, 1e-6));
  view.scale = 0.94 * Math.min(mapCanvas.clientWidth / spans[0], mapCanvas.clientHeight / spans[1]);
}

function drawMap() {
  if (!points || !mapCanvas.clientWidth) return;
  const ratio = devicePixelRatio || 1;
  mapCanvas.width = ratio * mapCanvas.clientWidth;
  mapCanvas.height = ratio * mapCanvas.clientHeight;
  fitView();
  const context = mapCanvas.getContext("2d");
  context.scale(ratio, ratio);
  if (view.plane) {
    context.globalAlpha = 0.55;
    context.drawImage(view.plane.canvas, ...view.plane.place());
    context.globalAlpha = 1;
  }
  for (let index = 0; index < count(); index++) {
    const [left, top] = placeOf(index);
    context.fillStyle = data.labels ? colourOf(data.labels[index]) : "#2a62c9";
    context.beginPath();
    context.arc(left, top, 2.6, 0, 7);
    context.fill();
  }
  const ink = getComputedStyle(document.body).color;
  for (const index of [view.chosen, view.from].filter((each) => each >= 0)) {
    const [left, top] = placeOf(index);
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(left, top, 7, 0, 7);
    context.stroke();
  }
  if (view.from >= 0 && view.to) {
    context.beginPath();
    context.moveTo(...placeOf(view.from));
    context.lineTo(...view.to);
    context.stroke();
  }
}

function nearest(left, top, reach = Infinity) {
  let best = -1;
  let distance = reach;
  for (let index = 0; index < count(); index++) {
    const place = placeOf(index);
    const away = Math.hypot(place[0] - left, place[1] - top);
    if (away < distance) [best, distance] = [index, away];
  }
  return best;
}

// The nearest point that lies rather where the arrow points than aside of it, of those at one place the next by number;
// itself if there is none.
function neighbour(index, [right, down]) {
  const start = placeOf(index);
  let best = index;
  let distance = Infinity;
  for (let step = 1; step < count(); step++) {
    const other = (index + (right + down) * step + count()) % count();
    const [left, top] = placeOf(other);
    const [along, aside] = [(left - start[0]) * right + (top - start[1]) * down, (left - start[0]) * down - (top - start[1]) * right];
    const away = Math.hypot(along, aside);
    const onward = away === 0 ? (other > index) === (right + down > 0) : along > 0 && Math.abs(aside) <= along;
    if (onward && away < distance) [best, distance] = [other, away];
  }
  return best;
}

const latentOf = (index) => latents.slice(index * data.dim, (index + 1) * data.dim);

function choose(index) {
  view.chosen = view.decoded = index;
  if (data.classes && data.labels) setClass(data.labels[index]);
  jump(latentOf(index));
  sheet = null;
  ownImage(imageOf(index));
  drawMap();
}

let way = 0; // the newest interpolation; those before it stop
async function interpolate(from, to) {
  const mine = ++way;
  clearOwn();
  view.chosen = view.decoded = to;
  drawMap();
  const [start, end] = [latentOf(from), latentOf(to)];
  for (let frame = 0; frame <= FRAMES && mine === way; frame++) {
    const part = frame / FRAMES;
    state.u = start.map((value, dimension) => (1 - part) * value + part * end[dimension]);
    await show();
    await new Promise((next) => requestAnimationFrame(next));
  }
  if (mine === way) staleStrips();
}

function showHover(index, event) {
  hover.hidden = index < 0;
  if (index < 0) return;
  paint(hover.querySelector("canvas"), imageOf(index));
  const label = data.labels ? (data.labelNames?.[data.labels[index]] ?? data.labels[index]) : "";
  hover.querySelector("span").textContent = label;
  hover.style.left = `${Math.min(event.clientX + 14, innerWidth - 110)}px`;
  hover.style.top = `${Math.min(event.clientY + 14, innerHeight - 130)}px`;
}

mapCanvas.addEventListener("pointerdown", (event) => {
  mapCanvas.setPointerCapture(event.pointerId);
  view.from = nearest(event.offsetX, event.offsetY);
  view.to = null;
});
mapCanvas.addEventListener("pointermove", (event) => {
  showHover(nearest(event.offsetX, event.offsetY, 12), event);
  if (view.from < 0) return;
  const start = placeOf(view.from);
  if (Math.hypot(event.offsetX - start[0], event.offsetY - start[1]) > 12) view.to = [event.offsetX, event.offsetY];
  drawMap();
});
mapCanvas.addEventListener("pointerup", (event) => {
  const { from, to } = view;
  [view.from, view.to] = [-1, null];
  if (from < 0) return;
  const end = nearest(event.offsetX, event.offsetY);
  if (to && end !== from) {
    interpolate(from, end);
  } else if (data.dim === 2 && nearest(event.offsetX, event.offsetY, 12) < 0) {
    clearOwn();
    jump(Float32Array.from(toPlane(event.offsetX, event.offsetY)));
  } else {
    choose(from);
  }
});
for (const name of ["pointerleave", "blur"]) mapCanvas.addEventListener(name, () => (hover.hidden = true));
window.addEventListener("scroll", () => (hover.hidden = true), { passive: true });
mapCanvas.addEventListener("keydown", (event) => {
  if (event.key in ARROWS) {
    const middle = [mapCanvas.clientWidth / 2, mapCanvas.clientHeight / 2];
    view.chosen = view.chosen < 0 ? nearest(...middle) : neighbour(view.chosen, ARROWS[event.key]);
    const [left, top] = placeOf(view.chosen);
    const frame = mapCanvas.getBoundingClientRect();
    showHover(view.chosen, { clientX: frame.left + left, clientY: frame.top + top });
    drawMap();
  } else if (event.key === "Enter" && event.shiftKey && view.decoded >= 0 && view.decoded !== view.chosen) {
    interpolate(view.decoded, view.chosen);
  } else if (event.key === "Enter" && view.chosen >= 0) {
    choose(view.chosen);
  } else {
    return;
  }
  event.preventDefault();
});

// Of two dimensions the images of the plane itself, behind the points.
async function drawPlane() {
  if (data.dim !== 2) return;
  fitView();
  const [low, high] = [toPlane(0, mapCanvas.clientHeight), toPlane(mapCanvas.clientWidth, 0)];
  const rows = Math.round((PLANE * width * mapCanvas.clientHeight) / (height * mapCanvas.clientWidth));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [PLANE * width, rows * height];
  const tile = document.createElement("canvas");
  for (let row = 0; row < rows; row++) {
    const u = new Float32Array(2 * PLANE);
    for (let column = 0; column < PLANE; column++) {
      u[2 * column] = low[0] + ((high[0] - low[0]) * (column + 0.5)) / PLANE;
      u[2 * column + 1] = high[1] - ((high[1] - low[1]) * (row + 0.5)) / rows;
    }
    paint(tile, (await decode(u, state)).images, PLANE);
    canvas.getContext("2d").drawImage(tile, 0, row * height);
  }
  const place = () => {
    const [left, top] = toCanvas(low[0], high[1]);
    const [right, bottom] = toCanvas(high[0], low[1]);
    return [left, top, right - left, bottom - top];
  };
  view.plane = { canvas, place };
  drawMap();
}
