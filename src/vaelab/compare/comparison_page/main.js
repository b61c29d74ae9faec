// What a person does, and what is drawn again for it.

let parallelIsSeen = false;

function draw() {
  drawLists();
  drawCurves();
  if (parallelIsSeen) drawParallel();
}

function drawLists() {
  drawLegend();
  drawTable();
  markHidden();
  drawGallery();
}

function drawHidden() {
  markHidden();
  drawCurves();
  if (parallelIsSeen) drawParallel();
  drawGallery();
}

function toggleEntry(event) {
  const id = event.target.closest("button")?.dataset.id;
  if (!id) return;
  if (!state.hidden.delete(id)) state.hidden.add(id);
  drawHidden();
}

function showAlone(event) {
  const id = event.target.closest("button")?.dataset.id;
  if (!id) return;
  state.hidden = new Set(entries().map((entry) => entry.id).filter((other) => other !== id));
  drawHidden();
}

function sortBy(event) {
  const key = event.target.closest("button")?.dataset.key;
  if (!key) return;
  // the first click shows what is best: high metrics, low settings
  const descending = state.sort?.key === key ? !state.sort.descending : data.metrics[key]?.better === "up";
  state.sort = { key, descending };
  drawLists();
}

function reset() {
  state.hidden.clear();
  state.brushes.clear();
  state.filter = byId("filter").value = "";
  draw();
}

function fillIn() {
  const count = data.runs.length;
  byId("title").textContent = count === 1 ? "One run" : `${count} runs compared`;
  if (data.setting) byId("setting").append("Measured on ", element("b", { textContent: data.setting }), ".");
  byId("notes").append(...data.notes.map((note) => element("li", { textContent: note })));
  byId("view-choice").hidden = !data.groups.length;
  byId("pictures-hint").textContent = data.pictures;
  const names = new Set(data.runs.flatMap((run) => Object.keys(run.pictures ?? {})));
  byId("picture").append(...[...names].filter((name) => !SHOWN_FIRST.includes(name)).map((name) => new Option(words(name), name)));
  byId("picture-choice").hidden = byId("picture").length === 1;
  const charts = Object.keys(data.charts).map((name) => element("div", { id: name, className: "chart" }));
  document.querySelector(".curves").prepend(...charts);
  byId("colour").append(new Option("line", ""), ...data.settings.map((key) => new Option(key, key)));
  if (count > PALETTE.length && data.settings.length) state.colour = byId("colour").value = data.settings[0];
}

function listen() {
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; draw(); });
  byId("view").addEventListener("change", (event) => { state.view = event.target.value; reset(); });
  byId("split").addEventListener("change", (event) => { state.split = event.target.value; drawCurves(); });
  byId("colour").addEventListener("change", (event) => { state.colour = event.target.value || null; draw(); });
  byId("reset").addEventListener("click", reset);
  byId("legend").addEventListener("click", toggleEntry);
  byId("legend").addEventListener("dblclick", showAlone);
  document.querySelector("tbody").addEventListener("click", toggleEntry);
  document.querySelector("thead").addEventListener("click", sortBy);
  byId("picture").addEventListener("change", (event) => { state.picture = event.target.value; drawGallery(); });
  byId("more").addEventListener("click", () => { state.pictures += PICTURES_AT_ONCE; drawGallery(); });
  for (const name of Object.keys(data.charts)) {
    byId(name).on("plotly_hover", ({ points }) => point(points[0].data.meta));
    byId(name).on("plotly_unhover", () => point(null));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
}

// Compiled for the graphics card, which can take a second or two without one: drawn when it comes into view.
function drawParallelWhenSeen() {
  const node = byId("parallel");
  new IntersectionObserver(([{ isIntersecting }], observer) => {
    if (!isIntersecting) return;
    observer.disconnect();
    parallelIsSeen = true;
    drawParallel();
    node.on("plotly_restyle", () => { readBrushes(); drawLists(); drawCurves(); });
    node.on("plotly_hover", ({ curveNumber }) => { byId("hovered").textContent = parallelEntries()[curveNumber]?.name ?? ""; });
    node.on("plotly_unhover", () => { byId("hovered").textContent = ""; });
  }).observe(node);
}

fillIn();
draw();
listen();
drawParallelWhenSeen();
