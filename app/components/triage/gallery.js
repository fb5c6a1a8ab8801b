// Many samples at once: tiles that are painted again where something about their sample has changed.

import { assign, element } from "../bidi.js";
import { formatNumber } from "../numbers.js";
import { icon, notice, picture } from "./icons.js";
import { formatPercent, formatShort } from "./numbers.js";
import { imageUrl } from "./server.js";

const SIZE_STORED = "oga.tile";
const USUAL_SIZE = 160;

/** "relabel to cat", or what else has been decided. */
const describeDecision = ({ action, label }) => (action === "relabel" ? `relabel to ${label}` : action);

export function badge(sample) {
  const current = sample.pending ?? sample.decision;
  if (!current) return null;
  const made = element("span", { className: `badge ${current.action}` }, icon(current.action));
  made.append(element("span", { textContent: describeDecision(current), dir: "auto" }));
  made.classList.toggle("pending", Boolean(sample.pending));
  if (!sample.pending && (current.conflict || sample.disputed)) made.append(icon("notice"));
  return made;
}

/** What a screen reader says of a sample. */
function describeSample(sample) {
  const labelled = sample.predicted === undefined ? `group ${sample.label}` : `labelled ${sample.label}`;
  const suggested = sample.suggested && sample.suggested !== sample.label && `suggested ${sample.suggested}`;
  const words = [sample.source, labelled, suggested, sample.cosine !== undefined && `cosine ${sample.cosine.toFixed(2)}`];
  const current = sample.pending ?? sample.decision;
  return [...words, current ? describeDecision(current) : "undecided", sample.disputed && "reviewers disagree"]
    .filter(Boolean)
    .join(", ");
}

/** The sample itself, as small as it is: an image, `lazy` when it comes into sight only, or the beginning of a text, or of a
    prompt and its answer. */
export function thumbnail(run, sample, lazy = true) {
  if (sample.changed) return notice("changed since it was scored");
  if (sample.text === undefined) return picture(imageUrl(run, sample, 160), "", lazy);
  const begins = (text) => element("p", { className: "words", dir: "auto", textContent: text + (sample.long ? "…" : "") });
  if (sample.answer === undefined) return begins(sample.text);
  return element("span", { className: "answer" }, begins(sample.text), begins(sample.answer));
}

/** Given and suggested label on one line. */
export function labels(sample) {
  const given = element("b", { textContent: sample.label || "no label", dir: "auto", title: sample.label });
  const line = element("p", { className: "pair" }, given);
  if (sample.suggested && sample.suggested !== sample.label) {
    line.append(element("span", { textContent: "→", className: "arrow", ariaHidden: "true" }));
    line.append(element("span", { textContent: sample.suggested, dir: "auto", title: `suggested: ${sample.suggested}` }));
  }
  return line;
}

/** By what a frame is known, and its title. */
function frameOf({ group, alike, cosine }) {
  if (cosine > 0) return ["towards", "Towards: a step of training on one of these lowers the test sample's loss"];
  if (cosine !== undefined) return ["against", "Against: a step of training on one of these raises the test sample's loss"];
  return alike === 1 ? ["unique", "Like no other"] : [group, `These ${formatNumber(alike)} look alike`];
}

export class Gallery {
  /** `handlers` has what happens: focus(place), open(place), tick(place, range). */
  constructor(root, handlers) {
    Object.assign(this, { root, handlers, tiles: new Map() });
    this.list = root.querySelector(".tiles");
    this.list.onclick = (event) => this.click(event);
    this.list.ondblclick = (event) => this.placeOf(event) !== null && handlers.open(this.placeOf(event));
    const size = root.querySelector("input[type=range]");
    if (!size) return;
    size.value = localStorage.getItem(SIZE_STORED) ?? USUAL_SIZE;
    size.oninput = () => {
      localStorage.setItem(SIZE_STORED, size.value);
      this.list.style.setProperty("--size", `${size.value}px`);
    };
    size.oninput();
  }

  placeOf(event) {
    const tile = event.target.closest("[data-place]");
    return tile ? Number(tile.dataset.place) : null;
  }

  click(event) {
    const place = this.placeOf(event);
    if (place === null) return;
    if (event.shiftKey) this.handlers.tick(place, true);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) this.handlers.tick(place, false);
    else this.handlers.focus(place);
  }

  /** Draws entries [place, sample] in their order; groups of samples that look alike in frames of their own, but in a strip, and
      those that push towards a test sample apart from those against it. */
  draw(run, entries, strip) {
    const content = JSON.stringify([run, entries.map(([place, { row, group, cosine }]) => [place, row, group, cosine])]);
    if (content !== this.content) {
      this.content = content;
      this.tiles = new Map(entries.map(([place, sample]) => [place, this.tile(run, place, sample, !strip)]));
      const framed = !strip && (entries[0]?.[1].group ?? entries[0]?.[1].cosine) !== undefined;
      this.list.classList.toggle("framed", framed);
      this.list.replaceChildren(...(framed ? this.frames(entries) : this.tiles.values()));
    }
    for (const [place, sample] of entries) this.paint(place, sample);
  }

  frames(entries) {
    const frames = [];
    for (const [place, sample] of entries) {
      const [number, title] = frameOf(sample);
      if (frames.at(-1)?.number !== number) {
        const heading = element("h3", { textContent: title, ariaHidden: "true" });
        frames.push(Object.assign(element("div", { attributes: { role: "group", "aria-label": title } }, heading), { number }));
      }
      frames.at(-1).append(this.tiles.get(place));
    }
    return frames;
  }

  tile(run, place, sample, lazy) {
    const tick = element("span", { className: "tick", ariaHidden: "true" }, icon("keep"));
    const box = element("div", { className: "picture" }, thumbnail(run, sample, lazy));
    const foot = element("div", { className: "foot" });
    const pair = labels(sample),
      made = element("div", { className: "tile", tabIndex: -1 }, box, pair, foot);
    pair.append(tick);
    made.setAttribute("role", "option");
    made.dataset.place = place;
    return made;
  }

  paint(place, sample) {
    const tile = this.tiles.get(place),
      state = JSON.stringify([sample.decision, sample.pending, sample.disputed]);
    if (!tile || tile.state === state) return;
    tile.state = state;
    assign(tile, { ariaLabel: describeSample(sample) });
    tile.classList.toggle("decided", Boolean(sample.decision || sample.pending));
    const title =
      sample.cosine === undefined
        ? `Score ${sample.score}: no lower than that of ${formatPercent(sample.percentile)} of all`
        : "Cosine of its gradient with the test sample's";
    const textContent = sample.cosine === undefined ? formatShort(sample.score) : `cosine ${sample.cosine.toFixed(2)}`;
    const score = element("small", { textContent, title });
    tile.querySelector(".foot").replaceChildren(...[score, badge(sample)].filter(Boolean));
  }

  /** Shows which tile has the focus and which are ticked; takes the keyboard's focus along where it is here already. */
  mark(focus, ticked, grab) {
    for (const [place, tile] of this.tiles) {
      tile.classList.toggle("current", place === focus);
      tile.tabIndex = place === focus ? 0 : -1;
      tile.setAttribute("aria-selected", ticked.has(place));
    }
    const tile = this.tiles.get(focus);
    if (tile && grab) tile.focus({ preventScroll: true });
    if (tile && grab) tile.scrollIntoView({ block: "nearest" });
  }

  /** The place a line above or below: the nearest tile of the next line that way, or null. */
  line(from, way) {
    const box = (tile) => tile.getBoundingClientRect(),
      here = this.tiles.get(from) && box(this.tiles.get(from));
    if (!here) return null;
    let best = null,
      closest = Infinity;
    for (const [place, tile] of this.tiles) {
      const there = box(tile),
        down = way * (there.top - here.top);
      const distance = down * 1e4 + Math.abs(there.left - here.left);
      if (down > 1 && distance < closest) [best, closest] = [place, distance];
    }
    return best;
  }
}
