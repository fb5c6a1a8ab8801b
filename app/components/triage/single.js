// One sample alone: the sample itself, the scores of its label, and its current decision.

import { assign, element } from "../bidi.js";
import { grouped } from "../numbers.js";
import { Answer } from "./answer.js";
import { badge } from "./gallery.js";
import { notice, picture } from "./icons.js";
import { percent, short } from "./numbers.js";
import { ask, HELD, imageUrl } from "./server.js";

const LARGE = 480;
export const AHEAD = 8; // samples whose images or texts are there before they are asked for

export class Single {
  constructor(root) {
    this.root = root;
    for (const part of ["picture", "place", "source", "labels", "stands"]) this[part] = root.querySelector(`.${part}`);
    this.answer = new Answer(this.picture);
    this.images = new Map(); // by run and index
    this.texts = new Map();
  }

  /** The image, already asked for where it has been one of the next. */
  image(run, item) {
    const url = imageUrl(run, item, LARGE);
    let image = this.images.get(url);
    if (!image || !(image.naturalWidth || !image.complete)) image = picture(url, "", false);
    image.fetchPriority = "high";
    this.images.delete(url);
    this.images.set(url, image);
    while (this.images.size > HELD) this.images.delete(this.images.keys().next().value);
    return image;
  }

  text(run, item) {
    const url = `oga/text/${encodeURIComponent(run)}/${item.index}`;
    if (!this.texts.has(url))
      this.texts.set(
        url,
        ask(url).catch((error) => ({ error: error.message })),
      );
    while (this.texts.size > HELD) this.texts.delete(this.texts.keys().next().value);
    return this.texts.get(url);
  }

  preload(run, items) {
    for (const item of items.slice(0, AHEAD)) {
      if (item.text === undefined)
        this.image(run, item)
          .decode?.()
          .catch(() => {});
      else if (item.long) this.text(run, item);
    }
  }

  show(run, item, place, total, outside) {
    this.item = item;
    this.place.textContent = outside ? "not in the selection" : `${grouped(place + 1)} of ${grouped(total)}`;
    assign(this.source, { textContent: item.source, title: item.source });
    const key = `${run} ${item.row} ${item.cosine}`;
    if (key !== this.key) {
      this.key = key;
      this.showSample(run, item);
      this.labels.replaceChildren(...this.cells(item));
    }
    this.paint(item);
  }

  showSample(run, item) {
    this.answer.dispose();
    this.picture.classList.toggle("textual", item.text !== undefined);
    this.picture.classList.toggle("answering", item.answer !== undefined && !item.changed);
    if (item.changed) return this.picture.replaceChildren(notice("This sample has changed since it was scored."));
    if (item.text === undefined) {
      const image = this.image(run, item);
      return this.picture.replaceChildren(assign(image, { alt: `${item.source}, labelled ${item.label}` }));
    }
    if (item.answer !== undefined) return this.answer.show(run, item, item.long ? this.text(run, item) : null);
    const words = element("p", { className: "words", dir: "auto", tabIndex: item.long ? 0 : -1, textContent: item.text });
    this.picture.replaceChildren(words);
    this.picture.scrollTop = 0;
    if (item.long) this.text(run, item).then((full) => this.item === item && this.lengthen(words, full));
  }

  lengthen(words, { text, characters, error }) {
    if (error) return words.replaceWith(notice(error));
    assign(words, { textContent: text });
    if (characters > text.length) {
      const more = `Shown: the first ${grouped(text.length)} of ${grouped(characters)} characters.`;
      words.after(element("small", { textContent: more }));
    }
  }

  cells(item) {
    const facts =
      item.predicted === undefined
        ? [
            ["Group", item.label, ""],
            ["Loss", short(item.loss), item.loss == null ? "" : `nats a token: p = ${percent(Math.exp(-item.loss))}`],
            ["Score", short(item.score), `≥ ${percent(item.percentile)} of all`],
          ]
        : [
            ["Given label", item.label || "none", item.confidence == null ? "" : `model: ${percent(item.confidence)}`],
            ["Predicted", item.predicted, item.predicted === item.label ? "as given" : "not as given"],
            ["Suggested", item.suggested || "none", item.suggestedBy],
            ["Score", short(item.score), `≥ ${percent(item.percentile)} of all`],
          ];
    if (item.cosine !== undefined) facts.splice(-1, 1, ["Cosine", item.cosine.toFixed(3), "with the test sample"]);
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
  paint(item) {
    const state = JSON.stringify([item.row, item.decision, item.pending, item.disputed]);
    if (state === this.state) return;
    this.state = state;
    const { decision } = item,
      parts = [badge(item) ?? element("span", { className: "badge", textContent: "undecided" })];
    if (decision && !item.pending) {
      const when = new Date(decision.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      parts.push(element("span", { textContent: `by ${decision.reviewer}, ${when}`, dir: "auto" }));
    }
    if (decision && (decision.conflict || item.disputed)) parts.push(notice(this.dispute(decision)));
    this.stands.replaceChildren(...parts);
  }

  dispute({ conflict, others }) {
    const said = others.map(([reviewer, action, label]) => `${reviewer} said ${action}${label ? ` to ${label}` : ""}`).join("; ");
    const what = conflict ? "This overtook another reviewer's decision that had not been seen" : "Reviewers disagree";
    return said ? `${what}: ${said}.` : `${what}.`;
  }
}
