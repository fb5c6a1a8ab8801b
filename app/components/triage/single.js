// One sample alone: the sample itself, the scores of its label, and its current decision.

import { assign, element } from "../bidi.js";
import { formatNumber } from "../numbers.js";
import { Answer } from "./answer.js";
import { badge } from "./gallery.js";
import { notice, picture } from "./icons.js";
import { formatPercent, formatShort } from "./numbers.js";
import { ask, HELD, imageUrl } from "./server.js";

const LARGE = 480;
export const AHEAD = 8; // samples whose images or texts are there before they are asked for

export class Single {
  constructor(root) {
    this.root = root;
    for (const name of ["picture", "place", "source", "labels", "decision"]) this[name] = root.querySelector(`.${name}`);
    this.answer = new Answer(this.picture);
    this.images = new Map(); // by run and index
    this.texts = new Map();
  }

  /** The image, already asked for where it has been one of the next. */
  image(run, sample) {
    const url = imageUrl(run, sample, LARGE);
    let image = this.images.get(url);
    if (!image || !(image.naturalWidth || !image.complete)) image = picture(url, "", false);
    image.fetchPriority = "high";
    this.images.delete(url);
    this.images.set(url, image);
    while (this.images.size > HELD) this.images.delete(this.images.keys().next().value);
    return image;
  }

  text(run, sample) {
    const url = `oga/text/${encodeURIComponent(run)}/${sample.index}`;
    if (!this.texts.has(url))
      this.texts.set(
        url,
        ask(url).catch((error) => ({ error: error.message })),
      );
    while (this.texts.size > HELD) this.texts.delete(this.texts.keys().next().value);
    return this.texts.get(url);
  }

  preload(run, samples) {
    for (const sample of samples.slice(0, AHEAD)) {
      if (sample.text === undefined)
        this.image(run, sample)
          .decode?.()
          .catch(() => {});
      else if (sample.long) this.text(run, sample);
    }
  }

  show(run, sample, place, total, outside) {
    this.sample = sample;
    this.place.textContent = outside ? "not in the selection" : `${formatNumber(place + 1)} of ${formatNumber(total)}`;
    assign(this.source, { textContent: sample.source, title: sample.source });
    const key = `${run} ${sample.row} ${sample.cosine}`;
    if (key !== this.key) {
      this.key = key;
      this.showSample(run, sample);
      this.labels.replaceChildren(...this.cells(sample));
    }
    this.paint(sample);
  }

  showSample(run, sample) {
    this.answer.dispose();
    this.picture.classList.toggle("textual", sample.text !== undefined);
    this.picture.classList.toggle("answering", sample.answer !== undefined && !sample.changed);
    if (sample.changed) return this.picture.replaceChildren(notice("This sample has changed since it was scored."));
    if (sample.text === undefined) {
      const image = this.image(run, sample);
      return this.picture.replaceChildren(assign(image, { alt: `${sample.source}, labelled ${sample.label}` }));
    }
    if (sample.answer !== undefined) return this.answer.show(run, sample, sample.long ? this.text(run, sample) : null);
    const words = element("p", { className: "words", dir: "auto", tabIndex: sample.long ? 0 : -1, textContent: sample.text });
    this.picture.replaceChildren(words);
    this.picture.scrollTop = 0;
    if (sample.long) this.text(run, sample).then((full) => this.sample === sample && this.lengthen(words, full));
  }

  lengthen(words, { text, characters, error }) {
    if (error) return words.replaceWith(notice(error));
    assign(words, { textContent: text });
    if (characters > text.length) {
      const more = `Shown: the first ${formatNumber(text.length)} of ${formatNumber(characters)} characters.`;
      words.after(element("small", { textContent: more }));
    }
  }

  cells(sample) {
    const facts =
      sample.predicted === undefined
        ? [
            ["Group", sample.label, ""],
            [
              "Loss",
              formatShort(sample.loss),
              sample.loss == null ? "" : `nats a token: p = ${formatPercent(Math.exp(-sample.loss))}`,
            ],
            ["Score", formatShort(sample.score), `≥ ${formatPercent(sample.percentile)} of all`],
          ]
        : [
            [
              "Given label",
              sample.label || "none",
              sample.confidence == null ? "" : `model: ${formatPercent(sample.confidence)}`,
            ],
            ["Predicted", sample.predicted, sample.predicted === sample.label ? "as given" : "not as given"],
            ["Suggested", sample.suggested || "none", sample.suggestedBy],
            ["Score", formatShort(sample.score), `≥ ${formatPercent(sample.percentile)} of all`],
          ];
    if (sample.cosine !== undefined) facts.splice(-1, 1, ["Cosine", sample.cosine.toFixed(3), "with the test sample"]);
    return facts.map(([term, value, more]) =>
      element(
        "div",
        {},
        element("dt", { textContent: term }),
        element("dd", { textContent: value, title: value, dir: "auto" }),
        element("dd", { textContent: more, title: more, className: "more" }),
      ),
    );
  }

  /** Shows the sample's current decision, and whether reviewers disagree. */
  paint(sample) {
    const state = JSON.stringify([sample.row, sample.decision, sample.pending, sample.disputed]);
    if (state === this.state) return;
    this.state = state;
    const { decision } = sample,
      shown = [badge(sample) ?? element("span", { className: "badge", textContent: "undecided" })];
    if (decision && !sample.pending) {
      const when = new Date(decision.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      shown.push(element("span", { textContent: `by ${decision.reviewer}, ${when}`, dir: "auto" }));
    }
    if (decision && (decision.conflict || sample.disputed)) shown.push(notice(this.dispute(decision)));
    this.decision.replaceChildren(...shown);
  }

  dispute({ conflict, others }) {
    const said = others.map(([reviewer, action, label]) => `${reviewer} said ${action}${label ? ` to ${label}` : ""}`).join("; ");
    const what = conflict ? "This overtook another reviewer's decision that had not been seen" : "Reviewers disagree";
    return said ? `${what}: ${said}.` : `${what}.`;
  }
}
