// The embedding map: shows the points, and tells Python of lassos, boxes, clicks and the classes singled out in its legend.

import { element } from "../bidi.js";
import { formatCount, formatNumber } from "../numbers.js";
import { Actions } from "./actions.js";
import { Camera } from "./camera.js";
import { Card } from "./card.js";
import { Legend } from "./legend.js";
import { loadPoints, shared } from "./loading.js";
import { Painter } from "./painter.js";
import { Pointing } from "./pointing.js";

const HOVER_RADIUS = 8; // pixels
const instances = new WeakMap(); // parentElement → EmbeddingMap
const column = (table) => table.getChildAt(0).toArray();

export default function (component) {
  const { parentElement } = component;
  let map = instances.get(parentElement);
  if (!map?.root.isConnected) {
    map?.dispose();
    map = new EmbeddingMap(parentElement.querySelector(".map"));
    instances.set(parentElement, map);
  }
  map.update(component);
  // Streamlit also cleans up after a call that a quicker one has overtaken: the element on the page then stays.
  return () => map.root.isConnected || map.dispose();
}

class EmbeddingMap {
  constructor(root) {
    const find = (name) => root.querySelector(`.${name}`);
    Object.assign(this, { root, surface: find("surface"), note: find("note"), count: find("count") });
    this.isolated = new Set(); // codes that the legend singles out
    this.hovered = this.linked = -1;
    this.actions = new Actions();
    this.camera = new Camera(() => this.painter.follow());
    this.painter = new Painter(this, find("canvas"), find("overlay"));
    // With the crosshair the card is said, too.
    this.card = new Card(this, find("card"), () => this.pointing.crosshair.isOn && this.pointing.crosshair.aim());
    this.legend = new Legend(find("legend"), (code) => this.isolate(code));
    this.pointing = new Pointing(this, this.surface, find("live"));
    this.pointing.setMode("lasso");
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.surface);
    shared.maps.add(this);
  }

  dispose() {
    this.observer.disconnect();
    for (const child of [this.painter, this.pointing, this.actions, this.card]) child.dispose();
    shared.maps.delete(this);
  }

  // ---- data ----------------------------------------------------------------------------------------------------------
  /** Takes new data, and the same again when the theme changes. */
  update(component) {
    this.component = component;
    const { data } = component;
    this.actions.connect(component);
    if (this.points && data.points === this.data?.points) {
      this.take(data, this.points);
      return;
    }
    this.say(this.points ? "" : "Loading the points…");
    loadPoints(data.points).then(
      (points) => this.component.data === data && this.take(data, points),
      () => this.say("The points could not be loaded. Reload the page."),
    );
  }

  take(data, points) {
    if (this.pointing.drag && points !== this.points) {
      this.delayed = () => this.take(data, points); // not under the pointer
      return;
    }
    this.data = data;
    [this.codes, this.bits, this.polygon] = [column(data.codes), column(data.selected), data.polygon];
    this.isolated = new Set(data.isolated ?? []);
    this.say("");
    this.use(points);
    this.painter.colour();
    this.legend.draw(data);
    this.legend.press(this.isolated);
    this.painter.arrange();
    this.describe();
  }

  /** Takes the data that came while the pointer was down. */
  takeDelayed() {
    this.delayed?.();
    this.delayed = null;
  }

  use(points) {
    if (points === this.points) return;
    this.hover(-1);
    this.points = points;
    this.painter.use(points);
    this.camera.use(points, this.data.points);
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.surface;
    if (!clientWidth || !clientHeight) return; // not on the page any more, or not yet
    this.camera.resize(clientWidth, clientHeight);
    this.painter.request();
  }

  isDimmed(code) {
    return this.isolated.size > 0 && !this.isolated.has(code);
  }

  /** Row of the point nearest to a place on the screen, or -1. */
  rowAt(at, radius = HOVER_RADIUS) {
    const { points, camera } = this;
    return points.nearest(camera.toData(at), radius / camera.scale, (row) => !this.isDimmed(this.codes[row]));
  }

  // ---- words around the points -----------------------------------------------------------------------------------------
  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  describe() {
    const { title, by, continuous, legend, left_out: more, selected_count: selected } = this.data;
    const samples = formatCount(this.points.count, "sample");
    this.count.replaceChildren(element("b", { textContent: `${formatNumber(selected)} selected` }), ` of ${samples}`);
    this.pointing.tools.clear.disabled = selected === 0 && !this.polygon;
    const colours = continuous ? `by ${continuous[2]}` : `by ${by} in ${legend.length + more} colours`;
    const label = `${title}: ${samples}, coloured ${colours}; ${formatNumber(selected)} selected.`;
    this.painter.canvas.setAttribute("aria-label", label);
    this.surface.setAttribute("aria-label", title);
  }

  hover(row, at = [0, 0]) {
    if (row !== this.hovered) {
      this.hovered = row;
      for (const map of shared.maps) if (map !== this) map.link(row, this.data?.group);
      this.painter.request(false);
      this.card.fill(row);
    }
    this.card.show(row, at);
  }

  /** Rings the sample that the pointer is on in another map of the same samples. */
  link(row, group) {
    this.linked = group === this.data?.group && row < (this.points?.count ?? 0) ? row : -1;
    this.painter.request(false);
  }

  // ---- actions ---------------------------------------------------------------------------------------------------------
  /** Singles out a class, or no longer: at once here, and in Python, where it changes the one selection. */
  isolate(code) {
    if (!this.isolated.delete(code)) this.isolated.add(code);
    this.legend.press(this.isolated);
    this.painter.arrange();
    this.send({ mode: "isolate", by: this.data.by, codes: [...this.isolated].sort((a, b) => a - b) });
  }

  /** Selects what lies within a path on the screen. */
  selectWithin(path, mode) {
    this.polygon = path.map((corner) => this.camera.toData(corner)); // in sight until Python answers
    this.painter.request(false);
    this.send({ mode, polygon: this.polygon });
  }

  send(action) {
    this.actions.send({ picture: this.data.picture, ...action });
  }
}
