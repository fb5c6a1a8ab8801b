// The samples of a queue: which are there, by their places, and those that are asked for.

import { ask, AT_ONCE, wait } from "./server.js";

const IN_STRIP = 12; // samples in a strip
const KNOWN = 3000; // samples that are remembered
const RELOADED = "oga.reloaded"; // in the browser's memory of this tab
const RELOAD_AGAIN = 20_000; // milliseconds

export const isUndecided = (item) => Boolean(item) && !item.decision && !item.pending;
export const pageOf = (place) => place - (place % AT_ONCE);

export class Queue {
  constructor(triage) {
    Object.assign(this, { triage, items: new Map(), order: new Map(), version: 0, progress: null });
  }

  get total() {
    return this.triage.data.total;
  }

  /** Asks for a part of the queue and keeps it. A queue that is no longer kept is asked for by a run of the page. */
  async load(wanted, tries = 2) {
    const { triage } = this;
    const { run, queue } = triage.data;
    const path = `oga/window/${encodeURIComponent(run)}/${queue}`;
    const count = triage.strip ? IN_STRIP : AT_ONCE;
    const options = { count, ...(triage.layout === "gallery" && { aligned: 1 }), ...wanted };
    try {
      const found = await ask(`${path}?${new URLSearchParams(options)}`);
      if (triage.data.queue === queue) this.keep(found);
      return found;
    } catch (error) {
      if (error.status !== 410 || triage.gone) throw error;
      if (tries === 0 && !this.reload()) throw error;
      triage.tell(0);
      await wait(700);
      return this.load(wanted, tries - 1);
    }
  }

  /** Loads the page again where the server has been started anew and knows nothing of this session; not twice in a row. */
  reload() {
    const last = Number(sessionStorage.getItem(RELOADED));
    if (this.triage.saving.isBusy || Date.now() - last < RELOAD_AGAIN) return false;
    sessionStorage.setItem(RELOADED, Date.now());
    location.reload();
    return true;
  }

  keep(found) {
    const { start, items, alone, version, progress } = found;
    this.triage.hearOf(found);
    items.forEach((item, i) => this.order.set(start + i, item.row));
    for (const item of [...items, ...alone]) this.remember(item, version);
    if (version >= this.version) Object.assign(this, { version, progress });
    for (const row of this.items.keys()) {
      if (this.items.size <= KNOWN) break;
      this.items.delete(row);
    }
  }

  /** Keeps samples that were claimed, with their places. */
  keepClaimed({ places, items, version }) {
    items.forEach((item, i) => {
      this.order.set(places[i], item.row);
      this.remember(item, version);
    });
  }

  /** Stores a sample; a later answer overrides one that was asked for earlier. */
  remember(item, version) {
    const known = this.items.get(item.row);
    if (known && version < this.version) Object.assign(item, { decision: known.decision, disputed: known.disputed });
    this.items.delete(item.row);
    this.items.set(item.row, known ? Object.assign(known, item) : item);
  }

  clear() {
    this.items.clear();
    this.order.clear();
  }

  at(place) {
    return this.items.get(this.order.get(place));
  }

  /** The place of a sample, where it is known. */
  placeOf(id) {
    return [...this.order].find(([, row]) => this.items.get(row)?.id === id)?.[0];
  }

  /** The places of a page that starts there. */
  places(start) {
    const count = Math.min(this.triage.strip ? IN_STRIP : AT_ONCE, this.total - start);
    return Array.from({ length: Math.max(count, 0) }, (_, i) => start + i);
  }

  /** Whether all that is shown with a place is there. */
  isThere(place) {
    if (this.triage.layout === "single") return Boolean(this.at(place));
    return this.places(pageOf(place)).every((other) => this.at(other));
  }
}
