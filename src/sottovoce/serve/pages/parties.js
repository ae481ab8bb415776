// Who took part: a grid of clients and rounds, or counts where there are too many clients for one.
import { table } from "./chart.js";
import { label, say, word } from "./language.js";
import { draw, make } from "./node.js";
import { count } from "./numbers.js";

const MOST_ROWS = 40;

function grid(clients, history) {
  const size = Math.max(5, Math.min(16, Math.floor(640 / history.length)));
  const names = make("div", { class: "names" }, clients.map((name) => make("span", { title: name }, name)));
  const width = history.length * size;
  const square = { width: size - 2, height: 14, rx: 2 };
  const cells = clients.flatMap((name, row) =>
    history.map((one, column) => {
      const kind = one.failed.includes(name) ? "failed" : one.clients.includes(name) ? "took" : "not";
      return draw("rect", { class: kind, x: column * size + 1, y: row * 20 + 3, ...square });
    }),
  );
  const every = Math.ceil(28 / size);
  const numbers = history
    .map((one, column) => [column, one.round + 1])
    .filter(([column]) => column % every === 0)
    .map(([column, round]) =>
      draw("text", { x: column * size + size / 2, y: clients.length * 20 + 14, "text-anchor": "middle" }, String(round)),
    );
  const shape = { width: Math.max(width, 20), height: clients.length * 20 + 20, role: "img" };
  const picture = label(draw("svg", shape, ...cells, ...numbers), "whoGrid");
  return make("div", { class: "grid" }, names, make("div", { class: "scroll", tabindex: "0" }, picture));
}

function legend() {
  const entry = (kind, name) =>
    make("span", {}, make("i", { class: kind }), word(make("span"), name));
  return make("p", { class: "legend" }, entry("took", "tookPart"), entry("failed", "didFail"), entry("not", "notAsked"));
}

/** What stands in the section; participation and history as the server tells them. */
export function parties(participation, history) {
  const rows = participation.map((one) => [one.client, count(one.rounds), count(one.failed)]);
  const counts = table([["client"], ["roundsTaken"], ["roundsFailed"]], rows);
  if (participation.length <= MOST_ROWS && history.length) {
    const clients = participation.map((one) => one.client);
    const fold = make("details", {}, word(make("summary"), "asTable"), counts);
    return [legend(), grid(clients, history), fold];
  }
  const times = participation.map((one) => one.rounds);
  const values = {
    clients: count(participation.length),
    low: count(Math.min(...times, Infinity)),
    high: count(Math.max(...times, 0)),
  };
  return participation.length
    ? [make("p", {}, say("manyClients", values)), counts]
    : [make("p", { class: "soft" }, say("nobodyYet"))];
}
