// Labelling: rows get names by keys; every ten answers a round says what to ask next.

import { get, post } from "./api.js";
import { content, name } from "./card.js";
import * as detail from "./detail.js";
import { attempt, make, number, say } from "./dom.js";
import { cardSize } from "./gallery.js";
import { Grid } from "./grid.js";

export const title = "Label";

const KEYS = 9; // names that have a key
const MOST = 500; // rows that "all of these" selects

const ORDERS = { doubt: "most doubtful", different: "most different from what is labelled", labelled: "labelled already" };

function card(page, row) {
  const said = row.given ? [make("div", { className: "given", textContent: row.given })] : [];
  return [...content(page, row), ...said];
}

class Labelling {
  constructor(page) {
    this.page = page;
    this.from = 0; // the card that a shift-click reaches from
    this.order = "doubt";
    this.names = make("div", { className: "bar slim names", role: "group", "aria-label": "Names, and their keys" });
    this.told = make("p", { className: "told", role: "status" });
    this.list = make("datalist", { id: "label-names" });
    this.typed = make("input", { placeholder: "a name, then Enter", "aria-label": "Name", maxLength: 1000, spellcheck: false });
    this.typed.setAttribute("list", this.list.id);
    this.orders = make("select", { id: "label-order", onchange: () => this.sort(this.orders.value) });
    this.grid = new Grid({
      label: "Rows to label",
      size: cardSize(page).map((size, i) => size + i * 1.5),
      draw: (row) => card(page, row),
      name: (row) => [row.given ? `labelled ${row.given}` : "without a label", name(row)].join(", "),
      isSelected: (row) => page.selection.has(row.row),
      chosen: (row, index, event, before) => this.choose(row, index, event, before),
    });
    this.grid.element.addEventListener("keydown", (event) => this.pressed(event));
    page.addEventListener("rows", () => this.load());
    page.addEventListener("selection", () => this.grid.render());
    const naming = make("form", { className: "bar", onsubmit: (event) => {
      event.preventDefault();
      if (this.typed.value.trim()) this.answer(this.typed.value);
    } }, this.typed, this.list, make("button", { textContent: "Label" }),
    make("button", { type: "button", textContent: "All of these", onclick: () => this.selectAll() }),
    make("button", { type: "button", textContent: "No label", onclick: () => this.answer(null) }),
    make("button", { type: "button", textContent: "Undo (U)", onclick: () => this.undo() }),
    make("button", { type: "button", textContent: "Learn now", onclick: () => this.learn() }),
    make("label", { className: "field", for: "label-order" }, make("span", { textContent: "Order" }), this.orders));
    this.element = make("section", {}, naming, this.names, make("div", { className: "bar slim" }, this.told), this.grid.element);
    this.begin();
  }

  async begin() {
    say("Taking up what was labelled …");
    const state = await attempt(() => get("/api/label"));
    if (state === undefined) return;
    say(state.damaged ? `${number(state.damaged)} lines of the journal cannot be read, and are left out.` : "");
    this.show(state);
    this.load();
  }

  show(state) {
    this.state = state;
    const keyed = state.names.slice(0, KEYS);
    this.names.replaceChildren(...keyed.map((each, i) => make("button", {
      textContent: `${i + 1} ${each.name} (${number(each.rows)})`, onclick: () => this.answer(each.name) })));
    this.list.replaceChildren(...state.names.map((each) => make("option", { value: each.name })));
    const likely = (state.learned?.names ?? []).map((each) => [`likely ${each}`, `most likely ${each}`]);
    this.orders.replaceChildren(...[...Object.entries(ORDERS), ...likely].map(([value, textContent]) => make("option", { value, textContent })));
    this.orders.value = this.order;
    this.told.textContent = [
      state.labelled ? `${number(state.labelled)} labelled, in ${state.file}` : "Select rows (click, Shift, the map's loop) and press 1 to 9, or type a name. Enter shows a row large.",
      state.learned ? `learned from ${number(state.learned.rows)}` : state.labelled ? "a second name lets it learn" : null,
      state.interval ? `foretold ${state.right} of the last ${state.counted} that were asked: ${percent(state.right / state.counted)} (95%: ${percent(state.interval[0])} to ${percent(state.interval[1])})` : null,
    ].filter(Boolean).join("; ");
  }

  load() {
    const { sort: _, ...words } = this.page.words;
    const [order, ...rest] = this.order.split(" ");
    const asked = { ...words, order, name: rest.join(" ") };
    return attempt(async () => {
      say("Looking at every row …");
      const { total } = await get("/api/label/rows", { ...asked, count: 0 });
      say(total ? "" : "No row is left here.");
      this.from = 0;
      this.grid.reset(total, async (first, count) => (await get("/api/label/rows", { ...asked, from: first, count })).rows);
    });
  }

  sort(order) {
    this.order = order;
    this.load();
  }

  choose(row, index, event, before = this.from) {
    this.grid.focused = index;
    if (event.key === "Enter" || event.detail === 2) {
      detail.show(this.page, row.row);
    } else if (event.shiftKey) {
      this.page.select([...this.page.selection, ...this.grid.rowsBetween(before, index).map((each) => each.row)]);
    } else {
      const rows = new Set(this.page.selection);
      if (!rows.delete(row.row)) rows.add(row.row);
      this.page.select(rows);
    }
    this.from = index;
  }

  selectAll() {
    this.page.select(this.grid.rowsBetween(0, MOST - 1).map((each) => each.row));
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const named = this.state?.names[Number(event.key) - 1];
    if (named && Number(event.key) <= KEYS) this.answer(named.name);
    else if (event.key === "u") this.undo();
    else if (event.key === "Delete") this.answer(null);
    else if (/^[1-9]$/.test(event.key)) say(`The key ${event.key} has no name yet: type one.`);
    else return;
    event.preventDefault();
  }

  // Without a selection the answer is about the card in the focus, and the next one gets it.
  async answer(label) {
    const focused = this.grid.row(this.grid.focused);
    const rows = this.page.selection.size ? [...this.page.selection] : focused ? [focused.row] : [];
    const single = this.page.selection.size === 0;
    const state = await attempt(() => post("/api/label/answer", { rows, label }));
    if (state === undefined) return;
    this.typed.value = "";
    const told = new Set(rows);
    const given = label === null ? null : label.split(/\s+/).filter(Boolean).join(" ");
    this.grid.change((row) => (told.has(row.row) ? { ...row, given } : row));
    this.page.select([]);
    if (single && this.grid.focused + 1 < this.grid.total) this.grid.goTo(this.grid.focused + 1);
    this.show(state);
    if (state.due) await this.learn();
  }

  async undo() {
    const state = await attempt(() => post("/api/label/undo", {}));
    if (state === undefined) return;
    const given = new Map(state.undone.map((each) => [each.id, each.given]));
    this.grid.change((row) => (given.has(row.id) ? { ...row, given: given.get(row.id) } : row));
    this.show(state);
    say(given.size ? `Taken back: ${number(given.size)} rows.` : "Nothing is left to take back.");
  }

  async learn() {
    say("Learning, and looking at every row …");
    const state = await attempt(() => post("/api/label/learn", {}));
    if (state === undefined) return;
    if (!state.learned && this.order.startsWith("likely")) this.order = "doubt";
    this.show(state);
    await this.load();
  }
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

export function open(page) {
  return new Labelling(page).element;
}
