// The samples of a queue: which are there, by their places, and those that are asked for.

import { ask, AT_ONCE, wait } from "./server.js";

const IN_STRIP = 12; // samples in a strip
const MOST_SAMPLES = 3000; // samples that are remembered
const RELOADED = "oga.reloaded"; // in the browser's memory of this tab
const RELOAD_PAUSE = 20_000; // milliseconds

export const isUndecided = (sample) => Boolean(sample) && !sample.decision && !sample.pending;
export const pageOf = (place) => place - (place % AT_ONCE);

export class Queue {
  constructor(triage) {
    Object.assign(this, { triage, samples: new Map(), order: new Map(), version: 0, progress: null });
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
      if (triage.data.queue === queue) this.add(found);
      return found;
    } catch (error) {
      if (error.status !== 410 || triage.gone) throw error;
      if (tries === 0 && !this.reload()) throw error;
      triage.sendPlace(0);
      await wait(700);
      return this.load(wanted, tries - 1);
    }
  }

  /** Loads the page again where the server has been started anew and knows nothing of this session; not twice in a row. */
  reload() {
    const last = Number(sessionStorage.getItem(RELOADED));
    if (this.triage.saving.isBusy || Date.now() - last < RELOAD_PAUSE) return false;
    sessionStorage.setItem(RELOADED, Date.now());
    location.reload();
    return true;
  }

  add(found) {
    const { start, samples, outside, version, progress } = found;
    this.triage.takeReviewers(found);
    samples.forEach((sample, i) => this.order.set(start + i, sample.row));
    for (const sample of [...samples, ...outside]) this.remember(sample, version);
    if (version >= this.version) Object.assign(this, { version, progress });
    for (const row of this.samples.keys()) {
      if (this.samples.size <= MOST_SAMPLES) break;
      this.samples.delete(row);
    }
  }

  /** Keeps samples that were claimed, with their places. */
  addClaimed({ places, samples, version }) {
    samples.forEach((sample, i) => {
      this.order.set(places[i], sample.row);
      this.remember(sample, version);
    });
  }

  /** Stores a sample; a later answer overrides one that was asked for earlier. */
  remember(sample, version) {
    const known = this.samples.get(sample.row);
    if (known && version < this.version) Object.assign(sample, { decision: known.decision, disputed: known.disputed });
    this.samples.delete(sample.row);
    this.samples.set(sample.row, known ? Object.assign(known, sample) : sample);
  }

  clear() {
    this.samples.clear();
    this.order.clear();
  }

  at(place) {
    return this.samples.get(this.order.get(place));
  }

  /** The place of a sample, where it is known. */
  placeOf(id) {
    return [...this.order].find(([, row]) => this.samples.get(row)?.id === id)?.[0];
  }

  /** The places of a page that starts there. */
  places(start) {
    const count = Math.min(this.triage.strip ? IN_STRIP : AT_ONCE, this.total - start);
    return Array.from({ length: Math.max(count, 0) }, (_, i) => start + i);
  }

  /** Whether all that is shown with a place is there. */
  isLoaded(place) {
    if (this.triage.layout === "single") return Boolean(this.at(place));
    return this.places(pageOf(place)).every((other) => this.at(other));
  }
}
