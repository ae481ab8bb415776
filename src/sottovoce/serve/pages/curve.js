// The loss curve: the mean of all clients, and faintly each of them.
import { MARGIN, bottomAxis, leftAxis, scale, table, ticks, wholeTicks } from "./chart.js";
import { say } from "./language.js";
import { draw } from "./node.js";
import { count, seconds, short } from "./numbers.js";

const MOST_LINES = 100;
const MOST_NAMED = 6;
const MOST_COLUMNS = 40;

const known = (value) => typeof value === "number";

function path(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}

function clientsOf(losses) {
  return [...new Set(losses.flatMap((one) => Object.keys(one.by_client ?? {})))].sort();
}

function tell(row, clients) {
  const head = say("lossAt", { round: row.round, loss: short(row.loss) });
  const own = clients.filter((name) => known(row.by_client?.[name]));
  if (!own.length) return head;
  if (own.length <= MOST_NAMED) {
    return [head, ...own.map((name) => `${name} ${short(row.by_client[name])}`)].join(" · ");
  }
  const values = own.map((name) => row.by_client[name]);
  const range = { low: short(Math.min(...values)), high: short(Math.max(...values)) };
  return `${head} · ${say("lossRange", { count: own.length, ...range })}`;
}

function asTable(losses, clients) {
  const named = clients.slice(0, MOST_COLUMNS);
  const heads = [["round"], ["meanLoss"], ["time"], ["tokens"], ...named];
  const rows = losses.map((one) => [
    String(one.round),
    short(one.loss),
    seconds(one.seconds),
    count(one.tokens),
    ...named.map((name) => short(one.by_client?.[name])),
  ]);
  return table(heads, rows);
}

/** What a chart needs to show losses. */
export function lossCurve(every) {
  const losses = every.filter((one) => known(one.loss));
  const clients = clientsOf(losses);
  const steps = losses.map((one) => one.round);
  const all = losses.flatMap((one) => [one.loss, ...Object.values(one.by_client ?? {}).filter(known)]);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;

  const paint = (width, height) => {
    const x = scale(steps[0], steps.at(-1), MARGIN.left, width - MARGIN.right);
    const y = scale(low - room, high + room, height - MARGIN.bottom, MARGIN.top);
    const line = (value, kind) => {
      const points = losses.filter((one) => known(value(one))).map((one) => [x(one.round), y(value(one))]);
      return draw("path", { class: kind, d: path(points) });
    };
    const dot = (round, value, kind) => draw("circle", { class: kind, cx: x(round), cy: y(value), r: 4 });
    const marks = [
      ...leftAxis(ticks(low - room, high + room, 5), y, width, short),
      ...bottomAxis(wholeTicks(steps[0], steps.at(-1), Math.min(10, width / 70)), x, height),
      ...clients.slice(0, MOST_LINES).map((name) => line((one) => one.by_client?.[name], "faint")),
      line((one) => one.loss, "mean"),
    ];
    const cursor = (index) => {
      const row = losses[index];
      const at = x(row.round);
      return [
        draw("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }),
        ...clients
          .slice(0, MOST_LINES)
          .filter((name) => known(row.by_client?.[name]))
          .map((name) => dot(row.round, row.by_client[name], "faint")),
        dot(row.round, row.loss, "mean"),
      ];
    };
    return { marks, x, cursor };
  };
  return {
    steps,
    paint,
    tell: (index) => tell(losses[index], clients),
    table: () => asTable(losses, clients),
  };
}
