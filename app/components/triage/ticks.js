// The ticked samples of the gallery: those that a key decides on.

import { pageOf } from "./queue.js";

export class Ticks {
  constructor(queue) {
    Object.assign(this, { queue, marked: new Map() });
    this.clear();
  }

  get size() {
    return this.marked.size;
  }

  /** The ticked samples in the order of their places. */
  get samples() {
    return [...this.marked].sort(([a], [b]) => a - b).map(([, sample]) => sample);
  }

  clear() {
    this.marked.clear();
    this.everything = false; // the whole queue
    this.leave();
  }

  /** Ends the range: the next one starts elsewhere. */
  leave() {
    this.anchor = null;
  }

  /** Ticks or unticks a sample. */
  toggle(place) {
    this.everything = false;
    if (!this.marked.delete(place)) this.marked.set(place, this.queue.at(place));
    this.anchor = { from: place, before: new Map(this.marked) };
  }

  /** Ticks a range from the anchor, or else from `start`, besides what was ticked before the range. */
  extend(place, start) {
    this.everything = false;
    const { from, before } = (this.anchor ??= { from: start, before: new Map(this.marked) });
    this.marked = new Map(before);
    for (const other of this.queue.places(pageOf(place))) {
      if ((other - from) * (other - place) <= 0) this.marked.set(other, this.queue.at(other));
    }
  }

  tickPage(place) {
    for (const other of this.queue.places(pageOf(place))) this.marked.set(other, this.queue.at(other));
  }

  tickAll(place) {
    this.tickPage(place);
    this.everything = this.queue.total > this.size;
  }
}
