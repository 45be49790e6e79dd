// The page: its views, and what they share.

import { get } from "./api.js";
import * as decide from "./decide.js";
import { attempt, make, number, say } from "./dom.js";
import { filters } from "./filters.js";
import * as gallery from "./gallery.js";
import * as label from "./label.js";
import * as map from "./map.js";
import * as reports from "./reports.js";
import * as search from "./search.js";

// A view is a module with `title`, `open(page)`, which returns its element, and, where they are so, `sorted`
// (it has the order asked for), `unfiltered` and `shown(page)`, which is told when it is seen.
const VIEWS = { gallery, search, map, label, decide, reports };

// What views share. Events: "rows" (the filters, or the order, have changed), "selection" (the rows that are selected),
// "terms" (what is searched by).
class Page extends EventTarget {
  constructor(about) {
    super();
    this.about = about;
    this.words = {};
    this.selection = new Set();
    this.terms = [];
    this.elements = {};
  }

  // Sets words of the filters ("" takes one away), which every question about rows is asked with.
  filter(words) {
    Object.assign(this.words, words);
    this.dispatchEvent(new Event("rows"));
  }

  select(rows) {
    this.selection = new Set(rows);
    this.dispatchEvent(new Event("selection"));
  }

  // Searches by one more thing, `sign` 1 wanted and -1 not, or by nothing else where it is `fresh`.
  ask(term, sign, fresh) {
    this.terms = [...(fresh ? [] : this.terms), { ...term, sign }];
    this.dispatchEvent(new Event("terms"));
    this.show("search");
  }

  show(name) {
    location.hash = name;
  }
}

function route(page) {
  const wanted = location.hash.slice(1);
  const name = wanted in VIEWS ? wanted : Object.keys(VIEWS)[0];
  const main = document.getElementById("main");
  if (!(name in page.elements)) {
    page.elements[name] = VIEWS[name].open(page);
    main.append(page.elements[name]);
  }
  for (const [each, element] of Object.entries(page.elements)) element.hidden = each !== name;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("filters").hidden = VIEWS[name].unfiltered ?? false;
  document.getElementById("filter-sort").parentElement.hidden = !VIEWS[name].sorted;
  say("");
  VIEWS[name].shown?.(page);
}

async function start() {
  const about = await attempt(() => get("/api/about"));
  if (about === undefined) return;
  const page = new Page(about);
  const name = about.store.split("/").filter(Boolean).pop();
  document.body.classList.add(about.modality);
  document.title = `${name} – fxengine`;
  document.getElementById("store").textContent = name;
  const failed = about.rows - about.vectors;
  const facts =
    `${number(about.rows)} ${about.modality}s${failed ? `, ${number(failed)} failed` : ""}, ${about.dim} numbers by ${about.source}`;
  document.getElementById("facts").textContent = document.getElementById("store").title = facts;
  const links = Object.entries(VIEWS).map(([key, view]) => make("a", { href: `#${key}`, textContent: view.title }));
  document.getElementById("views").append(...links);
  document.getElementById("filters").append(filters(page));
  addEventListener("hashchange", () => route(page));
  route(page);
}

start();
