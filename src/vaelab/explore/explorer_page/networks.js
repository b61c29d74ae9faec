// The model's networks: what they take and give, as arrays of numbers.

const data = JSON.parse(document.getElementById("data").textContent);
const [channels, height, width] = data.shape;
const pixels = channels * height * width;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const graphs = {};

async function load() {
  ort.env.wasm.numThreads = 1; // several need a server that isolates the page
  ort.env.wasm.wasmBinary = await unpacked(document.getElementById("wasm").textContent);
  for (const [name, packed] of Object.entries(data.graphs)) {
    graphs[name] = await ort.InferenceSession.create(new Uint8Array(await unpacked(packed)));
  }
}

const floats = (values, shape) => new ort.Tensor("float32", values, shape);
const labels = (y, count) => (data.classes ? { y: new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(y)), [count]) } : {});

// One run at a time: the networks share one memory.
let last = Promise.resolve();
function run(name, feeds) {
  last = last.catch(() => {}).then(() => graphs[name].run(feeds));
  return last;
}

// Images and log p(x|u) of `count` rows of u, one after the other in one array.
async function decode(u, { temperature, y = 0, x = new Float32Array(pixels) }) {
  const count = u.length / data.dim;
  const feeds = { u: floats(u, [count, data.dim]), x: floats(x, [1, ...data.shape]), temperature: floats(Float32Array.from(temperature), [data.groups.length]), ...labels(y, count) };
  const { image, log_px } = await run("decode", feeds);
  return { images: image.data, logPx: log_px.data };
}

// u, and where the model has them kl and std, of an image by rows of noise.
async function encode(x, noise, y = 0) {
  const feeds = { x: floats(x, [1, ...data.shape]), noise: floats(noise, [noise.length / data.dim, data.dim]), ...labels(y, 1) };
  const found = await run("encode", feeds);
  return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
}

// Latents of the prior; what is no normal one was drawn from when the page was made.
let draws;
async function prior(temperature, y) {
  if (!data.draws) return normal(data.dim).map((value) => (data.isLadder ? 1 : temperature[0]) * value);
  draws ??= new Float32Array(await unpacked(data.draws.latents));
  const classes = data.classes?.length ?? 1;
  const place = data.draws.temperatures.indexOf(temperature[0]) * classes + (data.classes ? y : 0);
  const start = (place * data.draws.count + Math.floor(Math.random() * data.draws.count)) * data.dim;
  return draws.slice(start, start + data.dim);
}

function normal(count) {
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
}
