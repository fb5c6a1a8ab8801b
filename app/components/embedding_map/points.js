// The points of a map, in the order in which they are drawn and in a grid.

import { clamp } from "../numbers.js";

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/** The points of one picture, and a grid over them that finds the nearest one. */
export class Points {
  constructor(xy) {
    this.xy = xy;
    this.count = xy.length / 2;
    [this.left, this.bottom, this.right, this.top] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < xy.length; i += 2) {
      if (xy[i] < this.left) this.left = xy[i];
      if (xy[i] > this.right) this.right = xy[i];
      if (xy[i + 1] < this.bottom) this.bottom = xy[i + 1];
      if (xy[i + 1] > this.top) this.top = xy[i + 1];
    }
    [this.width, this.height] = [this.right - this.left || 1, this.top - this.bottom || 1];
    this.side = clamp(Math.ceil(Math.sqrt(this.count / 4)), 1, 1024);
    this.sortIntoCells();
    // Drawn in steps of a golden section, which shuffles them: no class hides another, and the first ones represent all.
    this.step = Math.max(Math.round(this.count * 0.6180339887), 1);
    while (divisor(this.step, this.count) !== 1) this.step++;
  }

  at(row) {
    return [this.xy[2 * row], this.xy[2 * row + 1]];
  }

  /** Positions in the order in which they are drawn. */
  orderToDraw() {
    const { xy, count, step } = this,
      out = new Float32Array(xy.length);
    for (let i = 0, row = 0; i < count; i++, row = (row + step) % count) {
      out[2 * i] = xy[2 * row];
      out[2 * i + 1] = xy[2 * row + 1];
    }
    return out;
  }

  sortIntoCells() {
    const { xy, count, side } = this,
      cells = new Uint32Array(count);
    this.cellStarts = new Uint32Array(side ** 2 + 1);
    for (let row = 0; row < count; row++) {
      cells[row] = this.cellX(xy[2 * row]) + side * this.cellY(xy[2 * row + 1]);
      this.cellStarts[cells[row] + 1]++;
    }
    for (let cell = 0; cell < side ** 2; cell++) this.cellStarts[cell + 1] += this.cellStarts[cell];
    const next = this.cellStarts.slice();
    this.cellRows = new Uint32Array(count);
    for (let row = 0; row < count; row++) this.cellRows[next[cells[row]]++] = row;
  }

  cellX(x) {
    return clamp(Math.floor(((x - this.left) / this.width) * this.side), 0, this.side - 1) || 0;
  }
  cellY(y) {
    return clamp(Math.floor(((y - this.bottom) / this.height) * this.side), 0, this.side - 1) || 0;
  }

  /** Calls `found(row, squared distance)` with every row no farther than `radius`. */
  around([x, y], radius, found) {
    const { xy } = this;
    for (let cy = this.cellY(y - radius); cy <= this.cellY(y + radius); cy++) {
      const to = this.cellStarts[this.cellX(x + radius) + this.side * cy + 1];
      for (let i = this.cellStarts[this.cellX(x - radius) + this.side * cy]; i < to; i++) {
        const row = this.cellRows[i],
          distance = (xy[2 * row] - x) ** 2 + (xy[2 * row + 1] - y) ** 2;
        if (distance <= radius ** 2) found(row, distance);
      }
    }
  }

  /** Row of the nearest point within `radius` that the map `accepts`, or -1. */
  nearest(at, radius, accepts) {
    let best = -1,
      closest = Infinity;
    this.around(at, radius, (row, distance) => {
      if (distance < closest && accepts(row)) [best, closest] = [row, distance];
    });
    return best;
  }
}
