"use strict";
// What is shown, and of which entries; all text of the runs reaches the page as text, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
for (const view of ["runs", "groups"]) data[view].forEach((entry, index) => { entry.id = `${view}-${index}`; });

const PICTURES_AT_ONCE = 12;
const SHOWN_FIRST = ["samples", "reconstructions"];
const PALETTE = ["#3b75c4", "#e07b28", "#2f9e62", "#cf4a4a", "#8a63c9", "#a0705a", "#d667ad", "#7d8a97", "#a9a32a", "#21a3b8"];
const DASHES = ["solid", "dash", "dot"];
// from low to high, each legible on white and on black
const RAMP = ["#5567cf", "#3f87d4", "#2ba3b4", "#3aac7c", "#7fad3f", "#c2a02c", "#dd822f", "#d6524c"];

const state = {
  view: "runs", // or groups
  split: "val",
  filter: "",
  colour: null, // a setting, or null for a colour a line
  hidden: new Set(), // ids
  brushes: new Map(), // key of an axis -> ranges kept of it
  sort: null, // { key, descending }, or null for the order of the data: best first
  pictures: PICTURES_AT_ONCE,
  picture: "", // the one that is shown of each run, or "" for SHOWN_FIRST
};

const byId = (id) => document.getElementById(id);
const entries = () => data[state.view];
const isNumber = (value) => typeof value === "number";
const isScored = (entry) => entry.merit !== null;
// those that axes are made for; where there are none, all
const usual = (found) => (found.some((entry) => entry.typical) ? found.filter((entry) => entry.typical) : found);

function columns() {
  const wanted = [
    ...data.settings.map((key) => ({ key, label: key, kind: "setting" })),
    ...Object.entries(data.metrics).map(([key, { label }]) => ({ key, label, kind: "metric" })),
    { key: "epochs", label: "epochs", kind: "text" },
    { key: "status", label: "status", kind: "text" },
    ...(data.setting ? [] : [{ key: "setting", label: "measured on", kind: "text" }]),
    { key: "directory", label: "directory", kind: "text" },
  ];
  return wanted.filter(({ key }) => entries().some((entry) => cell(entry, key) !== undefined));
}

function cell(entry, key) {
  return entry.settings[key] ?? entry.metrics[key] ?? (Object.hasOwn(entry, key) ? entry[key] : undefined);
}

function format(value, key) {
  if (!isNumber(value)) return value ?? "";
  if (!(key in data.metrics)) return String(Number(value.toPrecision(4)));
  const { digits } = data.metrics[key];
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// A filter is words, all of which must be met: `key=value`, `key<number` and so on, or text to be found anywhere.
const CONDITION = /^([^<>=]+)(<=|>=|=|<|>)(.+)$/;
const TESTS = {
  "=": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
};

function meets(entry, word) {
  const [, name, sign, wanted] = CONDITION.exec(word) ?? [];
  const column = name && columns().find(({ key }) => key.toLowerCase() === name || key.toLowerCase().endsWith(`.${name}`));
  if (!column) return text(entry).includes(word);
  const value = cell(entry, column.key);
  if (isNumber(value)) return TESTS[sign](value, Number(wanted));
  return sign === "=" && String(value ?? "").toLowerCase() === wanted;
}

function text(entry) {
  return [entry.name, entry.status, entry.error, entry.directory, entry.setting].join(" ").toLowerCase();
}

function filtered() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return entries().filter((entry) => words.every((word) => meets(entry, word)));
}

// What the table lists: filtered, within the brushed ranges, sorted; empty cells come last either way.
function listed() {
  const found = filtered().filter(isBrushed);
  if (!state.sort) return found;
  const { key, descending } = state.sort;
  const compare = (a, b) => (isNumber(a) && isNumber(b) ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  return found.sort((first, second) => {
    const [a, b] = [cell(first, key), cell(second, key)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return descending ? compare(b, a) : compare(a, b);
  });
}

const drawn = () => listed().filter((entry) => !state.hidden.has(entry.id));

function distinct(key, among = entries()) {
  const values = [...new Set(among.map((entry) => cell(entry, key)).filter((value) => value !== undefined))];
  return values.every(isNumber) ? values.sort((a, b) => a - b) : values;
}

// { colour, dash } of every entry: from its place among the values of a setting, or one of its own.
function styles() {
  const values = state.colour ? distinct(state.colour) : [];
  const ordered = values.every(isNumber);
  return new Map(entries().map((entry, index) => {
    if (!state.colour) {
      return [entry.id, { colour: PALETTE[index % PALETTE.length], dash: DASHES[Math.floor(index / PALETTE.length) % DASHES.length] }];
    }
    const place = values.indexOf(cell(entry, state.colour));
    const step = values.length > 1 ? (RAMP.length - 1) / (values.length - 1) : 0;
    const colour = ordered ? RAMP[Math.round(place * step)] : PALETTE[place % PALETTE.length];
    return [entry.id, { colour: place < 0 ? PALETTE[7] : colour, dash: "solid" }];
  }));
}
