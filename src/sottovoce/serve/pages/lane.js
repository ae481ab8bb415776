// One model's conversation. It lives in this object and nowhere else.
import { Answer } from "./answer.js";
import { Refused, ask } from "./ask.js";
import { chunks } from "./stream.js";

const ENDS = { length: "cut" };

/** A conversation with one model. */
export class Lane {
  constructor(model, changed) {
    this.model = model;
    this.changed = changed; // Told whenever an answer begins or ends.
    this.messages = [];
    this.calls = true;
    this.cell = null;
    this.stopper = null;
  }

  get busy() {
    return this.stopper !== null;
  }

  stop() {
    this.stopper?.abort();
  }

  /** What was offered to go on from is over. */
  close() {
    for (const node of this.cell?.querySelectorAll("[data-open]") ?? []) node.remove();
    for (const field of this.cell?.querySelectorAll("textarea") ?? []) field.disabled = true;
  }

  /**
   * Say something, and hear the answer.
   *
   * cell: where the answer is shown.
   * added: messages that go before it; they are kept once there is an answer.
   * settings: of the request.
   */
  async say(cell, added, settings) {
    this.close();
    this.cell = cell;
    this.stopper = new AbortController();
    this.changed();
    const answer = new Answer(cell);
    const began = performance.now();
    let finish = null;
    let usage = null;
    try {
      const stream = await this.#asked(added, settings);
      for await (const chunk of chunks(stream)) {
        usage = chunk.usage ?? usage;
        const choice = chunk.choices[0];
        if (choice === undefined) continue;
        answer.take(choice.delta);
        finish = choice.finish_reason ?? finish;
      }
      this.messages.push(...added, answer.message());
      const seconds = (performance.now() - began) / 1000;
      answer.end({ name: ENDS[finish], usage, seconds });
      if (answer.calls.length) {
        answer.showCalls((results) => this.say(cell, results, settings));
      }
    } catch (error) {
      this.#ended(error, answer, () => {
        answer.node.remove();
        this.say(cell, added, settings);
      }, added);
    } finally {
      this.stopper = null;
      this.changed();
    }
  }

  #ended(error, answer, again, added) {
    if (error.name === "AbortError") {
      // What was heard so far is part of the conversation; calls that are not whole are not.
      answer.calls = [];
      if (answer.text) this.messages.push(...added, answer.message());
      answer.end({ name: "stopped" });
    } else if (error instanceof Refused) {
      answer.fail(error, again);
    } else {
      answer.fail(new Refused(500), again);
      throw error;
    }
  }

  async #asked(added, { system, ...sampling }) {
    const first = system ? [{ role: "system", content: system }] : [];
    const body = {
      ...sampling,
      model: this.model,
      messages: [...first, ...this.messages, ...added],
      stream: true,
      stream_options: { include_usage: true },
    };
    // A model may have learned calls in training, which no request describes.
    if (this.calls) body.tool_choice = "auto";
    try {
      return await ask("/v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: this.stopper.signal,
      });
    } catch (error) {
      if (!(this.calls && error instanceof Refused && error.param === "tools")) throw error;
      // Its vocabulary has no call, so it is asked for words alone.
      this.calls = false;
      return this.#asked(added, { system, ...sampling });
    }
  }
}
