// One run: its sections are made once, and each is drawn anew when its part of the facts changes.
import { bars, shade } from "./bars.js";
import { Chart, table } from "./chart.js";
import { lossCurve } from "./curve.js";
import { label, say, word } from "./language.js";
import { make } from "./node.js";
import { bytes, count, moment, seconds, short } from "./numbers.js";
import { parties } from "./parties.js";
import { badge } from "./runs.js";

const soft = (name, values) => word(make("p", { class: "soft" }), name, values);

function fact(name, ...children) {
  return make("div", {}, word(make("dt"), name), make("dd", {}, ...children));
}

function head(run) {
  const facts = make(
    "dl",
    {},
    fact("factRounds", say("roundsOf", { rounds: run.rounds, of: run.of })),
    fact("factLoss", say("fromTo", { first: short(run.first_loss), last: short(run.last_loss) })),
    fact("factStrategy", run.strategy),
    fact("factUnit", run.unit),
    fact("factSecure", run.secure.aggregation === "none" ? say("sumPlain") : run.secure.aggregation),
    fact("factChanged", moment(run.changed)),
  );
  const title = make("div", { class: "row" }, make("h2", {}, run.name), badge(run.state));
  if (!run.error) return [title, facts];
  return [title, make("p", { class: "trouble" }, run.error), facts];
}

function meter(epsilon, budget) {
  const part = Math.min(1, epsilon / budget);
  const fill = make("span", { class: part >= 1 ? "full" : null });
  fill.style.width = `${100 * part}%`;
  const ends = { "aria-valuemin": "0", "aria-valuemax": String(budget), "aria-valuenow": String(epsilon) };
  const bar = make("div", { class: "meter", role: "meter", ...ends }, fill);
  return label(bar, "budgetBar", { epsilon: short(epsilon), budget: short(budget) });
}

function privacy(of) {
  const lines = [];
  if (of.unit === "none") {
    lines.push(word(make("p", { class: "bad" }), "noPrivacy"));
  } else {
    const number = make("span", { class: "large" }, `ε ${short(of.epsilon)}`);
    const delta = of.delta === null ? null : make("span", { class: "soft" }, `δ ${short(of.delta)}`);
    lines.push(make("p", { class: "row" }, number, delta));
    if (of.budget !== null && of.epsilon !== null) {
      const values = { epsilon: short(of.epsilon), budget: short(of.budget) };
      const left = of.epsilon < of.budget ? "budgetLeft" : "budgetSpent";
      lines.push(meter(of.epsilon, of.budget), soft(left, values));
    } else if (of.budget === null) {
      lines.push(soft("noBudget"));
    }
  }
  if (of.statement.length) {
    // The sentences come from the server, in English whatever the language of the page.
    lines.push(make("ul", { class: "statement", lang: "en" }, of.statement.map((one) => make("li", {}, one))));
  }
  if (of.by_client) {
    const rows = Object.entries(of.by_client).map(([name, value]) => [name, short(value)]);
    const fold = make("details", {}, word(make("summary"), "byClient"), table([["client"], "ε"], rows));
    lines.push(fold);
  }
  return lines;
}

function ledger(of) {
  const name = of.verified ? "verified" : "notVerified";
  return [
    word(make("p", { class: of.verified ? "verdict good" : "verdict bad" }), name),
    make("p", { lang: "en" }, of.how),
    make("dl", {}, fact("records", count(of.records)), fact("ledgerHead", make("code", {}, of.head))),
  ];
}

function data(of) {
  if (of === null) return [soft("noData")];
  const rows = of.rows.map((one) => [one.file, one.kind, count(one.loaded), count(one.skipped), one.what]);
  const note = of.note === null ? [] : [make("p", { lang: "en" }, of.note)];
  if (!rows.length) return note;
  return [...note, table([["file"], ["kind"], ["loaded"], ["skipped"], ["what"]], rows)];
}

function stageRows(history) {
  const rows = history.filter((one) => one.stages);
  const total = (name) => rows.reduce((sum, one) => sum + (one.stages[name] ?? 0), 0);
  const names = [...new Set(rows.flatMap((one) => Object.keys(one.stages)))];
  names.sort((one, other) => total(other) - total(one));
  return [rows.map((one) => ({ round: one.round + 1, parts: one.stages })), names];
}

function legend(names) {
  const entry = (name, index) => make("span", {}, make("i", { class: shade(index) }), name);
  return make("p", { class: "legend" }, names.map(entry));
}

/** The view of one run. */
export class RunView {
  constructor(name) {
    this.name = name;
    this.seen = new Map();
    this.losses = new Chart("lossChart", 260);
    this.stages = new Chart("stageChart", 180);
    this.sent = new Chart("byteChart", 180);
    this.head = make("div", { class: "head" });
    this.node = make("article", {}, this.head);
    const section = (title, wide) => {
      const body = make("div", { class: "body" });
      this.node.append(make("section", { class: wide ? "wide" : null }, word(make("h3"), title), body));
      return body;
    };
    this.parts = {
      losses: section("losses", true),
      privacy: section("privacy"),
      ledger: section("ledger"),
      parties: section("parties", true),
      stages: section("stages"),
      sent: section("sentBytes"),
      data: section("data", true),
    };
  }

  /** Show the facts of the run. */
  update(run) {
    const { losses, history, participation, privacy: spent, ledger: chain, data: loaded } = run;
    const top = { ...run, losses: 0, history: 0, participation: 0, privacy: 0, ledger: 0, data: 0 };
    this.#when("head", top, () => this.head.replaceChildren(...head(run)));
    this.#when("losses", losses, (body) => this.#losses(body, losses));
    this.#fill("parties", [participation, history], () => parties(participation, history));
    this.#fill("privacy", spent, () => privacy(spent));
    this.#fill("ledger", chain, () => ledger(chain));
    this.#fill("data", loaded, () => data(loaded));
    this.#when("stages", history, (body) => this.#stages(body, history));
    this.#when("sent", history, (body) => this.#sent(body, history));
  }

  /** Draw everything at the next update, as after a change of language. */
  forget() {
    this.seen.clear();
  }

  #when(part, facts, show) {
    const text = JSON.stringify(facts);
    if (this.seen.get(part) === text) return;
    this.seen.set(part, text);
    show(this.parts[part]);
  }

  #fill(part, facts, made) {
    this.#when(part, facts, (body) => {
      // What is unfolded stays so.
      const open = body.querySelector("details")?.open ?? false;
      body.replaceChildren(...made());
      const fold = body.querySelector("details");
      if (fold) fold.open = open;
    });
  }

  #losses(body, losses) {
    if (!losses.some((one) => one.loss !== null)) {
      body.replaceChildren(soft("noLosses"));
      return;
    }
    if (!this.losses.node.isConnected) body.replaceChildren(this.losses.node);
    this.losses.update(lossCurve(losses));
  }

  #stages(body, history) {
    const [rows, names] = stageRows(history);
    if (!rows.length) {
      body.replaceChildren(soft("noStages"));
      return;
    }
    body.querySelector(":scope > .legend")?.remove();
    if (!this.stages.node.isConnected) body.replaceChildren(this.stages.node);
    body.prepend(legend(names));
    this.stages.update(bars(rows, names, seconds));
  }

  #sent(body, history) {
    const rows = history
      .filter((one) => one.bytes_up !== null)
      .map((one) => ({ round: one.round + 1, parts: { bytes: one.bytes_up } }));
    if (!rows.length) {
      body.replaceChildren(soft("noBytes"));
      return;
    }
    if (!this.sent.node.isConnected) body.replaceChildren(this.sent.node);
    this.sent.update(bars(rows, ["bytes"], bytes, () => ""));
  }
}
