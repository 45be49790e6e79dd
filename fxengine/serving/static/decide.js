// What is there more than once, and labels that may be wrong: decided here, done by `fxengine apply`.

import { get, post } from "./api.js";
import { content, name } from "./card.js";
import * as detail from "./detail.js";
import { attempt, make, number, say } from "./dom.js";

export const title = "Decide";
export const unfiltered = true;

const ABOUT = {
  duplicates: {
    about: "duplicate", path: "/api/duplicates", title: "Duplicates", count: 20,
    keys: { k: ["keep", "Keep (K)"], d: ["drop", "Drop (D)"], x: ["different", "Different (X)"] },
    told: (found) => `${number(found.total)} groups to decide on, ${number(found.redundant)} ${found.redundant === 1 ? "row" : "rows"} more than needed`,
  },
  suspects: {
    about: "label", path: "/api/suspects", title: "Likely wrong labels", count: 60,
    keys: { a: ["accept", "Accept (A)"], k: ["keep", "Keep (K)"], s: ["skip", "Skip (S)"] },
    told: (found) => `${number(found.likely)} labels likely wrong, ${number(found.total - found.likely)} more that differ from the answer`,
  },
};

function facts(row) {
  if (row.suggestion !== undefined) return `${row.label} → ${row.suggestion} ${Math.round(100 * row.probability)}%`;
  const said = row.kind === null ? [row.kept_for ? `best: ${row.kept_for}` : "best"] : [row.kind, row.transform, row.likeness.toFixed(2)];
  return [...said, row.width ? `${row.width} × ${row.height}` : null].filter(Boolean).join(" · ");
}

class Deciding {
  constructor(page) {
    this.page = page;
    this.tabs = make("div", { className: "bar", role: "group", "aria-label": "What is decided on" }, ...Object.entries(ABOUT).map(([key, each]) =>
      make("button", { textContent: each.title, onclick: () => this.open(key) })));
    this.told = make("p", { className: "told", role: "status" });
    this.file = make("p", { className: "told" });
    this.list = make("div", { className: "decided", onkeydown: (event) => this.pressed(event) });
    this.best = make("button", { textContent: "Keep the best of every group", onclick: () => this.send("/api/decide/best", {}) });
    const bar = make("div", { className: "bar slim" }, make("button", { textContent: "Undo (U)", onclick: () => this.undo() }), this.best, this.told);
    this.element = make("section", { onkeydown: (event) => event.key === "u" && this.undo() }, this.tabs, bar, this.file, this.list);
    this.open("duplicates");
  }

  open(kind) {
    this.kind = ABOUT[kind];
    this.best.hidden = kind !== "duplicates";
    [...this.tabs.children].forEach((button, i) => button.setAttribute("aria-pressed", Object.keys(ABOUT)[i] === kind));
    this.list.replaceChildren();
    this.told.textContent = "";
    say("Looking through all rows; the first time takes a while …");
    this.load();
  }

  // Shows what is left, and puts the focus on the `at`th card.
  async load(at = 0) {
    const { kind } = this;
    const found = await attempt(() => get(kind.path, { count: kind.count }));
    if (found === undefined || kind !== this.kind) return;
    say(found.damaged ? `${number(found.damaged)} lines of the journal cannot be read, and are left out.` : "");
    this.show(found, kind.told(found));
    this.rows = new Map();
    const groups = found.groups ?? (found.rows.length ? [found.rows] : []);
    this.list.replaceChildren(...groups.map((rows) => this.group(rows)));
    if (!groups.length) this.list.append(make("p", { className: "empty", textContent: "Nothing is left to decide on." }));
    if (at) this.focus(at);
  }

  show(state, told) {
    this.told.textContent = told;
    this.file.textContent = state.decided
      ? `${number(state.decided)} decisions in ${state.file}: "fxengine apply ${this.page.about.store} ${state.file} --move FOLDER" does what was decided` : "";
  }

  group(rows) {
    return make("div", { className: "group", role: "group", "aria-label": `${rows.length} rows` }, ...rows.map((row) => this.card(row, rows)));
  }

  card(row, rows) {
    const opened = make("button", { className: "card", "aria-label": `${facts(row)}, ${row.decision ?? "not decided"}, ${name(row)}`,
      onclick: () => detail.show(this.page, row.row) }, ...content(this.page, row), make("div", { className: "caption", textContent: facts(row), title: facts(row) }));
    const choices = Object.values(this.kind.keys).filter(([decision]) => decision !== "different" || row.of !== null).map(([decision, textContent]) =>
      make("button", { textContent, "aria-pressed": row.decision === decision, onclick: () => this.decide(row, rows, decision) }));
    const shown = make("div", { className: `choice ${row.decision ?? ""}` }, opened, make("div", { className: "choices" }, ...choices));
    this.rows.set(shown, [row, rows]);
    return shown;
  }

  cards() {
    return [...this.list.querySelectorAll(".choice")];
  }

  focus(at) {
    const cards = this.cards();
    cards[Math.min(at, cards.length - 1)]?.querySelector(".card").focus();
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = event.target.closest(".choice");
    if (!shown) return;
    const at = this.cards().indexOf(shown);
    const [row, rows] = this.rows.get(shown);
    if (event.key in this.kind.keys) {
      const [decision] = this.kind.keys[event.key];
      if (decision !== "different" || row.of !== null) this.decide(row, rows, decision);
    } else if (event.key === "ArrowRight") this.focus(at + 1);
    else if (event.key === "ArrowLeft") this.focus(Math.max(0, at - 1));
    else return;
    event.preventDefault();
  }

  decide(row, rows, decision) {
    const choice = { row: row.row, decision };
    if (this.kind.about === "label") {
      choice.label = row.suggestion;
    } else {
      // The best one of a group is compared with none: where it goes, another one stays.
      const others = rows.filter((each) => each !== row && each.decision !== "drop");
      choice.of = row.of ?? others[0]?.row ?? null;
      if (decision === "drop" && !others.length) {
        say("One of a group stays: keep another one first.");
        return;
      }
    }
    this.send("/api/decide", { about: this.kind.about, choices: [choice] }, this.cards().findIndex((each) => this.rows.get(each)[0] === row) + 1);
  }

  async send(path, data, at = 0) {
    const before = this.cards().length;
    const state = await attempt(() => post(path, data));
    if (state === undefined) return;
    await this.load();
    // Cards that went were before the next one, or it stands where it stood.
    this.focus(Math.max(0, at - Math.max(0, before - this.cards().length)));
  }

  async undo() {
    const state = await attempt(() => post("/api/decide/undo", {}));
    if (state === undefined) return;
    await this.load();
    say(state.undone.length ? `Taken back: ${number(state.undone.length)} decisions.` : "Nothing is left to take back.");
  }
}

export function open(page) {
  return new Deciding(page).element;
}
