// Many samples at once: tiles that are painted again where something about their sample has changed.

import { assign, element } from "../bidi.js";
import { grouped } from "../numbers.js";
import { icon, notice, picture } from "./icons.js";
import { percent, short } from "./numbers.js";
import { imageUrl } from "./server.js";

const SIZE_STORED = "oga.tile";
const USUAL_SIZE = 160;

/** "relabel to cat", or what else has been decided. */
const said = ({ action, label }) => (action === "relabel" ? `relabel to ${label}` : action);

export function badge(item) {
  const stands = item.pending ?? item.decision;
  if (!stands) return null;
  const made = element("span", { className: `badge ${stands.action}` }, icon(stands.action));
  made.append(element("span", { textContent: said(stands), dir: "auto" }));
  made.classList.toggle("pending", Boolean(item.pending));
  if (!item.pending && (stands.conflict || item.disputed)) made.append(icon("notice"));
  return made;
}

/** What a screen reader says of a sample. */
function described(item) {
  const labelled = item.predicted === undefined ? `group ${item.label}` : `labelled ${item.label}`;
  const suggested = item.suggested && item.suggested !== item.label && `suggested ${item.suggested}`;
  const words = [item.source, labelled, suggested, item.cosine !== undefined && `cosine ${item.cosine.toFixed(2)}`];
  const stands = item.pending ?? item.decision;
  return [...words, stands ? said(stands) : "undecided", item.disputed && "reviewers disagree"].filter(Boolean).join(", ");
}

/** The sample itself, as small as it is: an image, `lazy` when it comes into sight only, or the beginning of a text, or of a
    prompt and its answer. */
export function small(run, item, lazy = true) {
  if (item.changed) return notice("changed since it was scored");
  if (item.text === undefined) return picture(imageUrl(run, item, 160), "", lazy);
  const begins = (text) => element("p", { className: "words", dir: "auto", textContent: text + (item.long ? "…" : "") });
  if (item.answer === undefined) return begins(item.text);
  return element("span", { className: "answer" }, begins(item.text), begins(item.answer));
}

/** Given and suggested label on one line. */
export function labels(item) {
  const given = element("b", { textContent: item.label || "no label", dir: "auto", title: item.label });
  const line = element("p", { className: "pair" }, given);
  if (item.suggested && item.suggested !== item.label) {
    line.append(element("span", { textContent: "→", className: "arrow", ariaHidden: "true" }));
    line.append(element("span", { textContent: item.suggested, dir: "auto", title: `suggested: ${item.suggested}` }));
  }
  return line;
}

/** By what a frame is known, and its title. */
function frameOf({ group, alike, cosine }) {
  if (cosine > 0) return ["towards", "Towards: a step of training on one of these lowers the test sample's loss"];
  if (cosine !== undefined) return ["against", "Against: a step of training on one of these raises the test sample's loss"];
  return alike === 1 ? ["alone", "Like no other"] : [group, `These ${grouped(alike)} look alike`];
}

export class Gallery {
  /** `does` has what happens: focus(place), open(place), tick(place, range). */
  constructor(root, does) {
    Object.assign(this, { root, does, tiles: new Map() });
    this.list = root.querySelector(".tiles");
    this.list.onclick = (event) => this.click(event);
    this.list.ondblclick = (event) => this.placeOf(event) !== null && does.open(this.placeOf(event));
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
    if (event.shiftKey) this.does.tick(place, true);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) this.does.tick(place, false);
    else this.does.focus(place);
  }

  /** Draws entries [place, sample] in their order; groups of samples that look alike in frames of their own, but in a strip, and
      those that push towards a test sample apart from those against it. */
  draw(run, entries, strip) {
    const content = JSON.stringify([run, entries.map(([place, { row, group, cosine }]) => [place, row, group, cosine])]);
    if (content !== this.content) {
      this.content = content;
      this.tiles = new Map(entries.map(([place, item]) => [place, this.tile(run, place, item, !strip)]));
      const framed = !strip && (entries[0]?.[1].group ?? entries[0]?.[1].cosine) !== undefined;
      this.list.classList.toggle("framed", framed);
      this.list.replaceChildren(...(framed ? this.frames(entries) : this.tiles.values()));
    }
    for (const [place, item] of entries) this.paint(place, item);
  }

  frames(entries) {
    const frames = [];
    for (const [place, item] of entries) {
      const [number, title] = frameOf(item);
      if (frames.at(-1)?.number !== number) {
        const heading = element("h3", { textContent: title, ariaHidden: "true" });
        frames.push(Object.assign(element("div", { attributes: { role: "group", "aria-label": title } }, heading), { number }));
      }
      frames.at(-1).append(this.tiles.get(place));
    }
    return frames;
  }

  tile(run, place, item, lazy) {
    const tick = element("span", { className: "tick", ariaHidden: "true" }, icon("keep"));
    const box = element("div", { className: "picture" }, small(run, item, lazy));
    const foot = element("div", { className: "foot" });
    const pair = labels(item),
      made = element("div", { className: "tile", tabIndex: -1 }, box, pair, foot);
    pair.append(tick);
    made.setAttribute("role", "option");
    made.dataset.place = place;
    return made;
  }

  paint(place, item) {
    const tile = this.tiles.get(place),
      state = JSON.stringify([item.decision, item.pending, item.disputed]);
    if (!tile || tile.state === state) return;
    tile.state = state;
    assign(tile, { ariaLabel: described(item) });
    tile.classList.toggle("decided", Boolean(item.decision || item.pending));
    const title =
      item.cosine === undefined
        ? `Score ${item.score}: no lower than that of ${percent(item.percentile)} of all`
        : "Cosine of its gradient with the test sample's";
    const textContent = item.cosine === undefined ? short(item.score) : `cosine ${item.cosine.toFixed(2)}`;
    const score = element("small", { textContent, title });
    tile.querySelector(".foot").replaceChildren(...[score, badge(item)].filter(Boolean));
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
