// The reviewer's place: remembered while another page is shown, and sent to Python once the keys have been quiet.

import { makeId } from "./server.js";

const QUIET = 400; // milliseconds without a key before the place is sent to Python
const LEAVING = 10_000; // that a page may take to come after a click on its link
export const QUIET_MOVES = 1200; // after a move, which changes no counts

const memories = new Map(); // by run and layout
let sent = 0; // places sent to Python so far

/** Where the reviewer was in a run, in the strip or on the page of the review. */
export function recallPlace(run, strip) {
  const key = `${run} ${strip}`;
  if (!memories.has(key)) memories.set(key, { place: 0 });
  return memories.get(key);
}

export class PlaceSender {
  constructor(triage) {
    Object.assign(this, { triage, last: 0, leaving: 0 });
    this.onClick = (event) => this.leave(event);
    document.addEventListener("click", this.onClick, true);
  }

  /** After a click on a link nothing is sent: Streamlit would draw the next page empty if this one asked for a run meanwhile. */
  leave(event) {
    if (!event.composedPath().some((target) => target.nodeName === "A")) return;
    this.leaving = performance.now() + LEAVING;
    if (this.timer) this.sendLater();
  }

  dispose() {
    document.removeEventListener("click", this.onClick, true);
    clearTimeout(this.timer);
    if (this.timer && this.triage.memory) this.triage.memory.known = {}; // not sent: the next value from Python counts
  }

  /** Python's value of a field where it has changed; otherwise the browser keeps its own. */
  takeChange(field) {
    if ((this.triage.data.heard ?? 0) < this.last) return undefined; // sent before Python heard of the latest place
    const known = (this.triage.memory.known ??= {});
    const now = this.triage.data[field];
    if (known[field] === now) return undefined;
    known[field] = now;
    return now ?? undefined;
  }

  /** Sends the reviewer's place to Python once the keys have been quiet; the counts on the page then follow. */
  sendLater(quiet = QUIET, more = {}) {
    const now = performance.now();
    const due = Math.max(now + quiet, this.leaving);
    if (this.timer && quiet > 0 && this.due < due && quiet === QUIET_MOVES) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => this.sendNow(more), due - now);
  }

  sendNow(more) {
    const { triage } = this;
    this.timer = null;
    if (triage.gone) return;
    if (triage.saving.isBusy) {
      this.sendLater(QUIET, more);
      return;
    }
    const { id = null } = triage.focus ?? {};
    if (!triage.strip) triage.memory.known = { focus: id, asked: triage.layout };
    const layout = triage.data.own ? {} : { layout: triage.layout };
    this.last = ++sent;
    triage.component.setTriggerValue("place", { id: makeId(), turn: sent, focus: id, ...layout, ...more });
  }
}
