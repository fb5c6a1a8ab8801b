// Sends actions to the server, one after another in the order of the keys; each is saved once the server has committed it.

import { formatCount } from "../numbers.js";
import { pageOf } from "./queue.js";
import { makeId, send } from "./server.js";

const SLOW = 600; // milliseconds after which "Saving…" is said

export class Saving {
  constructor(triage, naming) {
    Object.assign(this, { triage, naming, jobs: [] });
  }

  get isBusy() {
    return this.jobs.length > 0;
  }

  /** Takes whether a name must be entered before a decision. */
  setNeedsName(needsName) {
    this.needsName = needsName ?? this.needsName;
  }

  push(job) {
    const { run, queue } = this.triage.data;
    Object.assign(job, { run, queue, op: makeId() });
    for (const sample of job.samples) sample.job = job;
    this.jobs.push(job);
    if (this.jobs.length === 1) this.saveNext();
  }

  async saveNext() {
    const { triage } = this;
    if (this.needsName && !(await this.naming.ask())) {
      this.fail(new Error("your name is needed first"));
      return;
    }
    this.needsName = false;
    const [job] = this.jobs;
    const { path, op, run, queue, action, label, all, pairs } = job;
    const slow = setTimeout(() => triage.say("Saving…", "pending"), SLOW);
    const what =
      path === "oga/decide" ? { action, label, ...(all ? { all: true, version: all.version } : { samples: pairs }) } : {};
    const [answer, error] = await send(path, { op, run, queue, ...what }).then(
      (found) => [found],
      (failed) => [null, failed],
    );
    clearTimeout(slow);
    if (error?.status === 428) {
      this.needsName = true; // somebody has come meanwhile
      await this.saveNext();
      return;
    }
    if (error) this.fail(error);
    else {
      this.jobs.shift();
      this.finish(job, answer);
    }
    triage.sendPlace();
    if (this.isBusy) this.saveNext();
  }

  finish(job, found) {
    const { saved, ids, decisions, version, at, progress } = found;
    const { triage } = this;
    const { queue } = triage;
    triage.takeReviewers(found);
    queue.version = Math.max(version, queue.version);
    queue.progress = progress ?? queue.progress;
    if (!progress && !triage.strip) queue.load({ start: pageOf(triage.focus?.place ?? 0) }).catch(() => {});
    for (const sample of queue.samples.values()) {
      if (sample.job === job) Object.assign(sample, { job: null, pending: null });
      const decision = decisions[sample.id];
      if (decision !== undefined) Object.assign(sample, { decision, disputed: Boolean(decision?.disputed) });
    }
    const isStep = job.path !== "oga/decide";
    this.saySaved(job, saved, new Date(at).toLocaleTimeString([], { hour12: false }), isStep ? "" : describeConflicts(decisions));
    if (job.all || saved > ids.length) {
      queue.clear();
      const here = { place: triage.focus?.place ?? 0 };
      triage.go(ids.length ? { id: ids[0], otherwise: here } : here);
    } else if (isStep && ids.length) triage.go({ id: ids[0], stay: true });
    else triage.draw();
  }

  saySaved(job, saved, time, overtaken) {
    if (job.path !== "oga/decide" && !saved) {
      this.triage.say(`Nothing is left to ${job.path === "oga/undo" ? "undo" : "do again"} (${time})`);
    } else this.triage.say(`Saved${overtaken}: ${describeSaved(job, saved)} (${time})`, overtaken ? "beware" : "right");
  }

  /** Says so, shows the samples as they were, and drops what was to come after: it was decided as if this were saved. */
  fail(error) {
    const [first] = this.jobs;
    const lost = this.jobs.splice(0);
    for (const job of lost) for (const sample of job.samples) Object.assign(sample, { job: null, pending: null });
    const more = lost.length > 1 ? ` Nor ${formatCount(lost.length - 1, "action")} after it.` : "";
    this.triage.say(`Not saved: ${error.message}${/[.!?]$/.test(error.message) ? "" : "."}${more}`, "wrong");
    const [sample] = first.samples;
    if (sample && first.place !== undefined) {
      this.triage.sharing.hold(first.place);
      this.triage.focusOn(first.place, sample);
    } else this.triage.draw();
  }
}

function describeSaved({ action, label, samples }, saved) {
  const [only] = samples.length === 1 ? samples : [];
  const to = action === "relabel" ? ` to ${label ?? only?.suggested ?? "the suggested labels"}` : "";
  return `${action}${to}, ${only?.source ?? formatCount(saved, "sample")}`;
}

/** What a decision overtook that had not been seen, for the line that says "Saved". */
function describeConflicts(decisions) {
  const conflicts = Object.values(decisions).filter((decision) => decision?.conflict);
  if (!conflicts.length) return "";
  const who = [...new Set(conflicts.flatMap(({ others }) => others.map(([reviewer]) => reviewer)))].join(", ");
  return `, overtaking what ${who || "another reviewer"} had decided meanwhile`;
}
