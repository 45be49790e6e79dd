// A row as a card: its picture or the beginning of its text, and what is known of it in a line.

import { make } from "./dom.js";

export function picture(row, address, alt) {
  const image = make("img", { alt, loading: "lazy", decoding: "async", draggable: false, src: `${address}/${row.row}` });
  image.addEventListener("error", async () => {
    const said = make("div", { className: "missing", textContent: row.error ?? "not shown" });
    image.replaceWith(said);
    if (row.error) return;
    const answer = await fetch(image.src).catch(() => null);
    if (answer && !answer.ok) said.textContent = (await answer.json()).error;
  });
  return image;
}

export function caption(row) {
  const said = [];
  if (row.score !== undefined) said.push(row.score.toFixed(3));
  if (row.label !== null) said.push(row.label);
  if (row.answer !== undefined && row.answer !== row.label) said.push(`→ ${row.answer} ${Math.round(100 * row.probability)}%`);
  return said.join(" · ") || row.id.split("/").pop();
}

// The content of a card, which is put into whatever the view makes of it (an option, a button).
export function content(page, row) {
  const shown = page.about.modality === "text"
    ? make("div", { className: row.text === undefined || row.text === null ? "missing" : "passage", dir: "auto",
      textContent: row.text ?? row.error ?? "The text is not to be had." })
    : row.error ? make("div", { className: "missing", textContent: row.error }) : picture(row, "/thumb", "");
  return [shown, make("div", { className: "caption", textContent: caption(row), title: row.id })];
}

export function name(row) {
  return [caption(row), row.id].join(", ");
}
