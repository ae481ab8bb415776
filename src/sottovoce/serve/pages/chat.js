// The chat: a question goes to one model, or to it and its base at once.
import { Refused, ask } from "./ask.js";
import { frame } from "./frame.js";
import { Lane } from "./lane.js";
import { label, unword, word } from "./language.js";
import { baseOf, meaning } from "./models.js";
import { make } from "./node.js";

const at = (id) => document.getElementById(id);
const [log, question, model, compare] = ["log", "question", "model", "compare"].map(at);
const [send, stop, told, form] = ["send", "stop", "told", "ask"].map(at);

let models = [];
let lanes = [];

const busy = () => lanes.some((lane) => lane.busy);

function show() {
  send.hidden = busy();
  stop.hidden = !busy();
  follow();
}

// --- models --------------------------------------------------------------------------------------

async function loadModels() {
  unword(told);
  try {
    const found = await (await ask("/v1/models")).json();
    models = found.data.map((one) => one.id);
    model.replaceChildren(
      ...models.map((name) => word(make("option", { value: name }), ...meaning(name))),
    );
    if (!models.length) word(told, "noModels");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    word(told, ...error.words());
    const again = word(make("button", { type: "button" }), "again");
    again.addEventListener("click", () => {
      again.remove();
      loadModels();
    });
    told.after(again);
  }
  showChoice();
}

function showChoice() {
  const base = baseOf(model.value);
  compare.disabled = base === null || !models.includes(base);
  if (compare.disabled) compare.checked = false;
  send.disabled = !models.length;
}

function wanted() {
  return compare.checked ? [model.value, baseOf(model.value)] : [model.value];
}

// --- turns ---------------------------------------------------------------------------------------

/** The lanes for what is chosen now; each model hears its own conversation from the beginning. */
function chosenLanes() {
  const names = wanted();
  const same = names.length === lanes.length && lanes.every((one, i) => one.model === names[i]);
  if (same) return lanes;
  if (lanes.length) {
    for (const lane of lanes) lane.close();
    log.append(word(make("p", { class: "divide" }), "freshFromHere"));
  }
  lanes = names.map((name) => new Lane(name, show));
  return lanes;
}

function askAll(text) {
  at("welcome").hidden = true;
  const current = chosenLanes();
  const cells = current.map((lane) => {
    const name = word(make("h2"), ...meaning(lane.model));
    return label(make("section", { class: "cell" }, name), ...meaning(lane.model));
  });
  const asked = make("div", { class: "question" }, word(make("h2", { class: "unseen" }), "you"));
  asked.append(make("p", {}, text));
  const answers = make("div", { class: cells.length > 1 ? "answers two" : "answers" }, cells);
  log.append(make("div", { class: "turn" }, asked, answers));
  follow(true);
  const settings = readSettings();
  current.forEach((lane, i) => lane.say(cells[i], [{ role: "user", content: text }], settings));
}

function readSettings() {
  const found = {};
  const number = (id) => (at(id).value === "" ? undefined : at(id).valueAsNumber);
  // A field that is empty is not sent, so that the server decides.
  found.temperature = number("temperature");
  found.max_tokens = number("most");
  found.seed = number("seed");
  found.system = at("system").value.trim();
  return found;
}

let following = true;
addEventListener("scroll", () => {
  following = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
});

/** Keep the end in sight, unless the reader has scrolled away from it. */
function follow(always = false) {
  if (always || following) scrollTo(0, document.documentElement.scrollHeight);
}

// --- what the user does --------------------------------------------------------------------------

function fit() {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight + 2, 240)}px`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || busy() || send.disabled) return;
  if (![...form.elements].every((one) => one.checkValidity())) {
    // A field that is folded away could not say what is wrong with it.
    at("settings").open = true;
    form.reportValidity();
    return;
  }
  question.value = "";
  fit();
  askAll(text);
  question.focus();
});

question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  // While a Chinese word is being composed, Enter chooses it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

function stopAll() {
  for (const lane of lanes) lane.stop();
}

stop.addEventListener("click", () => {
  stopAll();
  question.focus();
});

addEventListener("keydown", (event) => {
  const inDialog = document.querySelector("dialog[open]") !== null;
  if (event.key === "Escape" && !event.isComposing && !inDialog) stopAll();
});

at("fresh").addEventListener("click", () => {
  stopAll();
  lanes = [];
  log.replaceChildren();
  at("welcome").hidden = false;
  show();
  question.focus();
});

model.addEventListener("change", showChoice);
new ResizeObserver(() => follow()).observe(log);

frame();
show();
question.focus();
await loadModels();
