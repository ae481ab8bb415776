// Runs before the page is drawn, so that nobody sees the wrong colours first. It is no module,
// because a browser waits for plain scripts alone.
"use strict";

(() => {
  const remembered = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // A browser may forbid a page to remember anything.
    }
  };
  const root = document.documentElement;
  const theme = remembered("sotto-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const language = remembered("sotto-language") ?? navigator.language;
  root.lang = language.toLowerCase().startsWith("zh") ? "zh-Hans" : "en";
})();
