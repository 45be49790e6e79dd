// One row large: its picture or text, what its row says, what the head says, and what is near.

import { get } from "./api.js";
import { caption, content, name, picture } from "./card.js";
import { attempt, make } from "./dom.js";

const dialog = document.getElementById("detail");

function columns(row) {
  return make("table", { className: "columns" }, ...Object.entries(row.columns).map(([key, value]) =>
    make("tr", {}, make("th", { scope: "row", textContent: key }), make("td", { textContent: value }))));
}

function answers(row, isProbability) {
  if (!row.answers.length) return null;
  return make("div", {}, make("h3", { textContent: "The head says" }), ...row.answers.map(({ name: said, value }) =>
    make("div", { className: "answer" }, make("span", { textContent: said }),
      isProbability ? make("meter", { min: 0, max: 1, value, "aria-label": said }) : null,
      make("span", { className: "number", textContent: isProbability ? `${(100 * value).toFixed(1)}%` : value.toPrecision(4) }))));
}

function neighbours(page, row) {
  if (!row.neighbours.length) return null;
  return make("div", {}, make("h3", { textContent: "Nearest" }), make("div", { className: "strip" }, ...row.neighbours.map((near) =>
    make("button", { className: "card", "aria-label": name(near), onclick: () => show(page, near.row) }, ...content(page, near)))));
}

// `step(by)` returns the number of the row before or behind in what is looked at, or undefined.
export async function show(page, number, step = undefined) {
  const row = await attempt(() => get(`/api/row/${number}`));
  if (row === undefined) return;
  const isText = page.about.modality === "text";
  const ask = (sign, fresh) => () => {
    dialog.close();
    page.ask({ row: row.row, shown: row }, sign, fresh);
  };
  const move = (by) => () => {
    const next = step?.(by);
    if (next !== undefined) show(page, next, step);
  };
  dialog.onkeydown = (event) => {
    if (event.target.closest("input, select")) return;
    if (event.key === "ArrowRight") move(1)();
    if (event.key === "ArrowLeft") move(-1)();
  };
  const has = row.columns.error_code === undefined;
  dialog.replaceChildren(
    make("div", { className: "bar" },
      make("h2", { id: "detail-name", textContent: row.id }),
      step ? make("button", { textContent: "←", "aria-label": "Previous", onclick: move(-1) }) : null,
      step ? make("button", { textContent: "→", "aria-label": "Next", onclick: move(1) }) : null,
      has ? make("button", { textContent: "Like this", onclick: ask(1, true) }) : null,
      has ? make("button", { textContent: "+ more like it", onclick: ask(1, false) }) : null,
      has ? make("button", { textContent: "− less like it", onclick: ask(-1, false) }) : null,
      make("button", { textContent: "Close", onclick: () => dialog.close() })),
    make("div", { className: "detail" },
      isText ? make("blockquote", { className: "whole", dir: "auto", textContent: row.whole_text || row.error || "The text is not to be had." })
        : row.error ? make("div", { className: "missing", textContent: row.error }) : picture(row, "/picture", caption(row)),
      make("div", { className: "known" }, answers(row, page.about.head?.predicts !== "numbers"), neighbours(page, row), columns(row))));
  if (!dialog.open) dialog.showModal();
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
