"""The reviewer's page of a report on personal data: a template that needs nothing from outside."""

from __future__ import annotations

from typing import Final

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Personal data: what was found</title>
<style>
:root { color-scheme: light dark; --line: #8884; --tag: #1a6bb5; --good: #2b8a3e; --bad: #c92a2a }
@media (prefers-color-scheme: dark) { :root { --tag: #74b9ff; --good: #69db7c; --bad: #ff8787 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { text-align: left; padding: .2rem .8rem .2rem 0 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
ol { list-style: none; padding: 0 } li { border: 1px solid var(--line); border-radius: .5rem;
 padding: .6rem .8rem; margin: .5rem 0 } li:focus { outline: 3px solid var(--tag) }
li[data-said=right] { border-left: .5rem solid var(--good) }
li[data-said=wrong] { border-left: .5rem solid var(--bad) }
mark { background: none; color: var(--tag); font-weight: 700 }
small { display: block; opacity: .75 } kbd { border: 1px solid var(--line); border-radius: .2rem; padding: 0 .3rem }
button { font: inherit; margin-right: .5rem } blockquote { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
</style>
</head>
<body>
<main>
<h1>Personal data: what was found</h1>
<p>{{ report.documents }} conversations or documents, {{ report.touched }} of them with personal data,
{{ report.duplicates }} duplicates, {{ report.dropped }} left out for what is in them.</p>
<table><caption>By kind</caption><thead><tr><th scope="col">kind</th><th scope="col">found</th></tr></thead><tbody>
{% for kind, count in report.entities | dictsort %}<tr><td>{{ kind }}</td><td class="n">{{ count }}</td></tr>
{% else %}<tr><td>nothing</td><td class="n">0</td></tr>{% endfor %}</tbody></table>
<table><caption>Special categories: flags, nothing was removed</caption>
<thead><tr><th scope="col">category</th><th scope="col">conversations</th></tr></thead><tbody>
{% for kind, count in report.flags | dictsort %}<tr><td>{{ kind }}</td><td class="n">{{ count }}</td></tr>
{% else %}<tr><td>none</td><td class="n">0</td></tr>{% endfor %}</tbody></table>
<h2>A sample to judge</h2>
<p><kbd>J</kbd> next, <kbd>K</kbd> back, <kbd>R</kbd> right, <kbd>W</kbd> wrong, <kbd>U</kbd> undo,
<kbd>S</kbd> save. <output id="told" aria-live="polite"></output></p>
<p><button data-key="k">Back</button><button data-key="j">Next</button><button data-key="r">Right</button>
<button data-key="w">Wrong</button><button data-key="u">Undo</button><button data-key="s">Save</button></p>
<ol>
{% for one in report.decisions + report.flagged %}<li tabindex="0">
<blockquote>{{ one.before }}<mark>{{ one.shown }}</mark>{{ one.after }}</blockquote>
<small>{{ one.kind }} by {{ one.source }}, score {{ "%.2f" | format(one.score) }} &middot; {{ one.where }}</small></li>
{% else %}<li>Nothing was found.</li>{% endfor %}
</ol>
</main>
<script type="application/json" id="data">{{ data | safe }}</script>
<script>
"use strict";
const rows = [...document.querySelectorAll("li[tabindex]")];
let at = 0;
function show() {
  const said = rows.map(row => row.dataset.said);
  const right = said.filter(one => one === "right").length;
  const wrong = said.filter(one => one === "wrong").length;
  document.getElementById("told").value = right + wrong
    ? `${right} right, ${wrong} wrong of ${rows.length}` : `${rows.length} to judge`;
}
function go(place) { if (rows.length) { at = Math.max(0, Math.min(rows.length - 1, place)); rows[at].focus(); } }
function save() {
  const report = JSON.parse(document.getElementById("data").textContent);
  const all = [...report.decisions, ...report.flagged];
  const judged = all.map((one, place) => ({...one, said: rows[place].dataset.said || null}));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(judged, null, 1)], {type: "application/json"}));
  link.download = "judged.json";
  link.click();
  URL.revokeObjectURL(link.href);
}
function act(key) {
  if (key === "j") go(document.activeElement === rows[at] ? at + 1 : at);
  else if (key === "k") go(at - 1);
  else if (key === "s") save();
  else if (rows.length && "rwu".includes(key)) {
    if (key === "u") delete rows[at].dataset.said;
    else { rows[at].dataset.said = key === "r" ? "right" : "wrong"; go(at + 1); }
    show();
  }
}
document.addEventListener("keydown", event => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && event.key.length === 1) act(event.key.toLowerCase());
});
document.querySelectorAll("button").forEach(one => one.addEventListener("click", () => act(one.dataset.key)));
rows.forEach((row, place) => row.addEventListener("focus", () => { at = place; }));
show();
</script>
</body>
</html>
"""
