// What a key decides, and on which samples.

export class Decisions {
  constructor(triage, confirmation) {
    Object.assign(this, { triage, confirmation });
  }

  /** The samples that a key decides on: those that are ticked, or the one in focus. */
  get targets() {
    const { layout, ticks, current } = this.triage;
    const ticked = layout === "gallery" ? ticks.samples : [];
    return ticked.length || !current ? ticked : [current];
  }

  /** Shows the decision, and the next sample, at once. */
  decide(action, label = "") {
    const { triage } = this;
    if (!triage.data.decisions.includes(action)) return triage.say(triage.data.noRelabel);
    if (triage.ticks.everything) return this.decideOnAll(action, label);
    const samples = this.targets;
    if (!samples.length) return undefined;
    if (samples.length === 1 && action === "relabel" && (label ?? samples[0].suggested) === samples[0].label) {
      return triage.say(`The given label is ${samples[0].label} already: keep it instead.`);
    }
    for (const sample of samples) sample.pending = { action, label: action === "relabel" ? (label ?? sample.suggested) : "" };
    const pairs = samples.map((sample) => [sample.row, sample.decision?.seq ?? 0]); // what is seen now, not when it is sent
    triage.saving.push({ path: "oga/decide", action, label, samples, pairs, place: triage.focus.place });
    if (!triage.ticks.size) return triage.goToNext();
    triage.ticks.clear();
    return triage.draw();
  }

  async decideOnAll(action, label) {
    const { triage } = this;
    const { run, queue, total } = triage.data;
    try {
      const version = await this.confirmation.ask(`oga/shares/${encodeURIComponent(run)}/${queue}`, action, label);
      if (version === null) return;
      const { place } = triage.focus;
      triage.saving.push({ path: "oga/decide", action, label, samples: [], all: { version, total }, place });
      triage.ticks.clear();
      triage.draw();
    } catch (error) {
      triage.say(`Not saved: ${error.message}`, "wrong");
    }
  }

  /** Undoes or redoes an action. */
  step(path) {
    this.triage.saving.push({ path, samples: [], action: path === "oga/undo" ? "undone" : "done again" });
  }
}
