// All rows on a plane: like ones lie together. A loop drawn around points picks their rows.

import { get, post } from "./api.js";
import { content } from "./card.js";
import * as detail from "./detail.js";
import { attempt, make, number, say } from "./dom.js";
import { drawer } from "./points.js";

export const title = "Map";

const NAMED = ["#4c78c8", "#e0823d", "#3f9e6a", "#c8504f", "#8d68bd", "#9a7156", "#d677b3", "#a3a53a", "#37a6bb", "#6b7fa3", "#d9a93a", "#6fae4f"];
const OTHERS = [140, 144, 150];
const RAMP = [[68, 60, 150], [48, 110, 160], [40, 150, 140], [100, 190, 90], [240, 200, 60]];

const SCORES = ["outlier", "probability", "doubt"];

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// A header in JSON and the arrays behind it, as the server packs them.
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  return [JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), 4 + length];
}

function ramp(share) {
  const at = Math.min(RAMP.length - 1.001, Math.max(0, share * (RAMP.length - 1)));
  const [low, high] = [RAMP[Math.floor(at)], RAMP[Math.floor(at) + 1]];
  return low.map((value, i) => value + (high[i] - value) * (at % 1));
}

class PointMap {
  constructor(page) {
    this.page = page;
    this.view = { x: 0, y: 0, scale: 1, size: 5 };
    this.canvas = make("canvas", { className: "points", "aria-hidden": "true" });
    this.over = make("canvas", { className: "over", tabIndex: 0, role: "application",
      "aria-label": "Map of all rows. Arrows move it, plus and minus zoom, 0 shows all. The legend filters without a pointer." });
    this.drawer = drawer(this.canvas);
    this.hint = make("div", { className: "hint", hidden: true });
    this.legend = make("div", { className: "legend" });
    this.told = make("p", { className: "told" });
    this.stage = make("div", { className: "stage" }, this.canvas, this.over, this.hint, this.legend);
    this.tool = "move";
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  async load(method) {
    say("Laying all rows out …");
    const buffer = await attempt(() => get("/api/map/places", { method }));
    if (buffer === undefined) return;
    const [header, at] = unpacked(buffer);
    this.method = method;
    this.count = header.points;
    this.rows = new Float64Array(buffer, at, header.points);
    this.places = new Float32Array(buffer, at + 8 * header.points, 2 * header.points);
    this.drawer.set(this.places);
    const sample = header.points < header.rows ? `a sample of ${number(header.points)} of ${number(header.rows)} points is drawn; a loop picks all` : `${number(header.points)} points`;
    const share = header.explained === null ? "" : `, ${Math.round(100 * header.explained)}% of the variance`;
    const slow = this.drawer.how === "WebGL" ? "" : "; this browser has no WebGL, so they are drawn by the 2D canvas, more slowly";
    this.told.textContent = `${sample}${share}${slow}`;
    say("");
    this.index();
    this.fit();
    await this.colour(this.by ?? "label");
  }

  async colour(by) {
    if (["outlier", "cluster"].includes(by)) say("Looking at every row …");
    const buffer = await attempt(() => get("/api/map/colours", { by }));
    if (buffer === undefined) return;
    const [header, at] = unpacked(buffer);
    this.by = by;
    this.names = header.names;
    this.isScore = SCORES.includes(by);
    this.values = new Float32Array(buffer, at, this.count);
    say("");
    this.drawLegend();
    await this.keep();
  }

  // Which points the filters leave: the others are drawn faintly.
  async keep() {
    if (!this.rows) return;
    const { sort: _, ...words } = this.page.words;
    const buffer = await attempt(() => get("/api/map/kept", words));
    if (buffer === undefined) return;
    const [, at] = unpacked(buffer);
    this.kept = new Uint8Array(buffer, at, this.count);
    this.paint();
  }

  paint() {
    const colours = new Uint8Array(4 * this.count);
    const [low, high] = this.range();
    const all = this.kept.every(Boolean);
    for (let i = 0; i < this.count; i++) {
      const value = this.values[i];
      const shade = this.isScore ? ramp((value - low) / (high - low || 1))
        : value >= 0 && value < NAMED.length ? this.palette[value] : OTHERS;
      colours.set(shade, 4 * i);
      colours[4 * i + 3] = this.kept[i] ? (all ? 190 : 235) : 22;
    }
    this.drawer.paint(colours);
    this.draw();
  }

  palette = NAMED.map(rgb);

  drawLegend() {
    const entries = this.names.slice(0, NAMED.length).map((name, i) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = NAMED[i];
      const filtered = { label: "label", answer: "answer" }[this.by];
      return filtered ? make("button", { onclick: () => this.page.filter({ [filtered]: this.page.words[filtered] === name ? "" : name }) }, swatch, name)
        : make("span", {}, swatch, name);
    });
    if (this.names.length > NAMED.length) entries.push(make("span", { textContent: `and ${number(this.names.length - NAMED.length)} more, grey` }));
    if (this.isScore) {
      const bar = make("span", { className: "ramp" });
      bar.style.background = `linear-gradient(to right, ${RAMP.map((each) => `rgb(${each})`).join(", ")})`;
      const [low, high] = this.range();
      entries.push(make("span", {}, low.toFixed(2), bar, high.toFixed(2)));
    }
    if (!entries.length) entries.push(make("span", { textContent: "No row has a label." }));
    this.legend.replaceChildren(...entries);
  }

  range() {
    return this.values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  }

  // A raster of the points, so that the nearest one is found without looking at all.
  index() {
    const [xs, ys] = [0, 1].map((axis) => this.places.filter((_, i) => i % 2 === axis));
    const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
    this.box = [least(xs), least(ys), most(xs), most(ys)];
    this.side = Math.max(1, Math.ceil(Math.sqrt(this.count / 4)));
    this.raster = {};
    for (let i = 0; i < this.count; i++) (this.raster[this.cell(this.places[2 * i], this.places[2 * i + 1])] ??= []).push(i);
  }

  column(x) {
    const [left, , right] = this.box;
    return Math.min(this.side - 1, Math.max(0, Math.floor(((x - left) / (right - left || 1)) * this.side)));
  }

  line(y) {
    const [, bottom, , top] = this.box;
    return Math.min(this.side - 1, Math.max(0, Math.floor(((y - bottom) / (top - bottom || 1)) * this.side)));
  }

  cell(x, y) {
    return this.line(y) * this.side + this.column(x);
  }

  // The point nearest to a place of the screen, within some pixels; undefined where there is none.
  nearest([px, py], within = 10) {
    const [x, y] = this.unit([px, py]);
    const reach = (within * devicePixelRatio) / this.view.scale;
    let [best, found] = [reach ** 2, undefined];
    for (let line = this.line(y - reach); line <= this.line(y + reach); line++) {
      for (let column = this.column(x - reach); column <= this.column(x + reach); column++) {
        for (const i of this.raster[line * this.side + column] ?? []) {
          const away = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
          if (away < best && this.kept?.[i]) [best, found] = [away, i];
        }
      }
    }
    return found;
  }

  unit([px, py]) {
    const { x, y, scale } = this.view;
    return [x + (px * devicePixelRatio - this.canvas.width / 2) / scale, y - (py * devicePixelRatio - this.canvas.height / 2) / scale];
  }

  fit() {
    const [left, bottom, right, top] = this.box;
    const room = 0.92;
    this.view.x = (left + right) / 2;
    this.view.y = (bottom + top) / 2;
    this.view.scale = room * Math.min(this.canvas.width / (right - left || 1), this.canvas.height / (top - bottom || 1));
    this.least = this.view.scale / 4;
    this.draw();
  }

  zoom(by, [px, py] = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    const before = this.unit([px, py]);
    this.view.scale = Math.min(this.least * 4000, Math.max(this.least, this.view.scale * by));
    const after = this.unit([px, py]);
    this.view.x += before[0] - after[0];
    this.view.y += before[1] - after[1];
    this.draw();
  }

  move(dx, dy) {
    this.view.x -= (dx * devicePixelRatio) / this.view.scale;
    this.view.y += (dy * devicePixelRatio) / this.view.scale;
    this.draw();
  }

  resize() {
    const [wide, tall] = [this.stage.clientWidth, this.stage.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (!wide || !tall) return;
    for (const canvas of [this.canvas, this.over]) Object.assign(canvas, { width: wide, height: tall });
    const side = Math.min(wide, tall);
    if (this.shortest) this.view.scale *= side / this.shortest;
    const isFirst = !this.shortest;
    this.shortest = side;
    if (this.places) isFirst ? this.fit() : this.draw();
  }

  draw() {
    if (!this.values) return;
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      const zoomed = Math.log2(this.view.scale / (4 * this.least));
      const usual = this.count > 20_000 ? 3 : this.count > 2000 ? 5 : 7;
      this.view.size = Math.max(2, Math.min(16, usual + zoomed)) * devicePixelRatio;
      this.drawer.draw(this.view);
    });
  }

  listen() {
    const { over } = this;
    const at = (event) => [event.offsetX, event.offsetY];
    over.onpointerdown = (event) => {
      over.setPointerCapture(event.pointerId);
      this.from = at(event);
      this.loop = (this.tool === "loop") !== event.shiftKey ? [at(event)] : undefined;
      this.hasMoved = false;
    };
    over.onpointermove = (event) => {
      if (!this.rows) return;
      if (!this.from) return this.hover(at(event));
      const [x, y] = at(event);
      this.hasMoved ||= Math.hypot(x - this.from[0], y - this.from[1]) > 3;
      if (this.loop) {
        this.loop.push([x, y]);
        this.drawLoop();
      } else if (this.hasMoved) {
        this.move(event.movementX, event.movementY);
      }
    };
    over.onpointerup = (event) => {
      const point = this.hasMoved || !this.rows ? undefined : this.nearest(at(event));
      if (this.loop?.length > 3) this.pick();
      else if (point !== undefined) detail.show(this.page, this.rows[point]);
      this.from = this.loop = undefined;
      this.drawLoop();
    };
    over.onpointerleave = () => {
      this.hint.hidden = true;
    };
    over.onwheel = (event) => {
      event.preventDefault();
      if (this.rows) this.zoom(Math.exp(-event.deltaY / 400), at(event));
    };
    over.onkeydown = (event) => {
      const moves = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
      if (event.key in moves) this.move(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.4);
      else if (event.key === "-") this.zoom(1 / 1.4);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    };
  }

  drawLoop() {
    const context = this.over.getContext("2d");
    context.clearRect(0, 0, this.over.width, this.over.height);
    if (!this.loop) return;
    context.strokeStyle = context.fillStyle = getComputedStyle(this.over).color;
    context.lineWidth = 1.5 * devicePixelRatio;
    context.beginPath();
    for (const [x, y] of this.loop) context.lineTo(x * devicePixelRatio, y * devicePixelRatio);
    context.stroke();
    context.globalAlpha = 0.08;
    context.fill();
    context.globalAlpha = 1;
  }

  async pick() {
    const every = Math.ceil(this.loop.length / 500);
    const corners = this.loop.filter((_, i) => i % every === 0).flatMap((corner) => this.unit(corner));
    const { sort: _, ...words } = this.page.words;
    const found = await attempt(() => post("/api/map/lasso", { ...words, corners, method: this.method }));
    if (found === undefined) return;
    if (!found.rows) return say("No point lies within the loop.");
    this.page.pickedRows = found.rows;
    this.page.filter({ picked: found.picked });
    say(`${number(found.rows)} rows picked: the gallery shows them.`);
  }

  async hover(place) {
    const point = this.nearest(place);
    this.hint.hidden = point === undefined;
    if (point === undefined || point === this.hovered) return;
    this.hovered = point;
    const row = await attempt(() => get(`/api/card/${this.rows[point]}`));
    if (row === undefined || this.hovered !== point) return;
    this.hint.replaceChildren(...content(this.page, row));
    const [x, y] = place;
    const right = x > this.stage.clientWidth / 2;
    const low = y > this.stage.clientHeight / 2;
    Object.assign(this.hint.style, { left: right ? "auto" : `${x + 16}px`, right: right ? `${this.stage.clientWidth - x + 16}px` : "auto",
      top: low ? "auto" : `${y + 16}px`, bottom: low ? `${this.stage.clientHeight - y + 16}px` : "auto" });
  }
}

export function open(page) {
  const map = new PointMap(page);
  const classes = page.about.head?.predicts === "classes" ? ["answer", "probability", "doubt"] : [];
  const by = make("select", { onchange: () => map.colour(by.value) }, ...["label", "cluster", "outlier", ...classes].map((value) => make("option", { value, textContent: value })));
  const method = make("select", { onchange: () => map.load(method.value) }, make("option", { value: "pca", textContent: "PCA" }), make("option", { value: "umap", textContent: "UMAP" }));
  const tool = make("button", { textContent: "Loop", title: "Draw a loop around points; or hold Shift", "aria-pressed": "false", onclick: () => {
    map.tool = map.tool === "loop" ? "move" : "loop";
    tool.setAttribute("aria-pressed", map.tool === "loop");
    map.over.classList.toggle("looping", map.tool === "loop");
  } });
  page.addEventListener("rows", () => map.keep());
  map.load("pca");
  return make("section", {}, make("div", { className: "bar" },
    make("label", { className: "field" }, make("span", { textContent: "Colour" }), by),
    make("label", { className: "field" }, make("span", { textContent: "Layout" }), method),
    tool, make("button", { textContent: "Show all", onclick: () => map.fit() }), map.told), map.stage);
}
