// Search by rows, words and pictures that are brought: what is wanted, less what is not.

import { get, post, upload } from "./api.js";
import { content, name } from "./card.js";
import * as detail from "./detail.js";
import { attempt, make, number, say } from "./dom.js";

export const title = "Search";

function chip(page, term, again) {
  const sign = term.sign > 0 ? "+" : "−";
  const shown = term.row !== undefined
    ? [page.about.modality === "text" ? null : make("img", { src: `/thumb/${term.row}`, alt: "" }), make("span", { textContent: term.shown.id })]
    : term.picture !== undefined ? [make("img", { src: term.address, alt: "" }), make("span", { textContent: term.called })]
      : [make("span", { textContent: `“${term.text}”` })];
  return make("li", { className: "chip" },
    make("button", { textContent: sign, "aria-label": sign === "+" ? "wanted; press for: not wanted" : "not wanted; press for: wanted", onclick: () => {
      term.sign = -term.sign;
      again();
    } }),
    ...shown.filter(Boolean),
    make("button", { textContent: "✕", "aria-label": "Take away", onclick: () => {
      page.terms = page.terms.filter((each) => each !== term);
      again();
    } }));
}

function plain({ row, text, picture }) {
  return row !== undefined ? { row } : text !== undefined ? { text } : { picture };
}

export function open(page) {
  const chips = make("ul", { className: "chips", "aria-label": "What is asked with" });
  const found = make("div", { className: "found" });
  const told = make("p", { className: "told", id: "found-how" });
  let latest = 0;

  async function again() {
    chips.replaceChildren(...page.terms.map((term) => chip(page, term, again)));
    const own = ++latest;
    if (!page.terms.some((term) => term.sign > 0)) {
      found.replaceChildren(make("p", { className: "empty", textContent: invitation(page.about) }));
      told.textContent = "";
      return;
    }
    say("Searching …");
    const { sort: _, ...words } = page.words;
    const wanted = (sign) => page.terms.filter((term) => term.sign === sign).map(plain);
    const answer = await attempt(() => post("/api/search", { ...words, plus: wanted(1), minus: wanted(-1) }));
    if (answer === undefined || own !== latest) return;
    say(answer.warning ?? "");
    const embedded = answer.embed_ms >= 1 ? `embedded in ${Math.round(answer.embed_ms)} ms, ` : "";
    told.textContent = `${answer.rows.length} nearest of ${number(answer.searched)} rows by ${answer.metric}; ${answer.method}; ${embedded}searched in ${answer.search_ms} ms`;
    found.replaceChildren(...answer.rows.map((row, i) => make("button", { className: "card", "aria-label": name(row),
      onclick: () => {
        let at = i;
        detail.show(page, row.row, (by) => answer.rows[at + by] && answer.rows[at += by].row);
      } }, ...content(page, row))));
  }

  async function bring(blob) {
    say("Bringing the picture …");
    const answer = await attempt(() => upload("/api/picture", blob));
    if (answer === undefined) return;
    page.terms.push({ picture: answer.picture, sign: 1, address: URL.createObjectURL(blob), called: blob.name || "a picture" });
    again();
  }

  const words = make("input", { type: "search", placeholder: page.about.modality === "text" ? "a text" : "words, such as: a dog in the snow", "aria-label": "Words" });
  const asking = make("form", { className: "bar", onsubmit: (event) => {
    event.preventDefault();
    if (!words.value.trim()) return;
    page.terms.push({ text: words.value.trim(), sign: 1 });
    words.value = "";
    again();
  } });
  if (page.about.words) asking.append(words, make("button", { textContent: "Add" }));
  if (page.about.pictures) {
    const file = make("input", { type: "file", accept: "image/*", id: "bring", className: "away", onchange: () => file.files[0] && bring(file.files[0]) });
    asking.append(file, make("label", { className: "button", for: "bring", textContent: "Bring a picture" }),
      make("span", { className: "told", textContent: "or drop or paste one anywhere" }));
    const isHere = () => !section.hidden;
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      const given = event.dataTransfer.files[0];
      if (given) page.show("search");
      if (given) bring(given);
    });
    addEventListener("paste", (event) => {
      const given = [...event.clipboardData.files][0];
      if (isHere() && given) bring(given);
    });
  }
  const section = make("section", {}, asking, chips, told, found);
  page.addEventListener("terms", again);
  page.addEventListener("rows", () => page.terms.length && again());
  again();
  get("/api/search/ready").catch(() => {}); // nobody waits for it
  return section;
}

function invitation({ words, pictures, modality }) {
  const ways = [`open a ${modality} and choose “Like this”`];
  if (pictures) ways.push("drop or paste a picture");
  if (words) ways.push("type words");
  return `To search, ${ways.join(", or ")}. Each can be wanted (+) or not (−).`;
}
