// An image that is drawn, dropped, pasted or chosen: its q(z|x), its ELBO, its reconstruction.

const SAMPLES = 16; // of q(z|x), by which the ELBO is estimated
const given = document.getElementById("given");
const terms = document.getElementById("terms");
const refused = document.getElementById("own-error"); // why a file was not taken

function setUpOwn() {
  clearOwn();
  document.getElementById("own-section").hidden = channels !== 1 && channels !== 3;
  document.getElementById("own-hint").textContent =
    (channels === 1 ? "Draw it below in white, or drop, paste or choose a picture." : "Drop, paste or choose a picture.") +
    (data.isBinary ? " Pixels lighter than the middle grey count as white." : "");
}

function clearOwn() {
  newest++;
  taken = null;
  for (const canvas of [given, document.getElementById("reconstructed")]) paint(canvas, new Float32Array(pixels));
  sheet = null;
  state.own = null;
  refused.textContent = "";
  showTerms(null);
  showBands();
}

// Encode the image and show what comes of it, on the sliders its q(z|x); where it leads, they go to its mean.
let newest = 0; // the number of what was given last; what comes of those before it is not shown
let taken = null; // the image of it
async function ownImage(x, leads = false) {
  const mine = ++newest;
  const before = way;
  taken = x;
  refused.textContent = "";
  paint(given, x);
  const y = state.y;
  const zero = await encode(x, new Float32Array(data.dim), y);
  const { images } = await decode(zero.u, { temperature: data.groups.map(() => 1), y });
  const found = zero.kl ? await elbo(x, y) : null;
  if (mine !== newest) return;
  paint(document.getElementById("reconstructed"), images);
  state.own = { x, ...zero };
  showBands();
  showTerms(found);
  if (leads && before === way) jump(zero.u);
}

async function elbo(x, y) {
  const drawn = await encode(x, normal(SAMPLES * data.dim), y);
  const { logPx } = await decode(drawn.u, { temperature: data.groups.map(() => 1), y, x });
  const mean = (values, count) => values.reduce((sum, value) => sum + value, 0) / count;
  const reconstruction = mean(logPx, logPx.length);
  const kl = mean(drawn.kl, SAMPLES);
  return { ELBO: reconstruction - kl, reconstruction, KL: kl };
}

function showTerms(found) {
  terms.replaceChildren();
  for (const [name, value] of Object.entries(found ?? {})) {
    const row = terms.insertRow();
    for (const text of [name, value.toFixed(2), "nats"]) row.insertCell().textContent = text;
  }
}

async function take(file) {
  if (!file) return;
  const mine = ++newest;
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (mine !== newest) return;
  if (!bitmap) {
    refused.textContent = "That file is no picture that this browser can show; choose another one.";
    refused.scrollIntoView({ block: "nearest" });
    return;
  }
  const side = Math.min(bitmap.width / width, bitmap.height / height);
  const [across, down] = [side * width, side * height];
  const context = given.getContext("2d", { willReadFrequently: true });
  sheet = null;
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - across) / 2, (bitmap.height - down) / 2, across, down, 0, 0, width, height);
  ownImage(seen(given), true);
}

document.getElementById("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = ""; // so that the same one can be chosen again
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
document.getElementById("clear").addEventListener("click", clearOwn);

// A drawing is made in grey and counts when the pen is lifted.
let pen = null;
let sheet = null;
function stroke(event) {
  const [x, y] = [(event.offsetX * width) / given.clientWidth, (event.offsetY * height) / given.clientHeight];
  const context = sheet.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { strokeStyle: "white", lineWidth: Math.max(1, width / 14), lineCap: "round" });
  context.beginPath();
  context.moveTo(...(pen ?? [x, y]));
  context.lineTo(x, y);
  context.stroke();
  pen = [x, y];
  given.getContext("2d", { willReadFrequently: true }).drawImage(sheet, 0, 0);
}
given.addEventListener("pointerdown", (event) => {
  if (channels !== 1) return;
  given.setPointerCapture(event.pointerId);
  if (!sheet) {
    sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [width, height];
    sheet.getContext("2d").fillRect(0, 0, width, height);
  }
  pen = null;
  stroke(event);
});
given.addEventListener("pointermove", (event) => given.hasPointerCapture(event.pointerId) && sheet && stroke(event));
given.addEventListener("pointerup", () => {
  if (sheet) ownImage(seen(sheet), true);
});
