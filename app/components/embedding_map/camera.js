// Which part of the data is in sight: from data coordinates to pixels and back.

import { clamp } from "../numbers.js";
import { getCached, shared } from "./loading.js";

const MARGIN = 44; // pixels free around the points, so that the toolbar hides none

export class Camera {
  /** `moved` is called after each change of the view. */
  constructor(moved) {
    this.moved = moved;
  }

  /** Shows these points; the view of an address is kept while the user is on another page. */
  use(points, address) {
    this.points = points;
    this.view = getCached(shared.views, address, () => ({ fitted: true }));
  }

  /** Takes the size of the surface in pixels. */
  resize(width, height) {
    [this.width, this.height] = [width, height];
    if (this.view?.fitted) this.fit();
  }

  get scale() {
    return this.view.scale;
  }

  get middle() {
    return [this.width / 2, this.height / 2];
  }

  /** Pixels a unit at which all points are in sight. */
  fittingScale() {
    const free = (length) => Math.max(length - 2 * MARGIN, 20);
    return Math.min(free(this.width) / this.points.width, free(this.height) / this.points.height);
  }

  fit() {
    const { left, right, bottom, top } = this.points;
    this.look({ x: (left + right) / 2, y: (bottom + top) / 2, scale: this.fittingScale(), fitted: true });
  }

  pan(dx, dy) {
    this.look({ x: this.view.x - dx / this.scale, y: this.view.y + dy / this.scale, fitted: false });
  }

  /** Zooms by a factor; what is at the place `at` stays there. */
  zoom(factor, at) {
    const [x, y] = this.toData(at);
    const fitting = this.fittingScale();
    this.look({ scale: clamp(this.scale * factor, fitting / 8, fitting * 2000), fitted: false });
    const [newX, newY] = this.toData(at);
    this.look({ x: this.view.x + x - newX, y: this.view.y + y - newY });
  }

  look(change) {
    Object.assign(this.view, change);
    this.moved();
  }

  toData([px, py]) {
    return [this.view.x + (px - this.width / 2) / this.scale, this.view.y - (py - this.height / 2) / this.scale];
  }

  toScreen([x, y]) {
    return [(x - this.view.x) * this.scale + this.width / 2, this.height / 2 - (y - this.view.y) * this.scale];
  }
}
