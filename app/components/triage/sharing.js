// A queue that several reviewers share: each claims samples that no other has.

import { isUndecided } from "./queue.js";
import { send } from "./server.js";

const CLAIM_LEFT = 2; // samples of a shared queue still there when more are asked for
const CLAIM_INTERVAL = 60_000; // milliseconds
const SHARING = "oga.sharing"; // in the browser's memory of this tab

export class Sharing {
  constructor(triage, label) {
    Object.assign(this, { triage, label, mine: [] });
    this.box = label.firstElementChild;
    this.box.onchange = () => this.choose(this.box.checked);
    this.timer = setInterval(() => {
      if (triage.focus && this.claims && !document.hidden) this.claim().catch(() => {});
    }, CLAIM_INTERVAL);
  }

  dispose() {
    clearInterval(this.timer);
  }

  /** Samples are claimed from the first on: a reviewer who joins gets others. Off, for those who want to decide on the same. */
  get claims() {
    return !this.triage.strip && sessionStorage.getItem(SHARING) !== `off ${this.triage.data.run}`;
  }

  get isOn() {
    return this.several && this.claims;
  }

  /** Takes whether others review too. */
  setSeveral(several) {
    this.several = several ?? this.several;
    this.label.hidden = !this.several;
    this.box.checked = this.claims;
  }

  forget() {
    this.mine = [];
  }

  /** Counts a sample as this reviewer's: one whose decision was not saved stays, even if another reviewer has it. */
  hold(place) {
    if (!this.mine.includes(place)) this.mine.push(place);
  }

  /** The samples that this reviewer has, as far as they are known. */
  get samples() {
    return this.mine.map((place) => this.triage.queue.at(place)).filter(Boolean);
  }

  /** Claims what is looked at and what comes next. A sample that another reviewer has is left, unless it was gone to by hand. */
  async claimAhead() {
    const { triage } = this;
    const { place } = triage.focus;
    const coming = this.mine.filter((other) => other !== place && isUndecided(triage.queue.at(other)));
    if (!this.claims || this.asking || place === null || !isUndecided(triage.current)) return;
    if (this.mine.includes(place) && (triage.byHand || coming.length > CLAIM_LEFT)) return;
    this.asking = true;
    const claimed = await this.claim(triage.byHand).then(
      () => true,
      () => false, // where nothing can be saved, nothing is claimed
    );
    this.asking = false;
    if (!claimed || triage.gone) return;
    if (triage.focus.place !== place) await this.claimAhead();
    else if (this.mine.includes(place) || !isUndecided(triage.current)) return;
    else if (triage.byHand) triage.say("Another reviewer has this sample in front of them.", "beware");
    else this.goToNext();
  }

  /** Claims the next samples, or only the one in focus. */
  async claim(only = false) {
    const { triage } = this;
    const { run, queue } = triage.data;
    const here = triage.focus?.place ?? triage.memory.place;
    const place = triage.current && isUndecided(triage.current) ? here : here + 1;
    const found = await send("oga/claim", { run, queue, place, only });
    if (triage.data.queue !== queue) return;
    triage.takeReviewers(found);
    triage.queue.addClaimed(found);
    this.mine = only ? [...this.mine, ...found.places] : found.places;
  }

  /** Moves to the next sample that this reviewer has. */
  async goToNext() {
    const { triage } = this;
    const next = () => this.mine.find((place) => isUndecided(triage.queue.at(place)) && place !== triage.focus?.place);
    try {
      if (next() === undefined) {
        if (triage.focus) triage.draw();
        await this.claim();
      }
      if (next() === undefined) {
        triage.say(`Every sample is decided${this.several ? " or with another reviewer" : ""}.`);
        return;
      }
      await triage.go({ place: next() });
      if (this.mine.filter((place) => isUndecided(triage.queue.at(place))).length <= CLAIM_LEFT) await this.claim();
    } catch (error) {
      triage.say(`The queue cannot be shared: ${error.message}`, "wrong");
    }
  }

  async choose(on) {
    sessionStorage.setItem(SHARING, on ? "" : `off ${this.triage.data.run}`);
    this.forget();
    if (!on) return;
    await this.claim().catch((error) => this.triage.say(`The queue cannot be shared: ${error.message}`, "wrong"));
    if (!this.mine.includes(this.triage.focus?.place)) this.goToNext();
  }
}
