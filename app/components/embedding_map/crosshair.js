// The crosshair, with which the keys select: a place, and a circle around it.

import { clamp, formatCount } from "../numbers.js";

const REACH = [6, 36, 300]; // least, first and greatest radius of the circle, pixels
const CORNERS = 32; // of the circle
const ANNOUNCE = 250; // milliseconds that the keys rest before the screen reader's text changes

export class Crosshair {
  constructor(map, live) {
    Object.assign(this, { map, live });
  }

  dispose() {
    clearTimeout(this.timer);
  }

  /** Whether the keys move it now. */
  get isOn() {
    return this.map.mode === "crosshair";
  }

  get isShown() {
    return this.isOn && Boolean(this.at);
  }

  /** Shows it where it was last, or in the middle. */
  start() {
    const { width = 0, height = 0 } = this.map.camera;
    this.at ??= [width / 2, height / 2];
    this.reach ??= REACH[1];
    this.aim();
  }

  /** Moves it; at the edge the view moves under it. */
  move(dx, dy) {
    const { camera } = this.map;
    const [x, y] = [this.at[0] + dx, this.at[1] + dy];
    this.at = [clamp(x, 0, camera.width), clamp(y, 0, camera.height)];
    if (x !== this.at[0] || y !== this.at[1]) camera.pan(this.at[0] - x, this.at[1] - y);
    this.aim();
  }

  moveTo(at) {
    this.at = at;
    this.aim();
  }

  widen(factor) {
    this.reach = clamp(this.reach * factor, REACH[0], REACH[2]);
    this.aim();
  }

  /** Shows what it is on, and says it. */
  aim() {
    const { map } = this;
    map.painter.request(false);
    if (!map.points) return;
    const row = map.rowAt(this.at, this.reach);
    let within = 0;
    const count = (found) => (within += !map.isDimmed(map.codes[found]));
    map.points.around(map.camera.toData(this.at), this.reach / map.camera.scale, count);
    map.hover(row, this.at);
    this.announce(`${formatCount(within, "sample")} in the circle${row < 0 ? "" : `; nearest: ${map.card.text}`}`);
  }

  /** Selects what lies in the circle, or the sample nearest to the crosshair. */
  pick(circle, mode) {
    const [x, y] = this.at;
    if (circle) {
      const angles = Array.from({ length: CORNERS }, (_, i) => (2 * Math.PI * i) / CORNERS);
      const corners = angles.map((a) => [x + this.reach * Math.cos(a), y + this.reach * Math.sin(a)]);
      this.map.selectWithin(corners, mode);
      return;
    }
    const row = this.map.rowAt(this.at, this.reach);
    if (row >= 0) this.map.send({ mode, row });
  }

  /** Tells a screen reader, once the keys rest. */
  announce(text) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.live.textContent = text), ANNOUNCE);
  }
}
