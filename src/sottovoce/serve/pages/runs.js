// The list of runs, newest first.
import { say, word } from "./language.js";
import { make } from "./node.js";
import { moment, short } from "./numbers.js";

export const hashOf = (name) => `#run=${encodeURIComponent(name)}`;

/** The state of a run, in words and a colour. */
export function badge(state) {
  return word(make("span", { class: `state ${state}` }), `state_${state}`);
}

/** What ε a run has spent, in words. */
export function spent(run) {
  return run.unit === "none" ? say("noEpsilon") : say("epsilonIs", { epsilon: short(run.epsilon) });
}

function entry(run, chosen) {
  const facts = [say("roundsOf", { rounds: run.rounds, of: run.of }), spent(run)];
  if (run.last_loss !== null) {
    facts.splice(1, 0, say("lossFromTo", { first: short(run.first_loss), last: short(run.last_loss) }));
  }
  const link = make(
    "a",
    { href: hashOf(run.name), "aria-current": run.name === chosen ? "true" : null },
    make("span", { class: "name" }, run.name),
    badge(run.state),
    make("span", { class: "facts" }, facts.join(" · ")),
    make("span", { class: "facts" }, moment(run.changed)),
  );
  link.dataset.run = run.name;
  return make("li", {}, link);
}

/** Show the list; whoever has the focus keeps it. */
export function showRuns(list, runs, chosen) {
  const held = document.activeElement?.dataset?.run;
  list.replaceChildren(...runs.map((run) => entry(run, chosen)));
  if (held !== undefined) {
    [...list.querySelectorAll("a")].find((link) => link.dataset.run === held)?.focus();
  }
}
