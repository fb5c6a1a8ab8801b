// The triage: draws the samples of a queue, takes the keys, and sends decisions to the server, which answers after its commit.
// The next sample is shown at once, from what is there already; Python hears of it when the keys have been quiet for a while.

import { assign } from "../bidi.js";
import { clamp } from "../numbers.js";
import { Decisions } from "./decisions.js";
import { Confirmation, Naming } from "./dialogs.js";
import { Gallery } from "./gallery.js";
import { Keys } from "./keys.js";
import { PlaceSender, QUIET_MOVES, recallPlace } from "./place.js";
import { isUndecided, pageOf, Queue } from "./queue.js";
import { Saving } from "./saving.js";
import { ask, AT_ONCE, classNames } from "./server.js";
import { Sharing } from "./sharing.js";
import { AHEAD, Single } from "./single.js";
import { Ticks } from "./ticks.js";
import { Toolbar } from "./toolbar.js";
import { type } from "./typing.js";
import { Why } from "./why.js";

const AHEAD_LEFT = 15; // samples still there when more are asked for
const LAYOUT = "oga.layout"; // in the browser's memory of this tab
const instances = new WeakMap(); // parentElement → Triage

export default function (component) {
  const { parentElement } = component;
  let triage = instances.get(parentElement);
  if (!triage?.root.isConnected) {
    triage?.dispose();
    triage = new Triage(parentElement.querySelector(".triage"));
    instances.set(parentElement, triage);
  }
  triage.update(component);
  // Streamlit also cleans up after a call that a quicker one has overtaken: the element on the page then stays.
  return () => triage.root.isConnected || triage.dispose();
}

class Triage {
  constructor(root) {
    const find = (name) => root.querySelector(name);
    Object.assign(this, { root, said: find(".said"), empty: find(".empty"), turn: 0 });
    this.commands = this.makeCommands();
    this.queue = new Queue(this);
    this.ticks = new Ticks(this.queue);
    this.saving = new Saving(this, new Naming(find("dialog.name")));
    this.decisions = new Decisions(this, new Confirmation(find("dialog.confirm")));
    this.sharing = new Sharing(this, find(".share"));
    this.placeSender = new PlaceSender(this);
    this.keys = new Keys(find("dialog.keys"), () => this.drawBars());
    this.toolbar = new Toolbar(
      root,
      this.keys,
      (name) => this.decisions.decide("relabel", name),
      (...given) => this.say(...given),
    );
    this.gallery = new Gallery(find(".gallery"), {
      focus: (place) => this.pick(place),
      open: (place) => this.open(place),
      tick: (place, range) => this.tick(place, range),
    });
    this.single = new Single(find(".single"));
    this.why = new Why(find(".why"), (sample) => this.go({ id: sample.id, stay: true }));
    this.listen();
  }

  dispose() {
    document.removeEventListener("keydown", this.onKey);
    window.removeEventListener("beforeunload", this.onLeave);
    for (const child of [this.sharing, this.placeSender, this.why, this.single.answer]) child.dispose();
    this.gone = true;
  }

  // ---- from Python ---------------------------------------------------------------------------------------------------------
  update(component) {
    const { data } = component;
    const before = this.data;
    Object.assign(this, { component, data, strip: data.layout === "strip" });
    const other = before?.run !== data.run;
    const anew = other || before.queue !== data.queue;
    this.memory = recallPlace(data.run, this.strip);
    if (other) this.queue.samples.clear();
    if (anew) this.forget();
    const wanted = this.placeSender.takeChange("focus") ?? this.memory.id;
    if (this.strip || data.own) this.layout ??= data.layout;
    else this.layout = this.placeSender.takeChange("asked") ?? sessionStorage.getItem(LAYOUT) ?? data.layout;
    this.keys.use(data.keyed, data.decisions);
    this.takeReviewers(data);
    this.nameClasses();
    if (anew || (wanted && wanted !== this.focus?.id)) this.arrive(wanted);
    else if (data.version > this.queue.version) this.go({ place: this.focus?.place ?? 0, anew: true });
  }

  forget() {
    this.queue.order.clear();
    this.sharing.forget();
    this.ticks.clear();
  }

  /** Takes from Python's data or an answer whether others review too, and whether a name must be entered before a decision. */
  takeReviewers({ several, needsName }) {
    this.sharing.setSeveral(several);
    this.saving.setNeedsName(needsName);
  }

  async nameClasses() {
    const { run } = this.data;
    if (!classNames.has(run)) {
      classNames.set(
        run,
        ask(`oga/classes/${encodeURIComponent(run)}`).catch(() => []),
      );
    }
    this.toolbar.names = await classNames.get(run);
    this.drawBars();
  }

  arrive(id) {
    this.root.dataset.layout = this.layout;
    this.byHand = false;
    this.queue.progress = null;
    if (this.data.total === 0) this.draw();
    else if (this.strip) this.go({ place: 0 });
    else if (this.sharing.isOn && !id) this.sharing.goToNext();
    else {
      // A sample that its decision has taken out of the selection is followed by the one that takes its place.
      const otherwise = this.current && !isUndecided(this.current) ? { place: this.memory.place } : { undecided: 0 };
      this.go(id ? { id, otherwise } : otherwise);
    }
  }

  // ---- going to a sample ---------------------------------------------------------------------------------------------------
  get current() {
    return this.focus && this.queue.samples.get(this.focus.row);
  }

  /** Goes to a place, to a sample by its id, or to the first undecided one from a place on. A later wish overtakes. */
  async go(wanted) {
    const turn = ++this.turn;
    const last = this.data.total - 1;
    try {
      let { place } = wanted;
      if (place === undefined) {
        const known = wanted.id && this.queue.placeOf(wanted.id);
        const found = Number.isInteger(known) ? { place: known } : await this.queue.load(wanted);
        if (turn !== this.turn) return;
        if (found.place === null && wanted.stay && found.outside.length) {
          this.focusOn(null, found.outside[0]);
          return;
        }
        if (found.place === null && wanted.otherwise) {
          await this.go(wanted.otherwise);
          return;
        }
        place = found.place ?? wanted.undecided ?? 0;
      }
      this.heading = place = clamp(place, 0, last); // further moves start here meanwhile
      const start = this.layout === "single" ? Math.max(place - AT_ONCE / 3, 0) : pageOf(place);
      if (wanted.anew || !this.queue.isLoaded(place)) await this.queue.load({ start });
      if (turn === this.turn) this.focusOn(place);
    } catch (error) {
      if (turn === this.turn) this.say(`The samples cannot be read: ${error.message}`, "wrong");
    }
  }

  focusOn(place, sample = this.queue.at(place)) {
    if (!sample) return;
    if (this.layout === "gallery" && pageOf(this.focus?.place ?? 0) !== pageOf(place ?? 0)) this.ticks.clear();
    this.turn++;
    this.heading = null;
    this.focus = { place, row: sample.row, id: sample.id };
    if (!this.strip) {
      Object.assign(this.memory, { id: sample.id, place: place ?? this.memory.place });
      const url = new URL(location.href);
      url.searchParams.set("sample", sample.id); // a refresh shows the same sample again
      history.replaceState(history.state, "", url);
      this.sendPlace(QUIET_MOVES);
    }
    this.draw();
    this.loadAhead();
  }

  /** Has the next samples there before they are asked for: what they are, and their images. */
  loadAhead() {
    const { queue } = this;
    const { place } = this.focus;
    const { total } = this.data;
    if (place === null || this.strip) return;
    if (this.layout === "gallery") {
      const next = pageOf(place) + AT_ONCE;
      if (next < total && !queue.at(next)) queue.load({ start: next }).catch(() => {});
      return;
    }
    let end = place + 1;
    while (queue.at(end)) end++;
    if (end < total && end - place <= AHEAD_LEFT && this.asked !== end) {
      this.asked = end;
      queue
        .load({ start: end })
        .then(
          () => this.loadAhead(),
          () => {},
        )
        .finally(() => (this.asked = null));
    }
    if (place > 0 && !queue.at(place - 1)) queue.load({ start: Math.max(place - AT_ONCE / 2, 0) }).catch(() => {});
    const next = queue
      .places(place + 1)
      .map((other) => queue.at(other))
      .filter(Boolean);
    const undecided = this.sharing.isOn ? this.sharing.samples : next.filter(isUndecided);
    this.single.preload(this.data.run, [...new Set([...undecided.slice(0, AHEAD), ...next.slice(0, 2)])]);
    this.sharing.claimAhead();
  }

  /** Moves to the next undecided sample after the one in focus. */
  goToNext() {
    const { queue } = this;
    this.byHand = false;
    if (this.sharing.isOn) return this.sharing.goToNext();
    const from = (this.focus.place ?? this.memory.place - 1) + 1;
    for (let place = from; place < this.data.total; place++) {
      const sample = queue.at(place);
      if (!sample) return this.go({ undecided: place });
      if (isUndecided(sample))
        return this.layout === "gallery" && !queue.isLoaded(place) ? this.go({ place }) : this.focusOn(place);
    }
    if (from < this.data.total) return this.go({ place: from });
    return this.draw();
  }

  // ---- words, to the reviewer and to Python ----------------------------------------------------------------------------------
  say(text, tone = "") {
    if (this.strip) assign(this.empty, { textContent: text, hidden: false });
    assign(this.said, { textContent: text, title: text, className: `said ${tone}` });
  }

  sendPlace(...given) {
    this.placeSender.sendLater(...given);
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------------
  draw() {
    const { run, total } = this.data;
    const sample = this.current;
    const empty = total === 0 && !sample;
    this.empty.hidden = !empty;
    this.empty.textContent = "No sample is selected: widen the budget or the filters at the left.";
    this.single.root.hidden = empty || this.layout !== "single";
    this.gallery.root.hidden = empty || this.layout === "single";
    this.drawBars();
    if (empty || !sample) return;
    if (this.layout === "single") {
      this.single.show(run, sample, this.focus.place, total, this.focus.place === null);
      this.why.show(this.data, sample);
      return;
    }
    const start = pageOf(this.focus.place ?? 0);
    const entries = this.queue.places(start).map((place) => [place, this.queue.at(place)]);
    this.gallery.draw(
      run,
      entries.filter(([, entry]) => entry),
      this.strip,
    );
    const active = this.root.getRootNode().activeElement;
    this.gallery.mark(this.focus.place, this.ticks.marked, this.grab || active?.closest(".tile"));
    this.grab = false; // the keyboard's focus goes along once: after a move, and where the layout has changed
    this.toolbar.drawTicks(start, total, this.ticks.size, this.ticks.everything);
  }

  drawBars() {
    const several = this.layout === "gallery" && (this.ticks.everything || this.ticks.size > 1);
    this.toolbar.draw(this.layout, this.data.keyed, several ? null : this.current);
    if (this.queue.progress) this.toolbar.drawProgress(this.queue.progress);
  }

  // ---- what the user does --------------------------------------------------------------------------------------------------
  makeCommands() {
    const move = (way) => () => this.move(way);
    return {
      keep: () => this.decisions.decide("keep"),
      remove: () => this.decisions.decide("remove"),
      unsure: () => this.decisions.decide("unsure"),
      accept: () => this.decisions.decide("relabel", null),
      undo: () => this.decisions.step("oga/undo"),
      redo: () => this.decisions.step("oga/redo"),
      back: move("back"),
      next: move("next"),
      up: move("up"),
      down: move("down"),
      pageBack: move("pageBack"),
      pageNext: move("pageNext"),
      open: () => this.layout !== "single" && this.focus && this.open(this.focus.place),
      tick: () => this.layout === "gallery" && this.focus && this.tick(this.focus.place, false),
      tickPage: () => this.layout === "gallery" && this.tickPage(),
      tickAll: () => this.tickAll(),
      untick: () => this.untick(),
      layout: () => this.strip || this.setLayout(this.layout === "single" ? "gallery" : "single"),
      help: () => this.keys.open(),
    };
  }

  perform(action) {
    if (action.startsWith("class ")) this.decisions.decide("relabel", this.data.keyed[action.slice(6)]);
    else this.commands[action]();
  }

  /** Goes to a tile that was clicked. */
  pick(place) {
    if (this.strip) return this.open(place);
    this.ticks.leave();
    this.byHand = true;
    return this.focusOn(place);
  }

  open(place) {
    this.focusOn(place);
    if (!this.strip) return this.setLayout("single");
    recallPlace(this.data.run, false).id = this.focus.id;
    sessionStorage.setItem(LAYOUT, "single");
    return this.sendPlace(0, { open: true });
  }

  setLayout(layout) {
    if (layout === this.layout) return;
    this.layout = this.root.dataset.layout = layout;
    if (!this.data.own) sessionStorage.setItem(LAYOUT, layout);
    this.grab = layout === "gallery";
    this.ticks.clear();
    this.sendPlace();
    if (!this.focus) this.arrive(null);
    else if (this.focus.place !== null) this.go({ place: this.focus.place });
    else this.go({ id: this.focus.id, otherwise: { place: this.memory.place } });
  }

  tick(place, range) {
    this.byHand = true;
    if (range) this.ticks.extend(place, this.focus?.place ?? place);
    else this.ticks.toggle(place);
    this.focusOn(place);
  }

  tickPage() {
    this.ticks.tickPage(this.focus.place);
    this.draw();
  }

  tickAll() {
    this.ticks.tickAll(this.focus.place);
    this.draw();
  }

  untick() {
    if (this.ticks.size) {
      this.ticks.clear();
      this.draw();
    } else if (this.layout === "single") this.setLayout("gallery");
  }

  move(way, range = false) {
    if (!this.focus) return;
    const from = this.heading ?? this.focus.place ?? this.memory.place;
    const last = this.data.total - 1;
    const lines = { up: -1, down: 1 };
    const steps = { back: -1, next: 1, pageBack: -AT_ONCE, pageNext: AT_ONCE };
    let place = from + (steps[way] ?? 0);
    if (lines[way]) place = this.gallery.line(from, lines[way]) ?? from + lines[way];
    if (way.startsWith("page")) place = pageOf(clamp(place, 0, last));
    place = clamp(place, 0, last);
    if (place === this.focus.place) return;
    this.grab = this.layout === "gallery";
    this.byHand = true;
    if (range && pageOf(place) === pageOf(from)) {
      this.tick(place, true);
      return;
    }
    this.ticks.leave();
    if (this.queue.isLoaded(place)) this.focusOn(place);
    else this.go({ place });
  }

  listen() {
    this.onKey = (event) => type(event, this);
    this.onLeave = (event) => this.saving.isBusy && event.preventDefault();
    document.addEventListener("keydown", this.onKey);
    window.addEventListener("beforeunload", this.onLeave);
    this.root.onclick = (event) => {
      const button = event.target.closest("[data-do]");
      if (button && !button.closest("dialog")) this.perform(button.dataset.do);
    };
    for (const button of this.root.querySelectorAll(".layouts button")) {
      button.onclick = () => this.setLayout(button.dataset.layout);
    }
  }
}
