// A grid of as many cards as there are rows, of which only those exist that are seen.

import { attempt, make } from "./dom.js";

const WINDOW = 120; // rows that are asked for at once
const KEPT = 40; // windows that are kept
const TALLEST = 8_000_000; // pixels; browsers end at some 17 million

export class Grid {
  // `size` is [width, height] of a card in rem; `draw(row)` returns its content, `name(row)` its name, `chosen(row,
  // index, event)` is told of clicks, Enter and Space, `isSelected(row)` whether it is marked.
  constructor({ label, size, draw, name, chosen, isSelected }) {
    Object.assign(this, { size, draw, name, chosen, isSelected });
    this.total = 0;
    this.top = 0;
    this.last = 0;
    this.focused = 0;
    this.windows = new Map();
    this.cells = new Map();
    this.inner = make("div", { className: "grid-inner" });
    this.element = make("div", { className: "grid", role: "listbox", "aria-label": label, "aria-multiselectable": "true",
      tabIndex: 0, onscroll: () => this.scrolled(), onkeydown: (event) => this.pressed(event) }, this.inner);
    new ResizeObserver(() => this.render()).observe(this.element);
  }

  // Shows other rows; `load(from, count)` returns a promise of them.
  reset(total, load) {
    this.total = total;
    this.load = load;
    this.windows.clear();
    this.clear();
    this.focused = 0;
    this.top = this.last = this.element.scrollTop = 0;
    if (total) this.element.setAttribute("aria-activedescendant", "card-0");
    else this.element.removeAttribute("aria-activedescendant");
    this.render();
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
  }

  row(index) {
    return this.windows.get(Math.floor(index / WINDOW))?.rows?.[index % WINDOW];
  }

  // Puts what `changed(row)` returns in the place of every row that is there, and draws those anew that are others then.
  change(changed) {
    for (const { rows } of this.windows.values()) rows?.forEach((row, i) => (rows[i] = changed(row)));
    this.render();
  }

  rowsBetween(first, last) {
    const found = [];
    for (let i = Math.min(first, last); i <= Math.max(first, last); i++) if (this.row(i)) found.push(this.row(i));
    return found;
  }

  measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const wide = this.element.clientWidth;
    this.view = this.element.clientHeight;
    this.columns = Math.max(1, Math.floor(wide / (this.size[0] * rem)));
    this.cellWidth = wide / this.columns;
    this.cellHeight = this.size[1] * rem;
    this.tall = Math.ceil(this.total / this.columns) * this.cellHeight;
    this.shownTall = Math.min(this.tall, TALLEST);
    this.inner.style.height = `${this.shownTall}px`;
  }

  // Where all rows are taller than a page may be, a small step scrolls by itself, and a jump in proportion.
  scrolled() {
    const now = this.element.scrollTop;
    const step = now - this.last;
    const end = Math.max(0, this.tall - this.view);
    this.last = now;
    if (this.tall === this.shownTall) this.top = now;
    else if (now <= 0) this.top = 0;
    else if (now >= this.shownTall - this.view - 1) this.top = end;
    else if (Math.abs(step) < 2 * this.view) this.top = Math.min(end, Math.max(0, this.top + step));
    else this.top = (now / (this.shownTall - this.view)) * end;
    this.soon();
  }

  soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.render();
    });
  }

  render() {
    this.measure();
    if (!this.view || !this.columns) return;
    const first = Math.max(0, Math.floor(this.top / this.cellHeight) - 1) * this.columns;
    const last = Math.min(this.total, (Math.ceil((this.top + this.view) / this.cellHeight) + 1) * this.columns);
    for (const [index, cell] of this.cells) {
      if (index < first || index >= last) {
        cell.remove();
        this.cells.delete(index);
      }
    }
    for (let index = first; index < last; index++) this.place(index);
    for (let window = Math.floor(first / WINDOW); last && window <= Math.floor((last - 1) / WINDOW); window++) this.need(window);
  }

  place(index) {
    let cell = this.cells.get(index);
    const row = this.row(index);
    if (cell && cell.row !== row) {
      cell.remove();
      cell = undefined;
    }
    if (!cell) {
      cell = make("div", { className: "card", role: "option", id: `card-${index}`, "aria-posinset": index + 1, "aria-setsize": this.total,
        onclick: (event) => this.row(index) && this.chosen(this.row(index), index, event) });
      cell.row = row;
      if (row) {
        cell.append(...this.draw(row));
        cell.setAttribute("aria-label", this.name(row));
      }
      this.cells.set(index, cell);
      this.inner.append(cell);
    }
    cell.setAttribute("aria-selected", row !== undefined && this.isSelected(row));
    cell.classList.toggle("focused", index === this.focused);
    const x = (index % this.columns) * this.cellWidth;
    const y = Math.floor(index / this.columns) * this.cellHeight - this.top + this.element.scrollTop;
    cell.style.transform = `translate(${x}px, ${y}px)`;
    cell.style.width = `${this.cellWidth}px`;
    cell.style.height = `${this.cellHeight}px`;
  }

  need(window) {
    if (this.windows.has(window)) return;
    const entry = { rows: undefined };
    this.windows.set(window, entry);
    if (this.windows.size > KEPT) this.windows.delete(this.windows.keys().next().value);
    const load = this.load;
    attempt(async () => {
      try {
        entry.rows = await load(window * WINDOW, WINDOW);
      } catch (error) {
        this.windows.delete(window);
        throw error;
      }
      if (load === this.load) this.render();
    });
  }

  goTo(index) {
    this.focused = Math.min(this.total - 1, Math.max(0, index));
    const y = Math.floor(this.focused / this.columns) * this.cellHeight;
    const wanted = Math.min(Math.max(this.top, y + this.cellHeight - this.view), y);
    if (wanted !== this.top) {
      const end = Math.max(1, this.tall - this.view);
      this.top = wanted;
      this.last = this.tall === this.shownTall ? wanted : (wanted / end) * (this.shownTall - this.view);
      this.element.scrollTop = this.last;
      this.last = this.element.scrollTop;
    }
    this.element.setAttribute("aria-activedescendant", `card-${this.focused}`);
    this.render();
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.view / this.cellHeight)) * this.columns;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page,
      Home: -this.total, End: this.total };
    if (event.key in steps) {
      const before = this.focused;
      this.goTo(this.focused + steps[event.key]);
      if (event.shiftKey && this.row(this.focused)) this.chosen(this.row(this.focused), this.focused, event, before);
    } else if ((event.key === "Enter" || event.key === " ") && this.row(this.focused)) {
      this.chosen(this.row(this.focused), this.focused, event);
    } else {
      return;
    }
    event.preventDefault();
  }
}
