// What every chart has: a drawing that fits its place, a step that is pointed at or chosen with the
// arrow keys, its numbers in words, and all numbers as a table.
import { label, word } from "./language.js";
import { draw, make } from "./node.js";

export const MARGIN = { top: 10, right: 14, bottom: 26, left: 52 };

/** About so many round numbers between two ends. */
export function ticks(low, high, wanted = 4) {
  if (!(high > low)) return [low];
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

/** Whole numbers from low to high, at most about so many. */
export function wholeTicks(low, high, wanted) {
  return [...new Set(ticks(low, high, wanted).map(Math.round))].filter((one) => one <= high);
}

/** From a range of numbers to a range of pixels. */
export function scale(low, high, from, to) {
  const span = high > low ? high - low : 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** The axis on the left, with a line across for each number. */
export function leftAxis(values, y, width, told) {
  return values.map((value) =>
    draw(
      "g",
      { class: "axis" },
      draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      draw("text", { x: MARGIN.left - 8, y: y(value), dy: "0.35em", "text-anchor": "end" }, told(value)),
    ),
  );
}

/** The numbers below. */
export function bottomAxis(values, x, height) {
  return values.map((value) =>
    draw(
      "g",
      { class: "axis" },
      draw("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, String(value)),
    ),
  );
}

/**
 * A table; the first cell of each row is its head.
 *
 * heads: text names with their values, or strings that are shown as they are.
 */
export function table(heads, rows) {
  const head = (one) => {
    const cell = make("th", { scope: "col" });
    return Array.isArray(one) ? word(cell, ...one) : make("th", { scope: "col" }, one);
  };
  const row = ([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...rest.map((one) => make("td", {}, one)));
  return make(
    "div",
    { class: "scroll", tabindex: "0" },
    make("table", {}, make("thead", {}, make("tr", {}, heads.map(head))), make("tbody", {}, rows.map(row))),
  );
}

/** A chart over steps. It stays the same element while its numbers change. */
export class Chart {
  /** name: of the text that says what it shows; height: in pixels. */
  constructor(name, height) {
    this.height = height;
    this.data = null;
    this.index = null; // Null is the newest, so that a chart that grows goes with it.
    this.drawing = draw("svg", { "aria-hidden": "true", height });
    this.area = make("div", { class: "plot", role: "slider", tabindex: "0" }, this.drawing);
    label(this.area, name);
    this.told = make("p", { class: "told", "aria-hidden": "true" });
    this.rows = make("div");
    const summary = word(make("summary"), "asTable");
    this.node = make("div", { class: "chart" }, this.area, this.told, make("details", {}, summary, this.rows));
    this.area.addEventListener("pointermove", (event) => this.#point(event));
    this.area.addEventListener("pointerdown", (event) => this.#point(event));
    this.area.addEventListener("keydown", (event) => this.#move(event));
    new ResizeObserver(() => this.#draw()).observe(this.area);
  }

  /**
   * Show numbers.
   *
   * data.steps: places on the axis below, ascending; at least one.
   * data.paint: from width and height to { marks, x, cursor }: what is drawn, the place of a step,
   *   and what is drawn over the step that is chosen.
   * data.tell: from a step's index to words.
   * data.table: makes the table.
   */
  update(data) {
    this.data = data;
    if (this.index !== null && this.index >= data.steps.length) this.index = null;
    this.rows.replaceChildren(data.table());
    this.#draw();
  }

  get #chosen() {
    return this.index ?? this.data.steps.length - 1;
  }

  #draw() {
    const width = this.area.clientWidth;
    if (this.data === null || width === 0) return;
    this.drawing.setAttribute("width", width);
    this.painted = this.data.paint(width, this.height);
    this.over = draw("g");
    this.drawing.replaceChildren(...this.painted.marks, this.over);
    this.#choose(this.index);
  }

  #choose(index) {
    this.index = index;
    const chosen = this.#chosen;
    const { steps } = this.data;
    const words = this.data.tell(chosen);
    this.over.replaceChildren(...this.painted.cursor(chosen));
    this.told.textContent = words;
    const values = { min: steps[0], max: steps.at(-1), now: steps[chosen], text: words };
    for (const [name, value] of Object.entries(values)) {
      this.area.setAttribute(`aria-value${name}`, String(value));
    }
  }

  #point(event) {
    if (this.data === null) return;
    const at = event.clientX - this.drawing.getBoundingClientRect().left;
    const far = this.data.steps.map((step) => Math.abs(this.painted.x(step) - at));
    this.#choose(far.indexOf(Math.min(...far)));
  }

  #move(event) {
    if (this.data === null) return;
    const last = this.data.steps.length - 1;
    const to = {
      ArrowLeft: Math.max(0, this.#chosen - 1),
      ArrowDown: Math.max(0, this.#chosen - 1),
      ArrowRight: Math.min(last, this.#chosen + 1),
      ArrowUp: Math.min(last, this.#chosen + 1),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(to);
  }
}
