// Reads server-sent events from an answer of fetch, as they come.
import { Refused } from "./ask.js";

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
    if (rest) yield rest;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  } finally {
    // Who stops listening hangs up, so that the server stops, too.
    reader.cancel().catch(() => {});
  }
}

/** The data of each event, as text. */
async function* events(body) {
  let data = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length) yield data.join("\n");
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}

/**
 * The objects of a streamed answer, up to its end.
 *
 * Throws Refused where the server says in the stream that it failed, or hangs up before the end.
 */
export async function* chunks(response) {
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(500, String(chunk.error.message));
    yield chunk;
  }
  throw new Refused(0);
}
