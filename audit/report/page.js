"use strict";
// Filters, the dialog of one frame, and the table of two conditions. The page is readable without any of it.

const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const cards = [...document.querySelectorAll(".card")];
const small = matchMedia("(max-width: 760px)").matches;
const step = small ? 24 : 48; // cards that one click adds
let visible = step;

/** What a fieldset lets through, or null where it lets everything through. */
function condition(fieldset) {
  const { field, kind } = fieldset.dataset;
  const inputs = [...fieldset.querySelectorAll("input")];
  if (kind === "number") {
    const [low, high] = inputs.map(input => Number(input.value)).sort((a, b) => a - b);
    const open = low <= Number(inputs[0].min) && high >= Number(inputs[0].max);
    return open ? null : frame => frame.asked[field] >= low && frame.asked[field] <= high;
  }
  const chosen = inputs.filter(input => input.checked).map(input => input.value);
  if (!chosen.length) return null;
  return kind === "agrees" ? frame => chosen.includes(String(frame.agrees)) : frame => chosen.includes(frame.asked[field]);
}

function showSpan(fieldset) {
  const values = [...fieldset.querySelectorAll("input")].map(input => Number(input.value)).sort((a, b) => a - b);
  const unit = fieldset.querySelector(".slider").dataset.unit;
  fieldset.querySelector("output").textContent = values.map(value => Number(value.toPrecision(3))).join(" to ") + unit;
}

function filter() {
  const fieldsets = [...form.querySelectorAll("fieldset")];
  fieldsets.filter(each => each.dataset.kind === "number").forEach(showSpan);
  const conditions = fieldsets.map(condition).filter(Boolean);
  let shown = 0;
  cards.forEach((card, row) => {
    const fits = conditions.every(fits => fits(data.frames[row]));
    card.hidden = !fits || shown >= visible;
    shown += fits;
  });
  document.getElementById("more").hidden = shown <= visible;
  const all = cards.length;
  document.getElementById("shown").textContent = conditions.length ? `${shown} of ${all} frames` : `${all} frames`;
  document.getElementById("active").textContent = conditions.length ? `(${conditions.length})` : "";
  document.getElementById("nothing").hidden = shown > 0;
}

function text(value) {
  if (value === null || value === undefined) return "hidden";
  return typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
}

function cells(kind, values) {
  return values.map(value => Object.assign(document.createElement(kind), { textContent: value }));
}

function open(card) {
  const frame = data.frames[Number(card.dataset.frame)];
  const dialog = document.getElementById("detail");
  dialog.querySelector("img").src = card.querySelector("img").src;
  dialog.querySelector("img").alt = card.querySelector("img").alt;
  dialog.querySelector("h3").textContent = frame.name;
  dialog.querySelector("tbody").replaceChildren(...Object.entries(frame.asked).map(([field, asked]) => {
    const read = frame.read ? frame.read[field] : null;
    const row = document.createElement("tr");
    row.append(...cells("th", [field.replaceAll("_", " ")]), ...cells("td", [text(asked), frame.read ? text(read) : "–"]));
    if (field in data.values && read !== null && read !== asked) row.lastChild.style.color = "var(--wrong)";
    return row;
  }));
  dialog.showModal();
}

function together() {
  const [rows, columns] = ["rows", "columns"].map(id => document.getElementById(id).value);
  const table = document.getElementById("together");
  const straight = data.pairs.find(pair => pair.rows === rows && pair.columns === columns);
  const turned = data.pairs.find(pair => pair.rows === columns && pair.columns === rows);
  if (!straight && !turned) return table.replaceChildren();
  const count = (row, column) => straight ? straight.counts[row][column] : turned.counts[column][row];
  const largest = Math.max(1, ...(straight || turned).counts.flat());
  const head = document.createElement("tr");
  head.append(...cells("th", ["", ...data.values[columns]]));
  table.replaceChildren(head, ...data.values[rows].map((name, row) => {
    const line = document.createElement("tr");
    line.append(...cells("th", [name]), ...cells("td", data.values[columns].map((_, column) => count(row, column))));
    [...line.querySelectorAll("td")].forEach((cell, column) => {
      cell.style.setProperty("--share", count(row, column) / largest);
      cell.classList.toggle("zero", count(row, column) === 0);
    });
    return line;
  }));
}

function restart() {
  visible = step;
  filter();
}

form.addEventListener("input", restart);
form.addEventListener("reset", () => setTimeout(restart));
document.getElementById("more").addEventListener("click", () => {
  visible += step;
  filter();
});
form.addEventListener("submit", event => event.preventDefault());
document.getElementById("grid").addEventListener("click", event => {
  const card = event.target.closest(".card");
  if (card) open(card);
});
document.getElementById("detail").addEventListener("click", event => {
  if (event.target.id === "detail") event.target.close();
});
if (small) document.querySelector(".filters").open = false;
["rows", "columns"].forEach((id, nth) => {
  const select = document.getElementById(id);
  if (!select) return;
  const names = Object.keys(data.values);
  select.append(...names.map(name => new Option(name.replaceAll("_", " "), name)));
  select.value = names[nth === 0 ? 0 : Math.min(2, names.length - 1)];
  select.addEventListener("change", together);
});
if (document.getElementById("rows")) together();
filter();
