// The dashboard: asks every two seconds while somebody looks, and shows what came.
import { Refused, ask } from "./ask.js";
import { frame, showChat } from "./frame.js";
import { say, word } from "./language.js";
import { make } from "./node.js";
import { clock } from "./numbers.js";
import { RunView } from "./run.js";
import { hashOf, showRuns } from "./runs.js";

const EVERY = 2000;
const at = (id) => document.getElementById(id);
const [list, place, told, status] = ["runs", "run", "told", "status"].map(at);

let runs = [];
let view = null;
let details = null; // The facts that the view shows,
let shown = ""; // and what the list said of the run when they were asked for.
let states = new Map();
let timer = null;
let asking = false;
let again = false; // Somebody wanted a look while one was under way.
let seen = null; // When the last answer came.

const wanted = () => new URLSearchParams(location.hash.slice(1)).get("run");

async function json(path) {
  return (await ask(path)).json();
}

/** The name of the run to show; where the address names none, the newest. */
function chosen() {
  const name = wanted();
  if (name !== null || !runs.length) return name;
  history.replaceState(null, "", hashOf(runs[0].name));
  return runs[0].name;
}

function announce() {
  for (const run of runs) {
    const before = states.get(run.name);
    if (before !== undefined && before !== run.state) {
      word(status, "stateNow", { name: run.name, state: say(`state_${run.state}`) });
    }
  }
  states = new Map(runs.map((run) => [run.name, run.state]));
}

async function look() {
  const text = JSON.stringify(runs);
  const every = await json("/v1/runs");
  runs = every.runs;
  showChat(every.chat);
  const name = chosen();
  if (JSON.stringify(runs) !== text) {
    showRuns(list, runs, name);
    announce();
  }
  at("empty").hidden = runs.length > 0;
  await lookAt(name);
}

async function lookAt(name) {
  if (name === null) return;
  const run = runs.find((one) => one.name === name);
  const entry = JSON.stringify(run ?? null);
  // A run that is over changes no more, so it is not asked for again.
  if (view?.name === name && entry === shown && run?.state !== "running") return;
  const facts = await json(`/v1/runs/${encodeURIComponent(name)}`);
  if (name !== wanted()) return;
  if (view?.name !== name) view = new RunView(name);
  if (view.node.parentNode !== place) place.replaceChildren(view.node);
  [details, shown] = [facts, entry];
  view.update(facts);
}

function trouble(error, wait) {
  const why = `${error.message} ${wait}`;
  // The same trouble is told once, not every two seconds.
  if (told.firstChild !== null && told.dataset.why === why) return;
  told.dataset.why = why;
  const [name, values] = error.words();
  const box = make("div", { class: "trouble" }, word(make("p"), name, values));
  if (error.told) box.append(make("p", { class: "soft" }, error.told));
  if (seen !== null) box.append(word(make("p", { class: "soft" }), "shownIsOf", { time: clock(seen) }));
  if (wait === null) {
    const button = word(make("button", { type: "button" }), "again");
    button.addEventListener("click", turn);
    box.append(button);
  }
  told.replaceChildren(box);
}

/** Look once, and plan the next time. */
async function turn() {
  clearTimeout(timer);
  again = asking;
  if (asking || document.hidden) return;
  asking = true;
  let wait = EVERY;
  try {
    await look();
    told.replaceChildren();
    seen = Date.now();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    // Who gives no key is not asked for one every two seconds.
    const forever = error.status === 401 || error.status === 403;
    wait = forever ? null : Math.max(EVERY, 1000 * (error.wait ?? 0));
    if (error.status === 404) {
      view = null;
      place.replaceChildren();
    }
    trouble(error, wait);
  } finally {
    asking = false;
  }
  if (again) turn();
  else if (wait !== null) timer = setTimeout(turn, wait);
}

document.addEventListener("visibilitychange", turn);
addEventListener("hashchange", () => {
  showRuns(list, runs, wanted());
  turn();
});
document.addEventListener("languagechanged", () => {
  showRuns(list, runs, wanted());
  if (view !== null && details !== null) {
    view.forget();
    view.update(details);
  }
});

frame();
await turn();
