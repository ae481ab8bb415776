// The API key: asked for in a dialog, and kept for this tab alone.
import { make } from "./node.js";
import { unword, word } from "./language.js";

const NAME = "sotto-key";
let unkept = null; // Where a browser forbids to keep it, it lives as long as the page.
let asking = null;

export function heldKey() {
  try {
    return sessionStorage.getItem(NAME) ?? unkept;
  } catch {
    return unkept;
  }
}

function hold(key) {
  unkept = key;
  try {
    if (key === null) sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, key);
    unkept = null;
  } catch {
    // It stays in this variable.
  }
  document.dispatchEvent(new Event("keychanged"));
}

export function forgetKey() {
  hold(null);
}

/**
 * Ask for a key; whether one was given. Who asks while the dialog is open waits for the same answer.
 *
 * wrong: whether the server has just refused one.
 */
export function askForKey(wrong) {
  asking ??= opened(wrong).finally(() => {
    asking = null;
  });
  return asking;
}

function opened(wrong) {
  const field = make("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-told",
  });
  const told = make("p", { id: "key-told", role: "alert", class: "bad" });
  if (wrong) word(told, "keyWrong");
  const cancel = word(make("button", { type: "button" }), "cancel");
  const form = make(
    "form",
    {},
    word(make("h2", { id: "key-title" }), "keyTitle"),
    word(make("p", { class: "soft" }), "keyWhy"),
    word(make("label", { for: "key" }), "keyLabel"),
    field,
    told,
    make(
      "div",
      { class: "row end" },
      cancel,
      word(make("button", { type: "submit", class: "main" }), "keyUse"),
    ),
  );
  const dialog = make("dialog", { "aria-labelledby": "key-title" }, form);
  const before = document.activeElement;
  document.body.append(dialog);
  return new Promise((resolve) => {
    let given = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = field.value.trim();
      unword(told);
      // Anything else could not stand in a header.
      if (!/^[\x21-\x7e]+$/.test(key)) {
        word(told, "keyWrong");
        return;
      }
      hold(key);
      given = true;
      dialog.close();
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(given);
    });
    dialog.showModal();
    field.focus();
  });
}
