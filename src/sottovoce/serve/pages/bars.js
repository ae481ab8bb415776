// Bars of parts over rounds: how long each stage took, and how much was sent.
import { MARGIN, bottomAxis, leftAxis, scale, table, ticks, wholeTicks } from "./chart.js";
import { say } from "./language.js";
import { draw } from "./node.js";

const SHADES = 5;

/** The class that colours a part; from the first to the last they grow fainter. */
export const shade = (index) => `shade-${Math.min(index, SHADES - 1)}`;

/**
 * What a chart needs to show bars.
 *
 * rows: [{ round, parts: { name: value } }], at least one; rounds count from one.
 * names: of the parts, from below upwards.
 * told: from a value to words.
 * title: from a part's name to what it is called.
 */
export function bars(rows, names, told, title = (name) => name) {
  const steps = rows.map((one) => one.round);
  const sums = rows.map((one) => names.reduce((sum, name) => sum + (one.parts[name] ?? 0), 0));
  const high = Math.max(...sums, 0) || 1;

  const paint = (width, height) => {
    const slot = (width - MARGIN.left - MARGIN.right) / (steps.at(-1) - steps[0] + 1);
    const thick = Math.max(1, Math.min(28, slot * 0.7));
    const x = scale(steps[0] - 0.5, steps.at(-1) + 0.5, MARGIN.left, width - MARGIN.right);
    const y = scale(0, high, height - MARGIN.bottom, MARGIN.top);
    const bar = (one) => {
      let below = 0;
      return names.map((name, index) => {
        const value = one.parts[name] ?? 0;
        const [from, to] = [y(below), y(below + value)];
        below += value;
        const box = { x: x(one.round) - thick / 2, y: to, width: thick, height: from - to };
        return draw("rect", { class: shade(index), ...box });
      });
    };
    const marks = [
      ...leftAxis(ticks(0, high, 3), y, width, told),
      ...bottomAxis(wholeTicks(steps[0], steps.at(-1), Math.min(10, width / 70)), x, height),
      ...rows.flatMap(bar),
    ];
    const cursor = (index) => {
      const size = { width: thick + 6, height: height - MARGIN.bottom - y(sums[index]) + 3 };
      return [
        draw("rect", { class: "chosen", x: x(steps[index]) - thick / 2 - 3, y: y(sums[index]) - 3, ...size }),
      ];
    };
    return { marks, x, cursor };
  };
  const tell = (index) => {
    const { round, parts } = rows[index];
    const own = names.filter((name) => parts[name] !== undefined);
    const words = own.map((name) => `${title(name)} ${told(parts[name])}`.trim());
    return [say("roundNumber", { round }), ...words].join(" · ");
  };
  const asTable = () =>
    table(
      [["round"], ...names.map((name) => title(name) || say("amount"))],
      rows.map((one) => [
        String(one.round),
        ...names.map((name) => (one.parts[name] === undefined ? "–" : told(one.parts[name]))),
      ]),
    );
  return { steps, paint, tell, table: asTable };
}
