// Asks the server, with the key where there is one, and turns a refusal into words.
import { askForKey, forgetKey, heldKey } from "./key.js";

/** Why there is no answer. A status of 0 means that the server was not reached. */
export class Refused extends Error {
  constructor(status, told = "", more = {}) {
    super(told || `status ${status}`);
    this.status = status;
    this.told = told;
    this.param = more.param ?? null;
    this.wait = more.wait ?? null;
  }

  /** The text of ours that fits, and its values. */
  words() {
    const names = { 0: "gone", 401: "keyNeeded", 403: "notAllowed", 404: "notFound", 503: "busy" };
    if (this.status === 429) {
      return this.wait === null ? ["tooMany"] : ["tooManyWait", { seconds: this.wait }];
    }
    return [names[this.status] ?? (this.status >= 500 ? "failed" : "refused")];
  }
}

async function refusal(response) {
  const wait = Number(response.headers.get("Retry-After")) || null;
  try {
    const { error } = await response.json();
    return new Refused(response.status, String(error.message), { param: error.param, wait });
  } catch {
    return new Refused(response.status, response.statusText, { wait });
  }
}

/**
 * Fetch from the server. Where it wants a key, the user is asked for one until it is taken.
 *
 * Throws Refused, or AbortError where options.signal says so.
 */
export async function ask(path, options = {}) {
  for (;;) {
    const key = heldKey();
    const headers = { ...options.headers };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0);
    }
    if (response.ok) return response;
    const refused = await refusal(response);
    if (response.status !== 401) throw refused;
    // Another request may have been told a newer key meanwhile.
    if (heldKey() !== null && heldKey() !== key) continue;
    forgetKey();
    if (!(await askForKey(key !== null))) throw refused;
  }
}
