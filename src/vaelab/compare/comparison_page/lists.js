// The legend, the table and the gallery.

function element(tag, properties = {}, ...children) {
  const { dataset, attributes, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function swatch({ colour, dash }) {
  const made = element("i", { className: `swatch ${dash}` });
  made.style.borderTopColor = colour;
  return made;
}

function toggle(entry, style, ...label) {
  return element("button", {
    type: "button", title: entry.name, dataset: { id: entry.id },
    attributes: { "aria-label": `show ${entry.name}` },
  }, swatch(style.get(entry.id)), ...label);
}

function drawLegend() {
  const style = styles();
  byId("legend").replaceChildren(
    ...listed().map((entry) => element("li", {}, toggle(entry, style, element("span", { textContent: entry.name })))),
  );
}

// Tells what is hidden in the legend and the table that are there; a button that is being clicked must stay.
function markHidden() {
  for (const button of document.querySelectorAll("[data-id]")) {
    const isHidden = state.hidden.has(button.dataset.id);
    button.setAttribute("aria-pressed", !isHidden);
    button.closest("tr")?.classList.toggle("off", isHidden);
  }
  const kind = state.view === "runs" ? "runs" : "settings";
  byId("count").textContent = `${drawn().length} of ${entries().length} ${kind} shown`;
}

// Marks the legend's entry of the line under the pointer, and brings it into the legend's view, not the page's.
function point(id) {
  const legend = byId("legend");
  legend.querySelector(".pointed")?.classList.remove("pointed");
  const found = id && legend.querySelector(`[data-id="${id}"]`);
  if (!found) return;
  found.classList.add("pointed");
  const top = found.getBoundingClientRect().top - legend.getBoundingClientRect().top;
  if (top < 0 || top > legend.clientHeight - 24) legend.scrollTop += top - legend.clientHeight / 2;
}

function drawTable() {
  const shown = columns(), style = styles();
  const isNumeric = ({ key }) => distinct(key).every(isNumber);
  const numeric = new Set(shown.filter(isNumeric).map(({ key }) => key));
  const heads = shown.map(({ key, label }) => {
    const sorted = state.sort?.key === key ? (state.sort.descending ? "descending" : "ascending") : "none";
    const button = element("button", { type: "button", textContent: label, dataset: { key } });
    return element("th", { className: numeric.has(key) ? "number" : "", scope: "col", attributes: { "aria-sort": sorted } }, button);
  });
  document.querySelector("thead").replaceChildren(element("tr", {}, element("th"), ...heads));
  document.querySelector("tbody").replaceChildren(...listed().map((entry) => {
    const button = toggle(entry, style);
    button.className = "toggle";
    const cells = shown.map((column) => tableCell(entry, column, numeric.has(column.key)));
    return element("tr", {}, element("td", {}, button), ...cells);
  }));
}

function tableCell(entry, { key }, numeric) {
  if (key === "status") {
    const whole = /^(finished|(\d+) of \2 finished)$/.test(entry.status);
    const status = element("span", { className: `status ${whole ? "" : "incomplete"}`, textContent: entry.status });
    const error = entry.error ? [element("span", { className: "error", textContent: ` ${entry.error}` })] : [];
    return element("td", { className: error.length ? "note" : "" }, status, ...error);
  }
  if (key === "directory") {
    const end = entry.directory.split(/[\\/]/).slice(-2).join("/");
    const cell = element("td", { textContent: end, title: entry.directory });
    if (entry.explorer) cell.append(" ", element("a", { href: entry.explorer, textContent: "explore" }));
    return cell;
  }
  const made = element("td", { className: numeric ? "number" : "", textContent: format(cell(entry, key), key) });
  const error = entry.errors?.[key];
  if (error !== undefined) {
    made.append(element("span", { className: "spread", textContent: ` ± ${error.toPrecision(2)}` }));
  }
  return made;
}

function drawGallery() {
  const runs = drawn().flatMap((entry) => entry.members?.map((index) => data.runs[index]) ?? [entry]);
  const shown = runs.filter((run) => pictures(run).length);
  byId("gallery").replaceChildren(...shown.slice(0, state.pictures).map(card));
  const left = shown.length - state.pictures;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${Math.min(left, PICTURES_AT_ONCE)} more of ${left}`;
}

function card(run) {
  const ofElbo = "val/elbo" in run.metrics || "train/elbo" in run.metrics;
  const worth = isScored(run) ? `${ofElbo ? "ELBO" : "reconstruction"} ${run.merit.toFixed(2)}` : run.status;
  const images = pictures(run).map(([name, source]) => element("img", { src: source, alt: `${words(name)} of ${run.name}`, title: words(name) }));
  return element("figure", {},
    element("figcaption", {}, element("b", { textContent: run.name }), ` · ${worth}`),
    element("div", { className: images.length > 1 ? "pair" : "alone" }, ...images));
}

// The pictures of a run that are shown, [name, source] each.
function pictures(run) {
  const wanted = state.picture ? [state.picture] : SHOWN_FIRST;
  return Object.entries(run.pictures ?? {}).filter(([name]) => wanted.includes(name));
}

const words = (name) => name.replaceAll("_", " ");
