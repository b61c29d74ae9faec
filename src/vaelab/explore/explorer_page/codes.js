// Of discrete codes: which code each place has, and codes to paint with.

let table, brush = 0;
const codes = () => data.dim / data.codebook.size;

async function loadCodes() {
  if (!data.codebook) return;
  table = new Float32Array(await unpacked(data.codebook.table));
  document.getElementById("codes-section").hidden = false;
  document.getElementById("sliders-section").hidden = true;
  document.getElementById("reset").hidden = true; // the middle is no code
  document.getElementById("codes-hint").textContent =
    `${codes()} places with one of ${data.codebook.codes} codes each. Choose a code below and paint the places with it.`;
  const grid = document.getElementById("codes");
  grid.style.gridTemplateColumns = `repeat(${Math.ceil(Math.sqrt(codes()))}, 1fr)`;
  for (let place = 0; place < codes(); place++) {
    const cell = document.createElement("button");
    cell.addEventListener("pointerdown", (event) => {
      event.target.releasePointerCapture?.(event.pointerId);
      put(place);
    });
    cell.addEventListener("pointerenter", (event) => event.buttons && put(place));
    cell.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && put(place));
    grid.append(cell);
  }
  for (let code = 0; code < data.codebook.codes; code++) {
    const colour = document.createElement("button");
    colour.textContent = code;
    colour.addEventListener("click", () => pick(code));
    document.getElementById("palette").append(colour);
  }
  pick(0);
}

function pick(code) {
  brush = code;
  [...document.getElementById("palette").children].forEach((each, index) => each.setAttribute("aria-pressed", index === code));
}

const row = (code) => table.subarray(code * data.codebook.size, (code + 1) * data.codebook.size);

function put(place) {
  const u = state.u.slice();
  u.set(row(brush), place * data.codebook.size);
  jump(u);
}

// The code nearest to what a place has.
function codeAt(place) {
  const size = data.codebook.size;
  let best = 0;
  let distance = Infinity;
  for (let code = 0; code < data.codebook.codes; code++) {
    const away = row(code).reduce((sum, value, index) => sum + (value - state.u[place * size + index]) ** 2, 0);
    if (away < distance) [best, distance] = [code, away];
  }
  return best;
}

function showCodes() {
  if (!table) return;
  [...document.getElementById("codes").children].forEach((cell, place) => {
    const code = codeAt(place);
    cell.textContent = code;
    cell.setAttribute("aria-label", `place ${place + 1}: code ${code}`);
  });
}
