// The triage: draws the samples of a queue, takes the keys, and sends decisions to the server, which answers after its commit.
// The next sample is shown at once, from what is there already; Python hears of it when the keys have been quiet for a while.

const IN_STRIP = 12; // samples in a strip
const AHEAD_LEFT = 15; // samples still there when more are asked for
const QUIET = 400, QUIET_MOVES = 1200; // milliseconds without a key before Python is told
const SLOW = 600; // milliseconds after which "Saving…" is said
const CLAIM_LEFT = 2; // samples of a shared queue still there when more are asked for
const CLAIM_AGAIN = 60_000; // milliseconds
const RELOADED = "oga.reloaded", LAYOUT = "oga.layout", SHARING = "oga.sharing"; // in the browser's memory of this tab
const RELOAD_AGAIN = 20_000; // milliseconds
const KNOWN = 3000; // samples that are remembered
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
  // Streamlit also cleans up after a call that a quicker one has overtaken: what is on the page then goes on.
  return () => triage.root.isConnected || triage.dispose();
}

const NOT_TYPED_IN = ["button", "checkbox", "radio", "range", "submit", "reset", "file", "color"];
const CONTROLS = "button, a, input, summary, select, canvas, :is([role=slider], [role=radio], [role=tab], [role=option])";
const OF_GALLERY = ["up", "down", "pageBack", "pageNext", "tick", "tickPage", "open"]; // in the single view the browser's
const USES_ARROWS = "input:not([type=checkbox]), select, canvas, [role]:not([role=button]):not([role=checkbox])";

class Triage {
  constructor(root) {
    this.root = root;
    for (const part of ["said", "share", "empty"]) this[part] = root.querySelector(`.${part}`);
    Object.assign(this, { items: new Map(), order: new Map(), marked: new Map(), jobs: [], mine: [], version: 0, turn: 0 });
    this.does = this.deeds();
    this.keys = new Keys(root.querySelector("dialog.keys"), () => this.drawBars());
    this.toolbar = new Toolbar(root, this.keys, (name) => this.decide("relabel", name), (...told) => this.say(...told));
    this.confirmation = new Confirmation(root.querySelector("dialog.confirm"));
    this.naming = new Naming(root.querySelector("dialog.name"));
    this.gallery = new Gallery(root.querySelector(".gallery"), {
      focus: (place) => this.pick(place),
      open: (place) => this.open(place),
      tick: (place, range) => this.tick(place, range),
    });
    this.single = new Single(root.querySelector(".single"));
    this.why = new Why(root.querySelector(".why"), (item) => this.go({ id: item.id, stay: true }));
    this.listen();
  }

  dispose() {
    document.removeEventListener("keydown", this.onKey);
    window.removeEventListener("beforeunload", this.onLeave);
    clearInterval(this.claiming);
    clearTimeout(this.telling);
    if (this.telling && this.memory) this.memory.told = {}; // Python has not heard where we were: what it says next counts
    this.why.dispose();
    this.single.answer.dispose();
    this.gone = true;
  }

  // ---- from Python ---------------------------------------------------------------------------------------------------------
  update(component) {
    const { data } = component, before = this.data;
    Object.assign(this, { component, data, strip: data.layout === "strip" });
    const other = before?.run !== data.run, anew = other || before.queue !== data.queue;
    this.memory = remembered(`${data.run} ${this.strip}`);
    if (other) this.items.clear();
    if (anew) this.forget();
    const wanted = this.taken("focus") ?? this.memory.id;
    if (this.strip || data.own) this.layout ??= data.layout;
    else this.layout = this.taken("asked") ?? sessionStorage.getItem(LAYOUT) ?? data.layout;
    this.keys.use(data.keyed, data.relabels);
    this.hearOf(data);
    this.nameClasses();
    if (anew || (wanted && wanted !== this.focus?.id)) this.arrive(wanted);
    else if (data.version > this.version) this.go({ place: this.focus?.place ?? 0, anew: true });
  }

  /** What Python says now where it has said something else before; the browser goes on by itself otherwise. */
  taken(field) {
    const told = (this.memory.told ??= {}), now = this.data[field];
    if (told[field] === now) return undefined;
    told[field] = now;
    return now ?? undefined;
  }

  forget() {
    this.order.clear();
    this.mine = [];
    this.unmark();
  }

  async nameClasses() {
    const { run } = this.data;
    if (!shared.classes.has(run)) shared.classes.set(run, ask(`/oga/classes/${encodeURIComponent(run)}`).catch(() => []));
    this.toolbar.names = await shared.classes.get(run);
    this.drawBars();
  }

  arrive(id) {
    this.root.dataset.layout = this.layout;
    this.byHand = false;
    this.progress = null;
    if (this.data.total === 0) return this.draw();
    if (this.strip) return this.go({ place: 0 });
    if (this.sharing && !id) return this.onwardShared();
    // A sample that its decision has taken out of the selection is followed by the one that takes its place.
    const otherwise = this.current && !isUndecided(this.current) ? { place: this.memory.place } : { undecided: 0 };
    return this.go(id ? { id, otherwise } : otherwise);
  }

  // ---- samples -------------------------------------------------------------------------------------------------------------
  /** Asks for a part of the queue and keeps it. A queue that is no longer kept is asked for by a run of the page. */
  async load(wanted, tries = 2) {
    const { run, queue } = this.data, path = `/oga/window/${encodeURIComponent(run)}/${queue}`;
    const options = { count: this.strip ? IN_STRIP : AT_ONCE, ...(this.layout === "gallery" && { aligned: 1 }), ...wanted };
    try {
      const found = await ask(`${path}?${new URLSearchParams(options)}`);
      if (this.data.queue === queue) this.keep(found);
      return found;
    } catch (error) {
      if (error.status !== 410 || this.gone) throw error;
      if (tries === 0 && !this.reload()) throw error;
      this.tell(0);
      await wait(700);
      return this.load(wanted, tries - 1);
    }
  }

  /** Loads the page again where the server has been started anew and knows nothing of this session; not twice in a row. */
  reload() {
    if (this.jobs.length || Date.now() - Number(sessionStorage.getItem(RELOADED)) < RELOAD_AGAIN) return false;
    sessionStorage.setItem(RELOADED, Date.now());
    location.reload();
    return true;
  }

  keep(found) {
    const { start, items, alone, version, progress } = found;
    this.hearOf(found);
    items.forEach((item, i) => this.order.set(start + i, item.row));
    for (const item of [...items, ...alone]) this.remember(item, version);
    if (version >= this.version) Object.assign(this, { version, progress });
    for (const row of this.items.keys()) {
      if (this.items.size <= KNOWN) break;
      this.items.delete(row);
    }
  }

  /** Keeps a sample; what was answered later stands against what was asked for earlier. */
  remember(item, version) {
    const known = this.items.get(item.row);
    if (known && version < this.version) Object.assign(item, { decision: known.decision, disputed: known.disputed });
    this.items.delete(item.row);
    this.items.set(item.row, known ? Object.assign(known, item) : item);
  }

  at(place) {
    return this.items.get(this.order.get(place));
  }

  get current() {
    return this.focus && this.items.get(this.focus.row);
  }

  /** Goes to a place, to a sample by its id, or to the first undecided one from a place on. A later wish overtakes. */
  async go(wanted) {
    const turn = ++this.turn, last = this.data.total - 1;
    try {
      let { place } = wanted;
      if (place === undefined) {
        const known = wanted.id && [...this.order].find(([, row]) => this.items.get(row)?.id === wanted.id);
        const found = known ? { place: known[0] } : await this.load(wanted);
        if (turn !== this.turn) return;
        if (found.place === null && wanted.stay && found.alone.length) return this.focusOn(null, found.alone[0]);
        if (found.place === null && wanted.otherwise) return this.go(wanted.otherwise);
        place = found.place ?? wanted.undecided ?? 0;
      }
      this.heading = place = clamp(place, 0, last); // from where further moves go on meanwhile
      const start = this.layout === "single" ? Math.max(place - AT_ONCE / 3, 0) : this.pageOf(place);
      if (wanted.anew || !this.isThere(place)) await this.load({ start });
      if (turn === this.turn) this.focusOn(place);
    } catch (error) {
      if (turn === this.turn) this.say(`The samples cannot be read: ${error.message}`, "wrong");
    }
  }

  pageOf(place) {
    return place - (place % AT_ONCE);
  }

  isThere(place) {
    if (this.layout === "single") return Boolean(this.at(place));
    return this.places(this.pageOf(place)).every((other) => this.at(other));
  }

  places(start) {
    const count = Math.min(this.strip ? IN_STRIP : AT_ONCE, this.data.total - start);
    return Array.from({ length: Math.max(count, 0) }, (_, i) => start + i);
  }

  focusOn(place, item = this.at(place)) {
    if (!item) return;
    if (this.layout === "gallery" && this.pageOf(this.focus?.place ?? 0) !== this.pageOf(place ?? 0)) this.unmark();
    this.turn++;
    this.heading = null;
    this.focus = { place, row: item.row, id: item.id };
    if (!this.strip) {
      Object.assign(this.memory, { id: item.id, place: place ?? this.memory.place });
      const url = new URL(location.href);
      url.searchParams.set("sample", item.id); // a refresh shows the same sample again
      history.replaceState(history.state, "", url);
      this.tell(QUIET_MOVES);
    }
    this.draw();
    this.ahead();
  }

  /** Has the next samples there before they are asked for: what they are, and their images. */
  ahead() {
    const { place } = this.focus, { total } = this.data;
    if (place === null || this.strip) return;
    if (this.layout === "gallery") {
      const next = this.pageOf(place) + AT_ONCE;
      if (next < total && !this.at(next)) this.load({ start: next }).catch(() => {});
      return;
    }
    let end = place + 1;
    while (this.at(end)) end++;
    if (end < total && end - place <= AHEAD_LEFT && this.asked !== end) {
      this.asked = end;
      this.load({ start: end }).then(() => this.ahead(), () => {}).finally(() => (this.asked = null));
    }
    if (place > 0 && !this.at(place - 1)) this.load({ start: Math.max(place - AT_ONCE / 2, 0) }).catch(() => {});
    const next = this.places(place + 1).map((other) => this.at(other)).filter(Boolean);
    const undecided = this.sharing ? this.mine.map((other) => this.at(other)).filter(Boolean) : next.filter(isUndecided);
    this.single.preload(this.data.run, [...new Set([...undecided.slice(0, AHEAD), ...next.slice(0, 2)])]);
    this.claimAhead();
  }

  /** Goes on to the next undecided sample after the one in focus. */
  onward() {
    this.byHand = false;
    if (this.sharing) return this.onwardShared();
    const from = (this.focus.place ?? this.memory.place - 1) + 1;
    for (let place = from; place < this.data.total; place++) {
      const item = this.at(place);
      if (!item) return this.go({ undecided: place });
      if (isUndecided(item)) return this.layout === "gallery" && !this.isThere(place) ? this.go({ place }) : this.focusOn(place);
    }
    if (from < this.data.total) return this.go({ place: from });
    this.draw();
  }

  // ---- a queue that several share --------------------------------------------------------------------------------------------
  /** Samples are claimed from the first on: a reviewer who joins gets others. Off, for those who want to decide on the same. */
  get claims() {
    return !this.strip && sessionStorage.getItem(SHARING) !== `off ${this.data.run}`;
  }

  get sharing() {
    return this.several && this.claims;
  }

  /** Takes from Python's data or an answer whether others review too, and whether a name must be entered before a decision. */
  hearOf({ several, needsName }) {
    this.several = several ?? this.several;
    this.needsName = needsName ?? this.needsName;
    this.share.hidden = !this.several;
    this.share.firstElementChild.checked = this.claims;
  }

  /** Claims what is looked at and what comes next. A sample that another reviewer has is left, unless it was gone to by hand. */
  async claimAhead() {
    const { place } = this.focus, coming = this.mine.filter((other) => other !== place && isUndecided(this.at(other)));
    if (!this.claims || this.asking || place === null || !isUndecided(this.current)) return;
    if (this.mine.includes(place) && (this.byHand || coming.length > CLAIM_LEFT)) return;
    this.asking = true;
    const asked = await this.claim(this.byHand).then(() => true, () => false); // where nothing can be saved, nothing is claimed
    this.asking = false;
    if (!asked || this.gone) return;
    if (this.focus.place !== place) return this.claimAhead();
    if (this.mine.includes(place) || !isUndecided(this.current)) return;
    if (this.byHand) this.say("Another reviewer has this sample in front of them.", "beware");
    else this.onwardShared();
  }

  /** Claims the next samples, or only the one in focus. */
  async claim(only = false) {
    const { run, queue } = this.data, here = this.focus?.place ?? this.memory.place;
    const place = this.current && isUndecided(this.current) ? here : here + 1;
    const found = await send("/oga/claim", { run, queue, place, only });
    if (this.data.queue !== queue) return;
    this.hearOf(found);
    found.items.forEach((item, i) => {
      this.order.set(found.places[i], item.row);
      this.remember(item, found.version);
    });
    this.mine = only ? [...this.mine, ...found.places] : found.places;
  }

  async onwardShared() {
    const next = () => this.mine.find((place) => this.at(place) && isUndecided(this.at(place)) && place !== this.focus?.place);
    try {
      if (next() === undefined) {
        if (this.focus) this.draw();
        await this.claim();
      }
      if (next() === undefined) return this.say(`Every sample is decided${this.several ? " or with another reviewer" : ""}.`);
      await this.go({ place: next() });
      if (this.mine.filter((place) => isUndecided(this.at(place))).length <= CLAIM_LEFT) await this.claim();
    } catch (error) {
      this.say(`The queue cannot be shared: ${error.message}`, "wrong");
    }
  }

  async setSharing(on) {
    sessionStorage.setItem(SHARING, on ? "" : `off ${this.data.run}`);
    this.mine = [];
    if (!on) return;
    await this.claim().catch((error) => this.say(`The queue cannot be shared: ${error.message}`, "wrong"));
    if (!this.mine.includes(this.focus?.place)) this.onwardShared();
  }

  // ---- ticks ---------------------------------------------------------------------------------------------------------------
  /** Ticks or unticks a sample, or ticks a range from the anchor to it, besides what was ticked before the range. */
  tick(place, range) {
    this.everything = false;
    this.byHand = true;
    if (range) {
      const { from, before } = (this.anchor ??= { from: this.focus?.place ?? place, before: new Map(this.marked) });
      this.marked = new Map(before);
      for (const other of this.places(this.pageOf(place))) {
        if ((other - from) * (other - place) <= 0) this.marked.set(other, this.at(other));
      }
    } else {
      if (!this.marked.delete(place)) this.marked.set(place, this.at(place));
      this.anchor = { from: place, before: new Map(this.marked) };
    }
    this.focusOn(place);
  }

  unmark() {
    this.marked.clear();
    this.everything = false;
    this.anchor = null;
  }

  /** The samples that a key decides on: those that are ticked, or the one in focus. */
  get meant() {
    const ticked = this.layout === "gallery" ? [...this.marked].sort(([a], [b]) => a - b).map(([, item]) => item) : [];
    return ticked.length || !this.current ? ticked : [this.current];
  }

  // ---- decisions -----------------------------------------------------------------------------------------------------------
  decide(action, label = "") {
    if (action === "relabel" && !this.data.relabels) return this.say("Prompts and answers have no label that could be another.");
    if (this.everything) return this.decideOnAll(action, label);
    const items = this.meant;
    if (!items.length) return;
    if (items.length === 1 && action === "relabel" && (label ?? items[0].suggested) === items[0].label) {
      return this.say(`The given label is ${items[0].label} already: keep it instead.`);
    }
    for (const item of items) item.pending = { action, label: action === "relabel" ? label ?? item.suggested : "" };
    const samples = items.map((item) => [item.row, item.decision?.seq ?? 0]); // what is seen now, not when it is sent
    const job = { path: "/oga/decide", action, label, items, samples, place: this.focus.place };
    this.push(job);
    if (this.marked.size) {
      this.unmark();
      this.draw();
    } else this.onward();
  }

  async decideOnAll(action, label) {
    const { run, queue, total } = this.data;
    try {
      const version = await this.confirmation.asked(`/oga/shares/${encodeURIComponent(run)}/${queue}`, action, label);
      if (version === null) return;
      this.push({ path: "/oga/decide", action, label, items: [], all: { version, total }, place: this.focus.place });
      this.unmark();
      this.draw();
    } catch (error) {
      this.say(`Not saved: ${error.message}`, "wrong");
    }
  }

  step(path) {
    this.push({ path, items: [], action: path === "/oga/undo" ? "undone" : "done again" });
  }

  /** One action after another, in the order of the keys. */
  push(job) {
    const { run, queue } = this.data;
    Object.assign(job, { run, queue, op: identity() });
    for (const item of job.items) item.job = job;
    this.jobs.push(job);
    if (this.jobs.length === 1) this.saveNext();
  }

  async saveNext() {
    if (this.needsName && !(await this.naming.asked())) return this.notSaved(new Error("your name is needed first"));
    this.needsName = false;
    const [job] = this.jobs, { path, op, run, queue, action, label, all } = job;
    const slow = setTimeout(() => this.say("Saving…", "pending"), SLOW);
    const { samples } = job;
    const what = path === "/oga/decide" ? { action, label, ...(all ? { all: true, version: all.version } : { samples }) } : {};
    const [answer, error] = await send(path, { op, run, queue, ...what }).then((found) => [found], (failed) => [null, failed]);
    clearTimeout(slow);
    if (error?.status === 428) {
      this.needsName = true; // somebody has come meanwhile
      return this.saveNext();
    }
    if (error) this.notSaved(error);
    else {
      this.jobs.shift();
      this.saved(job, answer);
    }
    this.tell();
    if (this.jobs.length) this.saveNext();
  }

  saved(job, found) {
    const { saved, ids, decisions, version, at, progress } = found;
    this.hearOf(found);
    this.version = Math.max(version, this.version);
    this.progress = progress ?? this.progress;
    if (!progress && !this.strip) this.load({ start: this.pageOf(this.focus?.place ?? 0) }).catch(() => {});
    for (const item of this.items.values()) {
      if (item.job === job) Object.assign(item, { job: null, pending: null });
      const decision = decisions[item.id];
      if (decision !== undefined) Object.assign(item, { decision, disputed: Boolean(decision?.disputed) });
    }
    const time = new Date(at).toLocaleTimeString([], { hour12: false });
    const stepped = job.path !== "/oga/decide", overtaken = stepped ? "" : overtook(decisions);
    if (stepped && !saved) this.say(`Nothing is left to ${job.path === "/oga/undo" ? "undo" : "do again"} (${time})`);
    else this.say(`Saved${overtaken}: ${this.words(job, saved)} (${time})`, overtaken ? "beware" : "right");
    if (job.all || saved > ids.length) {
      this.items.clear();
      this.order.clear();
      const here = { place: this.focus?.place ?? 0 };
      this.go(ids.length ? { id: ids[0], otherwise: here } : here);
    } else if (stepped && ids.length) this.go({ id: ids[0], stay: true });
    else this.draw();
  }

  words({ action, label, items }, saved) {
    const [only] = items.length === 1 ? items : [];
    const to = action === "relabel" ? ` to ${label ?? only?.suggested ?? "the suggested labels"}` : "";
    return `${action}${to}, ${only?.source ?? counted(saved, "sample")}`;
  }

  /** Says so, shows the samples as they were, and drops what was to come after: it was decided as if this were saved. */
  notSaved(error) {
    const [first] = this.jobs, lost = this.jobs.splice(0);
    for (const job of lost) for (const item of job.items) Object.assign(item, { job: null, pending: null });
    const more = lost.length > 1 ? ` Nor ${counted(lost.length - 1, "action")} after it.` : "";
    this.say(`Not saved: ${error.message}${/[.!?]$/.test(error.message) ? "" : "."}${more}`, "wrong");
    const [item] = first.items;
    if (item && first.place !== undefined) this.focusOn(first.place, item);
    else this.draw();
  }

  say(text, tone = "") {
    if (this.strip) assign(this.empty, { textContent: text, hidden: false });
    assign(this.said, { textContent: text, title: text, className: `said ${tone}` });
  }

  // ---- to Python -----------------------------------------------------------------------------------------------------------
  /** Tells Python where the reviewer is, once the keys have been quiet; the counts on the page then follow. */
  tell(quiet = QUIET, more = {}) {
    const due = performance.now() + quiet;
    if (this.telling && quiet > 0 && this.due < due && quiet === QUIET_MOVES) return;
    clearTimeout(this.telling);
    this.due = due;
    this.telling = setTimeout(() => {
      this.telling = null;
      if (this.gone) return;
      if (this.jobs.length) return this.tell(QUIET, more);
      const { id = null } = this.focus ?? {};
      if (!this.strip) this.memory.told = { focus: id, asked: this.layout };
      this.component.setTriggerValue("act", { id: identity(), focus: id, ...(!this.data.own && { layout: this.layout }), ...more });
    }, quiet);
  }

  /** A click on a tile. */
  pick(place) {
    if (this.strip) return this.open(place);
    this.anchor = null;
    this.byHand = true;
    this.focusOn(place);
  }

  open(place) {
    this.focusOn(place);
    if (!this.strip) return this.setLayout("single");
    remembered(`${this.data.run} false`).id = this.focus.id;
    sessionStorage.setItem(LAYOUT, "single");
    this.tell(0, { open: true });
  }

  setLayout(layout) {
    if (layout === this.layout) return;
    this.layout = this.root.dataset.layout = layout;
    if (!this.data.own) sessionStorage.setItem(LAYOUT, layout);
    this.grab = layout === "gallery";
    this.unmark();
    this.tell();
    if (!this.focus) this.arrive(null);
    else if (this.focus.place !== null) this.go({ place: this.focus.place });
    else this.go({ id: this.focus.id, otherwise: { place: this.memory.place } });
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------------
  draw() {
    const { run, total } = this.data, item = this.current, empty = total === 0 && !item;
    this.empty.hidden = !empty;
    this.empty.textContent = "No sample is selected: widen the budget or the filters at the left.";
    this.single.root.hidden = empty || this.layout !== "single";
    this.gallery.root.hidden = empty || this.layout === "single";
    this.drawBars();
    if (empty || !item) return;
    if (this.layout === "single") {
      this.single.show(run, item, this.focus.place, total, this.focus.place === null);
      this.why.show(this.data, item);
      return;
    }
    const start = this.pageOf(this.focus.place ?? 0), entries = this.places(start).map((place) => [place, this.at(place)]);
    this.gallery.draw(run, entries.filter(([, entry]) => entry), this.strip);
    const active = this.root.getRootNode().activeElement;
    this.gallery.mark(this.focus.place, this.marked, this.grab || active?.closest(".tile"));
    this.grab = false; // the keyboard's focus goes along once: after a move, and where the layout has changed
    this.toolbar.drawTicks(start, total, this.marked.size, Boolean(this.everything));
  }

  drawBars() {
    const several = this.layout === "gallery" && (this.everything || this.marked.size > 1);
    this.toolbar.draw(this.layout, this.data.keyed, several ? null : this.current);
    if (this.progress) this.toolbar.drawProgress(this.progress);
  }

  // ---- what the user does --------------------------------------------------------------------------------------------------
  deeds() {
    const move = (way) => () => this.move(way);
    return {
      keep: () => this.decide("keep"), remove: () => this.decide("remove"), unsure: () => this.decide("unsure"),
      accept: () => this.decide("relabel", null), undo: () => this.step("/oga/undo"), redo: () => this.step("/oga/redo"),
      back: move("back"), next: move("next"), up: move("up"), down: move("down"),
      pageBack: move("pageBack"), pageNext: move("pageNext"),
      open: () => this.layout !== "single" && this.focus && this.open(this.focus.place),
      tick: () => this.layout === "gallery" && this.focus && this.tick(this.focus.place, false),
      tickPage: () => this.layout === "gallery" && this.tickPage(),
      tickAll: () => this.tickAll(),
      untick: () => this.untick(),
      layout: () => this.strip || this.setLayout(this.layout === "single" ? "gallery" : "single"),
      help: () => this.keys.open(),
    };
  }

  tickPage() {
    for (const place of this.places(this.pageOf(this.focus.place))) this.marked.set(place, this.at(place));
    this.draw();
  }

  tickAll() {
    this.tickPage();
    this.everything = this.data.total > this.marked.size;
    this.draw();
  }

  untick() {
    if (this.marked.size) {
      this.unmark();
      this.draw();
    } else if (this.layout === "single") this.setLayout("gallery");
  }

  move(way, range = false) {
    if (!this.focus) return;
    const from = this.heading ?? this.focus.place ?? this.memory.place, last = this.data.total - 1;
    const lines = { up: -1, down: 1 }, steps = { back: -1, next: 1, pageBack: -AT_ONCE, pageNext: AT_ONCE };
    let place = from + (steps[way] ?? 0);
    if (lines[way]) place = this.gallery.line(from, lines[way]) ?? from + lines[way];
    if (way.startsWith("page")) place = this.pageOf(clamp(place, 0, last));
    place = clamp(place, 0, last);
    if (place === this.focus.place) return;
    this.grab = this.layout === "gallery";
    this.byHand = true;
    if (range && this.pageOf(place) === this.pageOf(from)) return this.tick(place, true);
    this.anchor = null;
    if (this.isThere(place)) this.focusOn(place);
    else this.go({ place });
  }

  listen() {
    this.onKey = (event) => this.type(event);
    this.onLeave = (event) => this.jobs.length && event.preventDefault();
    document.addEventListener("keydown", this.onKey);
    window.addEventListener("beforeunload", this.onLeave);
    this.root.onclick = (event) => {
      const button = event.target.closest("[data-do]");
      if (button && !button.closest("dialog")) this.act(button.dataset.do);
    };
    for (const button of this.root.querySelectorAll(".layouts button")) {
      button.onclick = () => this.setLayout(button.dataset.layout);
    }
    this.claiming = setInterval(() => this.focus && this.claims && !document.hidden && this.claim().catch(() => {}), CLAIM_AGAIN);
    this.share.firstElementChild.onchange = (event) => this.setSharing(event.target.checked);
  }

  act(action) {
    if (action.startsWith("class ")) this.decide("relabel", this.data.keyed[action.slice(6)]);
    else this.does[action]();
  }

  type(event) {
    const path = event.composedPath(), [target] = path, inside = path.includes(this.root);
    if (event.defaultPrevented || event.isComposing || isTypedIn(target) || (this.strip && !inside)) return;
    if (this.root.querySelector("dialog[open]") || document.querySelector("[role=dialog], [role=listbox]")) return;
    const name = keyName(event);
    let action = name && this.keys.does(name);
    const range = !action && name?.startsWith("Shift+") && this.keys.does(name.slice(6));
    if (range && MOVES.includes(range) && this.layout === "gallery") action = range;
    if (!action || this.leaves(action, name, target, inside)) return;
    event.preventDefault();
    if (event.repeat && !MOVES.includes(action)) return; // a held key counts once
    if (MOVES.includes(action)) this.move(action, Boolean(range));
    else this.act(action);
  }

  /** Whether a key is left to what has the focus: arrows, Enter and Space to controls, lines and pages to scrolling. */
  leaves(action, name, target, inside) {
    if (this.layout === "single" && OF_GALLERY.includes(action)) return true;
    if (name.length === 1) return false;
    if (inside && target.closest?.(".tile")) return false;
    const control = target.closest?.(CONTROLS);
    if (!control) return false;
    if (["Enter", "Space"].includes(name)) return true;
    return /^(Arrow|Page)/.test(name) && control.matches(USES_ARROWS);
  }
}

const isTypedIn = (target) =>
  target?.isContentEditable || target?.matches?.("textarea, select") ||
  (target?.matches?.("input") && !NOT_TYPED_IN.includes(target.type));

const isUndecided = (item) => Boolean(item) && !item.decision && !item.pending;

const remembered = (key) => {
  if (!shared.memory.has(key)) shared.memory.set(key, { place: 0 });
  return shared.memory.get(key);
};

/** What a decision overtook that had not been seen, for the line that says "Saved". */
function overtook(decisions) {
  const conflicts = Object.values(decisions).filter((decision) => decision?.conflict);
  if (!conflicts.length) return "";
  const who = [...new Set(conflicts.flatMap(({ others }) => others.map(([reviewer]) => reviewer)))].join(", ");
  return `, overtaking what ${who || "another reviewer"} had decided meanwhile`;
}
