// The server's answers, and what is kept of them for all elements of the page.

export const AT_ONCE = 60; // most samples in a page and in an action without a confirmation
export const PATIENCE = 30_000; // milliseconds after which an answer is given up
export const PATIENCE_WRITING = 600_000; // of a million decisions at once, too
export const HELD = 40; // images, texts and losses that are held
const TRIES = [0, 300, 1200]; // milliseconds before each try to send an action; sent again, it counts once

export const classNames = new Map(); // by run

export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
export const makeId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("-");

/** The server's refusal, or that it does not answer (status 0). */
class RequestError extends Error {
  constructor(reason, status) {
    super(reason);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("the server does not answer", 0);
  }
  const content = await answer.json().catch(() => null);
  if (answer.ok && content !== null) return content;
  throw new RequestError(content?.error ?? `the server answers with ${answer.status}`, answer.status);
}

/** Sends an action until the server has answered it; its identity makes it count once however often it arrives. */
export async function send(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let last;
  for (const pause of TRIES) {
    await wait(pause);
    try {
      return await ask(path, { ...options, signal: AbortSignal.timeout(PATIENCE_WRITING) });
    } catch (error) {
      last = error;
      if (error.status !== 0) break;
    }
  }
  throw last;
}

export const imageUrl = (run, sample, size) => `oga/image/${encodeURIComponent(run)}/${sample.index}/${size}`;
