// Draws one answer: its text as it comes, its tool calls, and how it ended.
import { label, say, word } from "./language.js";
import { make } from "./node.js";
import { count } from "./numbers.js";
import { pretty } from "./pretty.js";

async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without TLS, away from this machine, browsers offer only the old way.
  const field = make("textarea", { class: "unseen" });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("nothing was copied");
}

/** One answer in a cell of the conversation. */
export class Answer {
  constructor(cell) {
    this.text = "";
    this.calls = [];
    this.shown = document.createTextNode("");
    this.body = make("div", { class: "text" }, this.shown);
    this.node = make("article", { class: "answer", "aria-busy": "true" }, this.body);
    cell.append(this.node);
  }

  /** Take what an object of the stream adds. */
  take(delta) {
    if (delta.content) {
      this.text += delta.content;
      this.shown.appendData(delta.content);
    }
    for (const piece of delta.tool_calls ?? []) {
      const fresh = { id: "", type: "function", function: { name: "", arguments: "" } };
      const call = (this.calls[piece.index] ??= fresh);
      if (piece.id) call.id = piece.id;
      call.function.name += piece.function?.name ?? "";
      call.function.arguments += piece.function?.arguments ?? "";
    }
  }

  /** As the next request tells it. */
  message() {
    const message = { role: "assistant", content: this.text };
    return this.calls.length ? { ...message, tool_calls: this.calls } : message;
  }

  /** The answer is whole, or was stopped. */
  end({ name, usage, seconds }) {
    const foot = make("div", { class: "foot" });
    if (this.text) foot.append(this.#copyButton());
    if (name) foot.append(word(make("span"), name));
    if (usage) {
      const values = { tokens: usage.completion_tokens, seconds: count(seconds, 1) };
      foot.append(word(make("span"), "took", values));
    }
    if (!this.text && !this.calls.length) foot.prepend(word(make("span"), "nothingSaid"));
    this.#close(foot);
  }

  /** There is none, or it broke off; again is what the button does. */
  fail(refused, again) {
    const [name, values] = refused.words();
    const box = make("div", { class: "trouble", role: "alert" }, word(make("p"), name, values));
    if (refused.told) box.append(make("p", { class: "soft" }, refused.told));
    const button = word(make("button", { type: "button", "data-open": "" }), "again");
    button.addEventListener("click", again);
    box.append(button);
    this.#close(box);
  }

  /** Show the calls, and a field for what each of them gives; send is told the messages. */
  showCalls(send) {
    const fields = this.calls.map((call, index) => this.#call(call, index));
    const form = make("form", { class: "results" });
    for (const { box } of fields) form.append(box);
    const open = make("div", { class: "row", "data-open": "" });
    open.append(word(make("button", { type: "submit" }), "sendResult"));
    form.append(open);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(
        fields.map(({ call, field }) => ({
          role: "tool",
          tool_call_id: call.id,
          content: field.value,
        })),
      );
    });
    this.foot.before(form);
  }

  #call(call, index) {
    const id = `result-${call.id || index}-${Math.random().toString(36).slice(2)}`;
    const field = make("textarea", { id, rows: "2", spellcheck: "false" });
    const name = make("code", {}, call.function.name);
    const box = make(
      "section",
      { class: "call" },
      make("h3", {}, word(make("span"), "toolCall"), " ", name),
      make("pre", { tabindex: "0" }, pretty(call.function.arguments)),
      word(make("label", { for: id }), "resultOf", { name: call.function.name }),
      field,
    );
    label(box, "toolCallNamed", { name: call.function.name });
    return { call, field, box };
  }

  #copyButton() {
    const button = word(make("button", { type: "button", class: "plain" }), "copy");
    button.addEventListener("click", async () => {
      try {
        await copy(this.text);
        word(button, "copied");
      } catch {
        word(button, "notCopied");
      }
      setTimeout(() => word(button, "copy"), 2000);
    });
    button.title = say("copyWhat");
    button.dataset.title = "copyWhat";
    return button;
  }

  #close(foot) {
    this.foot = foot;
    this.body.hidden = !this.text;
    this.node.setAttribute("aria-busy", "false");
    this.node.append(foot);
  }
}
