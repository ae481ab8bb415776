// Says texts in the language of the page. Every element that holds one carries the text's name, so
// that a change of language reaches what is already on the page.
import { TEXTS } from "./texts.js";

const KINDS = { text: null, label: "aria-label", hint: "placeholder", title: "title" };

export function isChinese() {
  return document.documentElement.lang.startsWith("zh");
}

/** One text, with the values that stand in braces in it. */
export function say(name, values = {}) {
  const both = TEXTS[name];
  if (both === undefined) throw new Error(`texts.js has no text ${name}`);
  return both[isChinese() ? 1 : 0].replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

function put(node, kind) {
  const values = node.dataset[`${kind}Values`];
  const told = say(node.dataset[kind], values === undefined ? {} : JSON.parse(values));
  if (KINDS[kind] === null) node.textContent = told;
  else node.setAttribute(KINDS[kind], told);
}

function marked(node, kind, name, values) {
  node.dataset[kind] = name;
  if (values === undefined) delete node.dataset[`${kind}Values`];
  else node.dataset[`${kind}Values`] = JSON.stringify(values);
  put(node, kind);
  return node;
}

/** Give an element a text; the same element comes back. */
export const word = (node, name, values) => marked(node, "text", name, values);

/** Give an element a name for those who do not see it. */
export const label = (node, name, values) => marked(node, "label", name, values);

/** Take the text of an element away. */
export function unword(node) {
  delete node.dataset.text;
  delete node.dataset.textValues;
  node.textContent = "";
}

/** Say everything on the page anew. */
export function translate() {
  for (const kind of Object.keys(KINDS)) {
    for (const node of document.querySelectorAll(`[data-${kind}]`)) put(node, kind);
  }
}

export function setLanguage(language) {
  document.documentElement.lang = language;
  translate();
  document.dispatchEvent(new Event("languagechanged"));
}
