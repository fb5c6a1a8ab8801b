// Draws a map: the points by a renderer, and above them what moves with the pointer.

import { clamp } from "../numbers.js";
import { shared } from "./loading.js";
import { CanvasRenderer, CHOSEN, DIMMED, FADED, LEVELS, PLAIN, WebGLRenderer } from "./renderers.js";

const SMOOTH = 32; // milliseconds a frame may take while the view moves; then a share of the points is drawn until it rests
const AT_REST = 140; // milliseconds
const ALPHA = [0.3, 0.5, 0.85, 0.97]; // by level
const LEAST_ALPHA = [0.15, 0.2, 0.35, 0.5]; // however many points lie on one another, so that one alone is seen
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render|lavapipe/i;
const ARMS = [
  [-1, 0],
  [1, 0],
  [0, -1],
  [0, 1],
]; // of the crosshair
const scratch = document.createElement("canvas").getContext("2d");

/** Red, green and blue, 0 to 255, of a CSS colour, as a canvas writes it back. */
function rgbOf(color) {
  const written = Object.assign(scratch, { fillStyle: color }).fillStyle;
  if (written.startsWith("#")) return [1, 3, 5].map((i) => parseInt(written.slice(i, i + 2), 16));
  return written
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}

/** How points are drawn here: by WebGL, unless software emulates the graphics card, which takes ten times as long. */
function chooseRenderer() {
  const asked = new URLSearchParams(location.search).get("renderer");
  if (asked === "webgl" || asked === "canvas") return asked;
  try {
    const probe = new WebGLRenderer(document.createElement("canvas"), new Float32Array(2));
    const { device } = probe;
    probe.dispose();
    return SOFTWARE.test(device) ? "canvas" : "webgl";
  } catch {
    return "canvas";
  }
}

export class Painter {
  constructor(map, canvas, overlay) {
    Object.assign(this, { map, canvas, overlay, context: overlay.getContext("2d") });
    this.cost = 0; // milliseconds that the last whole frame took
  }

  dispose() {
    cancelAnimationFrame(this.drawing);
    clearTimeout(this.restTimer);
    const { renderer } = this;
    this.renderer = null; // so that nobody minds the loss of its context
    renderer?.dispose();
  }

  /** Draws these points from now on. */
  use(points) {
    this.points = points;
    this.remake(shared.renderer ?? (shared.renderer = chooseRenderer()));
  }

  /** Draws from now on in this way, on a canvas of its own, for a canvas never changes its kind. */
  remake(kind) {
    this.renderer?.dispose();
    const made = this.canvas.cloneNode();
    const xy = this.points.orderToDraw();
    this.canvas.replaceWith(made);
    this.canvas = made;
    try {
      this.renderer = new (kind === "webgl" ? WebGLRenderer : CanvasRenderer)(made, xy);
    } catch (error) {
      if (kind === "canvas") throw error;
      shared.renderer = "canvas";
      this.remake("canvas");
      return;
    }
    this.map.root.dataset.renderer = kind;
    this.cost = 0;
    const { renderer } = this;
    made.addEventListener("webglcontextlost", () => renderer === this.renderer && this.fallBack());
  }

  /** Switches to drawing without the graphics card, whose context is lost. */
  fallBack() {
    shared.renderer = "canvas";
    this.remake("canvas");
    this.colour();
    this.arrange();
  }

  /** Takes the colours of the theme and those of the data. */
  colour() {
    const style = getComputedStyle(this.map.root);
    const color = (name) => style.getPropertyValue(`--st-${name}-color`);
    [this.ink, this.paper, this.accent] = ["text", "background", "primary"].map(color);
    this.renderer.colour(rgbOf(this.paper), this.map.data.palette.map(rgbOf));
  }

  /** Gives every point its colour and its level. */
  arrange() {
    const { codes, bits, data, isolated } = this.map;
    const { count, step } = this.points;
    const colors = data.palette.length;
    const looks = new Uint8Array(2 * count);
    const counts = new Uint32Array(LEVELS);
    const plain = data.selected_count === 0;
    const dimmed = new Uint8Array(1 << 17);
    if (isolated.size) dimmed.fill(1);
    for (const code of isolated) dimmed[code] = 0;
    for (let i = 0, row = 0; i < count; i++, row = (row + step) % count) {
      const code = codes[row];
      const level = dimmed[code] ? DIMMED : plain ? PLAIN : (bits[row >> 3] >> (7 - (row & 7))) & 1 ? CHOSEN : FADED;
      looks[2 * i] = code % colors;
      looks[2 * i + 1] = level;
      counts[level]++;
    }
    this.counts = counts;
    this.renderer.look(looks, counts);
    this.request();
  }

  /** Draws after the view has moved; only a share of the points, until it rests, where all of them take too long. */
  follow() {
    if (this.cost > SMOOTH) {
      this.moving = true;
      clearTimeout(this.restTimer);
      this.restTimer = setTimeout(() => {
        this.moving = false;
        this.request();
      }, AT_REST);
    }
    this.request();
  }

  /** Draws with the next frame; without `points` only what is above them. */
  request(points = true) {
    this.stale ||= points;
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      const { width, height } = this.map.camera;
      if (!this.points || !width || !height) return;
      if (this.stale) this.drawPoints();
      this.stale = false;
      this.drawOverlay();
    });
  }

  fit(canvas) {
    const [width, height] = ["width", "height"].map((side) => Math.round(this.map.camera[side] * this.ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }

  drawPoints() {
    this.ratio = devicePixelRatio || 1;
    this.fit(this.canvas);
    const { x, y, scale } = this.map.camera.view;
    const share = this.moving ? clamp(SMOOTH / this.cost, 0.02, 1) : 1;
    const started = performance.now();
    this.renderer.draw({ x, y, scale: scale * this.ratio }, this.stamps(share), share);
    if (share === 1) this.cost = performance.now() - started;
  }

  /** How points of each level are drawn: radius and halo in pixels of the screen, and alpha. */
  stamps(share) {
    const { scale } = this.map.camera;
    const radius = Math.round(this.radius() * this.ratio * 4) / 4;
    const large = radius * 1.3;
    const spread = 0.35 * (this.points.width * scale) * (this.points.height * scale) * this.ratio ** 2;
    return ALPHA.map((alpha, level) => {
      const size = level === CHOSEN ? large : radius;
      const drawn = this.counts[level] * (level === CHOSEN ? 1 : share);
      const layers = Math.max((drawn * Math.PI * size ** 2) / spread, 1); // where points lie on one another
      const thinned = Math.max(1 - (1 - alpha) ** (1 / layers), LEAST_ALPHA[level]);
      const haloed = level === CHOSEN && this.radius() > 1.5; // smaller ones would drown in their halos
      return { radius: size, alpha: Math.round(thinned * 64) / 64, halo: haloed ? large + this.ratio : 0 };
    });
  }

  /** Radius of a point in pixels: smaller the more there are, growing slowly as the user zooms in. */
  radius() {
    const { camera } = this.map;
    const base = clamp(6 - Math.log10(this.points.count), 1.1, 4.5);
    return clamp(base * (camera.scale / camera.fittingScale()) ** 0.25, 0.8, 7);
  }

  /** Draws what moves with the pointer, on a canvas above the points. */
  drawOverlay() {
    const { context, map } = this;
    const { camera, pointing } = map;
    this.fit(this.overlay);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, camera.width, camera.height);
    if (map.polygon) this.drawPolygon(map.polygon.map((corner) => camera.toScreen(corner)));
    if (pointing.drag?.path) this.drawPolygon(pointing.drag.path);
    if (map.data.focus !== null) this.drawRing(map.data.focus, this.accent, 5);
    for (const row of new Set([map.hovered, map.linked])) if (row >= 0) this.drawRing(row, this.ink, 3.5);
    if (pointing.crosshair.isShown) this.drawCross(pointing.crosshair);
  }

  drawRing(row, strokeStyle, gap) {
    const { context } = this;
    const [x, y] = this.map.camera.toScreen(this.points.at(row));
    context.beginPath();
    context.arc(x, y, this.radius() + gap, 0, 2 * Math.PI);
    Object.assign(context, { lineWidth: 2, strokeStyle, globalAlpha: 1 }).stroke();
  }

  drawPolygon(corners) {
    const { context, accent } = this;
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x, y);
    context.closePath();
    Object.assign(context, { fillStyle: accent, globalAlpha: 0.08 }).fill();
    Object.assign(context, { strokeStyle: accent, globalAlpha: 1, lineWidth: 1.5, lineJoin: "round" }).stroke();
  }

  drawCross({ at: [x, y], reach }) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, reach, 0, 2 * Math.PI);
    for (const [dx, dy] of ARMS) {
      context.moveTo(x + dx * 4, y + dy * 4);
      context.lineTo(x + dx * (reach + 8), y + dy * (reach + 8));
    }
    Object.assign(context, { strokeStyle: this.paper, globalAlpha: 0.9, lineWidth: 4 }).stroke();
    Object.assign(context, { strokeStyle: this.accent, globalAlpha: 1, lineWidth: 1.75 }).stroke();
  }
}
