// The card of the point under the pointer: its labels and its score, and the sample itself.

import { assign, element } from "../bidi.js";
import { clamp } from "../numbers.js";
import { load, loadColumns } from "./loading.js";

const HOVER_REST = 60; // milliseconds that the pointer rests before an image or a text is requested
const CHARACTERS = 200; // of a text on the card

export const formatShort = (value) => String(Number(value.toPrecision(3)));

export class Card {
  /** `filled` is called when what the card says has come from the server. */
  constructor(map, root, filled) {
    Object.assign(this, { map, root, filled, pointer: [0, 0] });
  }

  dispose() {
    clearTimeout(this.timer);
  }

  get text() {
    return this.root.innerText.replaceAll("\n", " ");
  }

  /** Shows the card beside a place, or hides it where `row` is -1. */
  show(row, at) {
    this.root.hidden = row < 0;
    this.pointer = at;
    this.place();
  }

  place() {
    const [x, y] = this.pointer;
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const { camera } = this.map;
    this.root.style.left = `${x + 14 + width > camera.width ? Math.max(x - 14 - width, 4) : x + 14}px`;
    this.root.style.top = `${clamp(y + 14, 4, Math.max(camera.height - height - 4, 4))}px`;
  }

  /** Writes the known data of a point; those that must be downloaded first follow. */
  fill(row) {
    clearTimeout(this.timer);
    if (row < 0) return;
    const { data, codes } = this.map;
    const { card, by, legend, continuous } = data;
    const name = legend.find(([code]) => code === codes[row])?.[1];
    const own = continuous || ["given label", "predicted"].includes(by) || name === undefined ? {} : { [by]: name };
    if (!card) {
      this.root.replaceChildren(...lines({ row, ...own }));
      return;
    }
    const known = this.columns?.of === card.given + card.scores ? this.columns : null;
    if (!known) this.load(card, row);
    const preview = element("div", { className: `preview ${card.kind}` });
    this.root.replaceChildren(...(card.kind ? [preview] : []), ...lines({ ...facts(card, known, row), ...own }));
    if (known && card.kind) this.timer = setTimeout(() => this.showSample(preview, known.indices[row]), HOVER_REST);
    this.place();
  }

  load(card, row) {
    loadColumns(card, this.map.points.count).then(
      (columns) => {
        this.columns = columns;
        if (this.map.hovered !== row) return;
        this.fill(row);
        this.filled();
      },
      () => {},
    );
  }

  /** The image itself, or how the text begins. */
  showSample(preview, index) {
    const {
      kind,
      sample: [before, after],
    } = this.map.data.card;
    const url = before + index + after;
    if (kind === "image") {
      preview.append(element("img", { src: url, alt: "", onerror: () => preview.classList.add("missing") }));
      return;
    }
    load(url, (reply) => reply.json()).then(
      ({ text }) => {
        const begins = [...text.slice(0, 2 * CHARACTERS)].slice(0, CHARACTERS).join("");
        preview.dir = "auto";
        assign(preview, { textContent: begins.length < text.length ? `${begins}…` : begins });
        this.place();
      },
      () => preview.classList.add("missing"),
    );
  }
}

/** What the card says of a point, by its terms; dots where it is not `known` yet. */
function facts(card, known, row) {
  const label = (codes) => (known ? (known.names[known[codes][row]] ?? "a class that only the model has") : "…");
  const labels = card.predicted ? { given: label("given"), predicted: label("predicted") } : { group: label("given") };
  return { ...labels, score: known ? formatShort(known.scores[row]) : "…" };
}

/** Terms and what is said of them, as elements. */
function lines(said) {
  const pair = ([term, text]) => [element("span", { textContent: term }), element("b", { textContent: text })];
  return Object.entries(said).flatMap(pair);
}
