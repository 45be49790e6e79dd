// All rows as a grid, in the order and with the filters asked for.

import { get, post } from "./api.js";
import { content, name } from "./card.js";
import * as detail from "./detail.js";
import { attempt, make, number, say } from "./dom.js";
import { Grid } from "./grid.js";

export const title = "Gallery";
export const sorted = true;

const PICTURE = [10.5, 12.5];
const TEXT = [20, 8];

export const cardSize = (page) => (page.about.modality === "text" ? TEXT : PICTURE);

export function open(page) {
  let from = 0; // the card that a shift-click reaches from
  const grid = new Grid({
    label: "Rows",
    size: cardSize(page),
    draw: (row) => content(page, row),
    name,
    isSelected: (row) => page.selection.has(row.row),
    chosen(row, index, event, before = from) {
      if (event.shiftKey) {
        page.select([...page.selection, ...grid.rowsBetween(before, index).map((each) => each.row)]);
      } else if (event.ctrlKey || event.metaKey || event.key === " ") {
        const rows = new Set(page.selection);
        if (!rows.delete(row.row)) rows.add(row.row);
        page.select(rows);
      } else {
        grid.focused = index;
        detail.show(page, row.row, (by) => {
          const next = grid.row(grid.focused + by);
          if (next) grid.goTo(grid.focused + by);
          return next?.row;
        });
      }
      from = index;
    },
  });
  const tell = make("p", { className: "told", textContent: "" });
  const load = () => attempt(async () => {
    const words = { ...page.words };
    if (words.sort) say("Looking at every row …");
    const { total } = await get("/api/rows", { ...words, count: 0 });
    if (words.sort) say("");
    tell.textContent = total === page.about.rows ? "" : `${number(total)} of ${number(page.about.rows)} rows`;
    grid.reset(total, async (first, count) => (await get("/api/rows", { ...words, from: first, count })).rows);
  });
  const selected = make("span", { className: "told" });
  const only = make("button", { hidden: true, textContent: "Only these", title: "Show only the selected rows, in every view", onclick: () => attempt(async () => {
    const found = await post("/api/picked", { rows: [...page.selection] });
    page.select([]);
    page.pickedRows = found.rows;
    page.filter({ picked: found.picked });
    grid.element.focus();
  }) });
  page.addEventListener("rows", load);
  page.addEventListener("selection", () => {
    only.hidden = !page.selection.size;
    selected.textContent = page.selection.size ? `${number(page.selection.size)} selected` : "";
    grid.render();
  });
  load();
  return make("section", {}, make("div", { className: "bar slim" }, tell, selected, only), grid.element);
}
