// What is shown now, and what changes it. Of an image of one's own, `own` is the image x, u and what is known of q(z|x).

const state = { u: new Float32Array(data.dim), y: 0, temperature: data.groups.map(() => 1), busy: false, own: null };
const canvas = document.getElementById("image");

// The image of the state; while one is decoded only the newest of those that were asked for waits.
let asked = false;
async function show() {
  asked = true;
  if (state.busy) return;
  state.busy = true;
  while (asked) {
    asked = false;
    showValues();
    showCodes();
    const start = performance.now();
    const { images } = await decode(state.u, state);
    paint(canvas, images);
    document.getElementById("speed").textContent = `decoded in ${(performance.now() - start).toFixed(1)} ms`;
  }
  state.busy = false;
  drawStrips();
}

function move(dimension, value) {
  way++;
  state.u[dimension] = value;
  settle(show());
}

function jump(u) {
  way++;
  state.u = Float32Array.from(u);
  settle(show());
}

// Strips follow once the image stands still.
let settling;
function settle(shown) {
  clearTimeout(settling);
  settling = setTimeout(() => shown.then(staleStrips), 120);
  return shown;
}

function setClass(label) {
  if (state.y === label) return;
  state.y = label;
  document.getElementById("class").value = label;
  drawPlane();
}

function addTemperatures() {
  data.groups.forEach((size, group) => {
    const steps = data.draws?.temperatures ?? [0, 0.05, 1.5];
    if (steps.length === 1) return;
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.textContent = data.isLadder ? `group ${group + 1} (${size})` : "temperature";
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: steps[0], max: steps.at(-1), step: steps[1] - steps[0], value: 1 });
    const output = document.createElement("output");
    output.textContent = "1.00";
    input.addEventListener("input", () => {
      state.temperature[group] = Number(input.value);
      output.textContent = state.temperature[group].toFixed(2);
      if (data.isLadder) settle(show());
    });
    label.append(name, input, output);
    document.getElementById("temperatures").append(label);
  });
}

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old: it cannot unpack gzip");
  document.title = `Explorer: ${data.title}`;
  document.getElementById("title").textContent = data.title;
  document.getElementById("setting").textContent = data.setting;
  await load();
  document.getElementById("explorer").hidden = false;
  if (data.classes) {
    document.getElementById("class-label").hidden = false;
    document.getElementById("class").append(...data.classes.map((name, label) => new Option(name, label)));
  }
  addTemperatures();
  setUpOwn();
  await loadMap();
  await loadCodes();
  document.getElementById("sliders-hint").textContent =
    (data.kl ? "The most informative first, by the mean KL over these test images. " : "") +
    (data.isLadder ? "Each is the noise of one latent, given those above it." : "Each goes as far as the test images do, at least from -3 to 3.");
  if (!data.codebook) showSliders();
  else state.u = await prior(state.temperature, state.y); // the middle is no code
  await show();
  staleStrips();
  document.getElementById("status").hidden = true;
  drawPlane();
}

document.getElementById("more").addEventListener("click", showSliders);
document.getElementById("reset").addEventListener("click", () => jump(new Float32Array(data.dim)));
document.getElementById("draw").addEventListener("click", async () => jump(await prior(state.temperature, state.y)));
document.getElementById("class").addEventListener("change", (event) => {
  setClass(Number(event.target.value));
  settle(show());
  if (taken) ownImage(taken);
});

globalThis.explorer = { data, state, decode, encode, ownImage, map: view, placeOf, latentOf, ready: start() };
globalThis.explorer.ready.catch((error) => {
  document.getElementById("status").textContent = `The page could not start: ${error.message}`;
});
