// The head of each page: where one can go, and the language, the colours and the key.
import { isChinese, label, setLanguage, translate, word } from "./language.js";
import { forgetKey, heldKey } from "./key.js";
import { make } from "./node.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Then it holds for this page alone.
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? dark.matches : chosen === "dark";
}

function themeButton() {
  const button = make("button", { type: "button", class: "plain", id: "theme" });
  const show = () => {
    word(button, isDark() ? "light" : "dark");
    label(button, isDark() ? "toLight" : "toDark");
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    remember("sotto-theme", theme);
    show();
  });
  dark.addEventListener("change", show);
  show();
  return button;
}

function languageButton() {
  const button = make("button", { type: "button", class: "plain", id: "language" });
  const show = () => {
    // It is written in the language that it leads to, for those who read no other.
    button.textContent = isChinese() ? "English" : "中文";
    button.lang = isChinese() ? "en" : "zh-Hans";
  };
  button.addEventListener("click", () => {
    const language = isChinese() ? "en" : "zh-Hans";
    remember("sotto-language", language);
    setLanguage(language);
    show();
  });
  show();
  return button;
}

function keyButton() {
  const button = word(make("button", { type: "button", class: "plain", id: "forget" }), "forgetKey");
  const show = () => {
    button.hidden = heldKey() === null;
  };
  button.addEventListener("click", forgetKey);
  document.addEventListener("keychanged", show);
  show();
  return button;
}

function link(address, name) {
  const here = location.pathname === address;
  return word(make("a", { href: address, "aria-current": here ? "page" : null }), name);
}

/** Some servers have a dashboard alone. */
export function showChat(there) {
  document.querySelector('#head a[href="/"]').hidden = !there;
}

/** Draw the head of the page. */
export function frame() {
  const places = make("nav", {}, link("/", "chat"), link("/dashboard", "dashboard"));
  document.querySelector("#head").append(
    make("span", { class: "brand" }, "Sottovoce"),
    label(places, "places"),
    make("span", { class: "gap" }),
    keyButton(),
    languageButton(),
    themeButton(),
  );
  translate();
}
