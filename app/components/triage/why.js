// Why was it flagged? Everything that speaks for and against, asked for when the reviewer stays with a sample for a moment.

import { assign, element } from "../bidi.js";
import { clamp, formatNumber } from "../numbers.js";
import { labels, thumbnail } from "./gallery.js";
import { bar, notice } from "./icons.js";
import { formatPercent, formatShort } from "./numbers.js";
import { ask, PATIENCE } from "./server.js";

const PAUSE = 150; // milliseconds that a sample is looked at before it is asked for
const WHYS_HELD = 60;
const FORMATS = { count: formatNumber, share: (value) => formatPercent(value), number: formatShort };

export class Why {
  /** `focus` goes to a sample that is shown here. */
  constructor(root, focus) {
    Object.assign(this, { root, focus, held: new Map() });
    this.tip = element("div", { className: "tip", id: "why-tip", hidden: true, attributes: { role: "tooltip" } });
    this.body = element("div", { className: "body" });
    root.append(element("h2", { textContent: "Why was it flagged?" }), this.body, this.tip);
    const explain = (event) => this.explain(event.target.closest?.("[data-meaning]"));
    for (const type of ["mouseover", "focusin"]) root.addEventListener(type, explain);
    for (const type of ["mouseleave", "focusout"]) root.addEventListener(type, () => (this.tip.hidden = true));
  }

  dispose() {
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  show({ run, queue }, sample) {
    const key = `${run} ${queue} ${sample.row}`;
    this.sample = sample;
    if (key === this.key) return this.drawn && this.loadHistory(run, sample);
    this.key = key;
    this.drawn = false;
    this.dispose();
    this.tip.hidden = true;
    this.body.classList.add("old");
    const known = this.held.get(key);
    if (known) return this.draw(run, sample, known);
    this.body.style.minHeight = `${this.body.offsetHeight}px`; // so that nothing jumps meanwhile
    this.timer = setTimeout(() => this.load(key, run, queue, sample), PAUSE);
  }

  async load(key, run, queue, sample) {
    this.asking = new AbortController();
    const timeout = AbortSignal.timeout(PATIENCE);
    try {
      const path = `oga/why/${encodeURIComponent(run)}/${sample.row}?queue=${queue}`;
      const found = await ask(path, { signal: AbortSignal.any([this.asking.signal, timeout]) });
      this.held.set(key, found);
      while (this.held.size > WHYS_HELD) this.held.delete(this.held.keys().next().value);
      if (key === this.key) this.draw(run, sample, found);
    } catch (error) {
      if (error.name === "AbortError" || key !== this.key) return;
      this.body.replaceChildren(notice(`Could not load the explanation: ${error.message}`));
      this.body.classList.remove("old");
    }
  }

  draw(run, sample, why) {
    const [rank, samples, flags] = why.place;
    this.root.firstElementChild.textContent = why.flagged ? "Why was it flagged?" : "Why was it not flagged?";
    const place = element("p", { className: "place" }, "Rank ", this.term(rank, FORMATS.count(rank.value)), " of ");
    place.append(this.term(samples, FORMATS.count(samples.value)), " by ", element("b", { textContent: why.title }), "; ");
    place.append(this.term(flags, FORMATS.count(flags.value)), " are flagged.");
    this.body.replaceChildren(
      place,
      this.section("Gradient", this.lines(why.gradient)),
      ...(why.probabilities.length ? [this.section("Probabilities", this.probabilities(why))] : []),
      this.section(why.flagged ? "To lose the flag" : "To be flagged", this.lines(why.threshold)),
      this.section("What each score says", this.lines(why.scores)),
      ...this.neighbours(run, sample, why),
      ...(why.layers ? [this.layers(run, sample)] : []),
      (this.history = element("div")),
    );
    this.body.classList.remove("old");
    this.body.style.minHeight = "";
    this.drawn = true;
    this.historyKey = null;
    this.loadHistory(run, sample);
  }

  section(title, ...content) {
    return element("section", {}, element("h3", { textContent: title, dir: "auto" }), ...content);
  }

  /** A word or number that explains itself where the pointer or the focus is on it. */
  term({ meaning }, text) {
    const term = element("span", { className: "term", tabIndex: 0, textContent: text });
    term.dataset.meaning = meaning;
    return term;
  }

  explain(term) {
    if (!term) return (this.tip.hidden = true);
    assign(this.tip, { textContent: term.dataset.meaning });
    this.tip.hidden = false;
    term.setAttribute("aria-describedby", this.tip.id);
    const box = term.getBoundingClientRect(),
      frame = this.root.getBoundingClientRect();
    const left = clamp(box.left - frame.left, 0, Math.max(frame.width - this.tip.offsetWidth, 0));
    Object.assign(this.tip.style, { left: `${left}px`, top: `${box.bottom - frame.top + 4}px` });
  }

  /** A line for each number: what it is, how much, and how many of its class are no higher. */
  lines(numbers) {
    return element(
      "div",
      { className: "lines" },
      ...numbers.map((number) => {
        const title = number.title.replace(/^To .*: (.)/, (_, first) => first.toUpperCase()); // the section says the rest
        const line = element("div", { className: "line" }, this.term(number, title));
        line.append(element("span", { className: "value", textContent: FORMATS[number.form](number.value) }));
        if (number.percentile != null) {
          const share = number.percentile / 100,
            title = "of its class are no higher";
          line.append(bar(share), element("span", { className: "value", textContent: formatPercent(share), title }));
        }
        if (number.flagged) line.append(element("span", { className: "flag", textContent: "flagged" }));
        return line;
      }),
    );
  }

  probabilities({ probabilities, meanings }) {
    return element(
      "div",
      { className: "lines" },
      ...probabilities.map(({ name, value, given, predicted }) => {
        const role = [given && "given", predicted && "predicted"].filter(Boolean).join(", ");
        const term = this.term({ meaning: meanings.probabilities }, name);
        term.dir = "auto";
        const made = bar(value);
        made.classList.add(given ? "given" : "other");
        const much = element("span", { className: "value", textContent: formatPercent(value) });
        return element("div", { className: "line" }, term, much, made, element("span", { className: "role", textContent: role }));
      }),
    );
  }

  /** The most similar of all, and of its given label, where those are not the same. */
  neighbours(run, sample, why) {
    const rows = (near) => near.map(({ row }) => row).join(),
      same = rows(why.near) === rows(why.near_label);
    const alike = sample.predicted === undefined ? `of the group ${sample.label}` : `labelled ${sample.label}`;
    const ofLabel = `Most similar gradients${same ? ", all" : ""} ${alike}`;
    const sections = [this.section(ofLabel, this.near(run, "near_label", why))];
    return same ? sections : [this.section("Most similar gradients", this.near(run, "near", why)), ...sections];
  }

  near(run, which, { [which]: found, meanings, samples }) {
    if (!found.length) return element("p", { textContent: "There is no other." });
    return element(
      "div",
      { className: "near" },
      ...found.map(({ row, label, predicted, cosine }) => {
        const sample = samples[row],
          button = element("button", { type: "button", onclick: () => this.focus(sample) });
        button.append(element("span", { className: "picture" }, thumbnail(run, sample)), labels(sample));
        button.append(element("small", { textContent: `cosine ${cosine.toFixed(2)}` }));
        button.dataset.meaning = meanings[which];
        const of = predicted ? `labelled ${label}, predicted ${predicted}` : `group ${label}`;
        const said = `${sample.source}, ${of}, cosine ${cosine.toFixed(2)}`;
        return assign(button, { ariaLabel: `${said}: look at it` });
      }),
    );
  }

  layers(run, sample) {
    const button = element("button", { type: "button", textContent: "Share of the norm by layer" });
    const section = this.section("Layers", button);
    button.onclick = async () => {
      button.disabled = true;
      button.textContent = "Opening the model…";
      try {
        const shares = await ask(`oga/layers/${encodeURIComponent(run)}/${sample.row}`);
        const meaning = "‖g_l‖² / ‖g‖²: this layer's share of the squared length of the gradient; they add up to 1.";
        const lines = shares.map(({ layer, share }) =>
          element(
            "div",
            { className: "line" },
            this.term({ meaning }, layer),
            element("span", { className: "value", textContent: formatPercent(share) }),
            bar(share ?? 0),
          ),
        );
        button.replaceWith(element("div", { className: "lines" }, ...lines));
      } catch (error) {
        button.replaceWith(notice(error.message));
      }
    };
    return section;
  }

  /** Every event of the sample, where somebody has decided. */
  async loadHistory(run, sample) {
    const key = JSON.stringify([this.key, sample.decision?.seq]),
      holder = this.history;
    if (!holder || key === this.historyKey || sample.pending) return;
    this.historyKey = key;
    const events = await ask(`oga/history/${encodeURIComponent(run)}/${sample.row}`).catch(() => []);
    if (this.historyKey !== key || holder !== this.history) return;
    if (!events.length) return holder.replaceChildren();
    const lines = events.map(({ reviewer, action, new_label: label, time }) => {
      const what = action === "relabel" ? `relabel to ${label}` : action,
        when = new Date(time).toLocaleString();
      return element("li", { dir: "auto", textContent: `${when}: ${reviewer}, ${what}` });
    });
    const open = holder.querySelector("details")?.open ?? false;
    const summary = element("summary", { textContent: `History (${events.length})` });
    holder.replaceChildren(element("details", { open }, summary, element("ol", {}, ...lines)));
  }
}
