// The filters that every view keeps to, and the order of the gallery.

import { make, number } from "./dom.js";

function choice(page, name, said, values) {
  const select = make("select", { id: `filter-${name}`, onchange: () => page.filter({ [name]: select.value }) },
    make("option", { value: "", textContent: "all" }),
    ...values.map((each) => make("option", { value: each.name, textContent: each.rows === undefined ? each.name : `${each.name} (${number(each.rows)})` })));
  return field(said, select);
}

function line(page, name, said, placeholder) {
  const input = make("input", { id: `filter-${name}`, type: "search", placeholder, spellcheck: false,
    onchange: () => page.filter({ [name]: input.value.trim() }) });
  return field(said, input);
}

function field(said, control) {
  return make("label", { className: "field", for: control.id }, make("span", { textContent: said }), control);
}

function sorting(page) {
  const orders = { "": "id", outlier: "most unlike all others" };
  if (page.about.head?.predicts === "classes") Object.assign(orders, { doubt: "most doubtful", probability: "most probable" });
  const select = make("select", { id: "filter-sort", onchange: () => page.filter({ sort: select.value }) },
    ...Object.entries(orders).map(([value, textContent]) => make("option", { value, textContent })));
  return field("Order", select);
}

export function filters(page) {
  const { about } = page;
  const picked = make("button", { hidden: true, onclick: () => page.filter({ picked: "" }) });
  const bar = make("form", { className: "bar", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    about.labels.length ? choice(page, "label", "Label", about.labels) : null,
    about.splits.length ? choice(page, "split", "Split", about.splits) : null,
    about.head?.predicts === "classes" ? choice(page, "answer", "Answer", about.head.classes.map((name) => ({ name }))) : null,
    line(page, "text", about.modality === "text" ? "Id or text" : "Id", "holds …"),
    line(page, "where", "Where", about.modality === "text" ? "label is None" : "width > 500"),
    sorting(page),
    picked,
    make("button", { type: "reset", textContent: "Clear", onclick: () => page.filter(
      { label: "", split: "", answer: "", text: "", where: "", sort: "", picked: "" }) }));
  page.addEventListener("rows", () => {
    picked.hidden = !page.words.picked;
    picked.textContent = `${number(page.pickedRows ?? 0)} picked ✕`;
    for (const control of bar.querySelectorAll("select, input")) control.value = page.words[control.id.slice(7)] ?? "";
  });
  return bar;
}
