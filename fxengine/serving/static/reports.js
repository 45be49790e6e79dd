// The pages that other commands wrote, each in a frame that may run nothing.

import { make } from "./dom.js";

export const title = "Reports";
export const unfiltered = true;

export function open(page) {
  const names = page.about.reports;
  if (!names.length) {
    return make("section", {}, make("p", { className: "empty", textContent:
      "No page was named. `fxengine probe STORE --report probe.html` writes one, `fxengine serve STORE --reports probe.html` shows it." }));
  }
  const frame = make("iframe", { className: "report", title: names[0], src: "/report/0" });
  const buttons = names.map((name, i) => make("button", { textContent: name, "aria-pressed": i === 0, onclick: () => {
    frame.src = `/report/${i}`;
    frame.title = name;
    buttons.forEach((each, at) => each.setAttribute("aria-pressed", at === i));
  } }));
  return make("section", {}, make("div", { className: "bar" }, ...buttons), frame);
}
