// The embedding map: shows the points, and tells Python of lassos, boxes, clicks and the classes singled out in its legend.

const MODE_KEYS = { l: "lasso", b: "box", p: "pan", t: "crosshair" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOM_KEYS = { "+": 1.25, "=": 1.25, "-": 0.8, _: 0.8 };
const REACH_KEYS = { "]": 1.25, "[": 0.8 };
const PAN_STEP = 60; // pixels that an arrow pans
const CROSS_STEP = 12; // pixels that an arrow moves the crosshair
const REACH = [6, 36, 300]; // least, first and greatest radius of the crosshair's circle, pixels
const CIRCLE_CORNERS = 32;
const CLICK_SLOP = 4; // pixels that a click may wander
const DOUBLE_CLICK = 220; // milliseconds that a click waits for a second one
const HOVER_RADIUS = 8; // pixels
const HOVER_REST = 60; // milliseconds that the pointer rests before an image or a text is fetched
const MOST_CORNERS = 60;
const MARGIN = 44; // pixels free around the points, so that the toolbar hides none
const ACK_TIMEOUT = 10_000; // milliseconds after which Python is taken to have missed an act
const SMOOTH = 32; // milliseconds a frame may take while the view moves; then a share of the points is drawn until it rests
const AT_REST = 140; // milliseconds
const ALPHA = [0.3, 0.5, 0.85, 0.97]; // by level
const LEAST_ALPHA = [0.15, 0.2, 0.35, 0.5]; // however many points lie on one another, so that one alone is seen
const CHARACTERS = 200; // of a text on the card
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render|lavapipe/i;
const TOOLS = {
  ...Object.fromEntries(Object.values(MODE_KEYS).map((mode) => [mode, (map) => map.setMode(mode)])),
  in: (map) => map.zoom(1.5),
  out: (map) => map.zoom(1 / 1.5),
  reset: (map) => map.reset(),
  clear: (map) => map.clear(),
};

// On the page, not in the module, for Streamlit may load the module once an element: what was fetched, and views by picture.
const shared = (globalThis.ogaEmbeddingMaps ??= { fetched: new Map(), views: new Map(), maps: new Set() });
const KEPT = 24; // arrays and texts that stay fetched, and views
const instances = new WeakMap(); // parentElement → EmbeddingMap

export default function (component) {
  const { parentElement } = component;
  let map = instances.get(parentElement);
  if (!map?.root.isConnected) {
    map?.dispose();
    map = new EmbeddingMap(parentElement.querySelector(".map"));
    instances.set(parentElement, map);
  }
  map.update(component);
  // Streamlit also cleans up after a call that a quicker one has overtaken: what is on the page then goes on.
  return () => map.root.isConnected || map.dispose();
}

const scratch = document.createElement("canvas").getContext("2d");
const column = (table) => table.getChildAt(0).toArray();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const grouped = (count) => count.toLocaleString("en-US");
const counted = (count) => `${grouped(count)} ${count === 1 ? "sample" : "samples"}`;
const short = (value) => String(Number(value.toPrecision(3)));

/** What is found under a key of a map, made where it is not there; those asked for longest ago are let go. */
function keptIn(kept, key, make) {
  const found = kept.get(key) ?? make();
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

/** What the server has at an address, read once; one that failed is asked for again. */
function fetched(url, read) {
  return keptIn(shared.fetched, url, () => {
    const answer = fetch(url).then((reply) => (reply.ok ? read(reply) : Promise.reject(new Error(`${reply.status} ${url}`))));
    answer.catch(() => shared.fetched.delete(url));
    return answer;
  });
}

const array = (url, read) => fetched(url, (reply) => reply.arrayBuffer().then(read));
const codesOf = (count) => (bytes) => (bytes.byteLength === 2 * count ? new Uint16Array(bytes) : new Int32Array(bytes));
const pointsAt = (url) => array(url, (bytes) => new Points(new Float32Array(bytes)));

/** How points are drawn here: by WebGL, unless a program stands in for the graphics card, which takes ten times as long. */
function usualRenderer() {
  const asked = new URLSearchParams(location.search).get("renderer");
  if (asked === "webgl" || asked === "canvas") return asked;
  try {
    const probe = new WebGLRenderer(document.createElement("canvas"), new Float32Array(2)), { device } = probe;
    probe.dispose();
    return SOFTWARE.test(device) ? "canvas" : "webgl";
  } catch {
    return "canvas";
  }
}

/** Takes out the corner whose triangle with its neighbours is smallest, until few are left and each one matters. */
function simplified(path, smallest = 1) {
  const corners = path.slice();
  const area = ([x, y], i) => {
    const [x0, y0] = corners.at(i - 1), [x1, y1] = corners[(i + 1) % corners.length];
    return Math.abs((x - x0) * (y1 - y0) - (x1 - x0) * (y - y0)) / 2;
  };
  while (corners.length > 3) {
    const areas = corners.map(area), least = areas.indexOf(Math.min(...areas));
    if (corners.length <= MOST_CORNERS && areas[least] >= smallest) break;
    corners.splice(least, 1);
  }
  return corners;
}

/** Red, green and blue, 0 to 255, of a CSS colour, as a canvas writes it back. */
function rgbOf(color) {
  const written = Object.assign(scratch, { fillStyle: color }).fillStyle;
  if (written.startsWith("#")) return [1, 3, 5].map((i) => parseInt(written.slice(i, i + 2), 16));
  return written.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** What a lasso or a click does to the selection. */
const wayOf = ({ altKey, shiftKey }) => (altKey ? "subtract" : shiftKey ? "add" : "replace");

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/** The points of one picture, and a grid over them that finds the nearest one. */
class Points {
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
    // Drawn in steps of a golden section, which shuffles them: no class hides another, and the first ones stand for all.
    this.step = Math.max(Math.round(this.count * 0.6180339887), 1);
    while (divisor(this.step, this.count) !== 1) this.step++;
  }

  at(row) { return [this.xy[2 * row], this.xy[2 * row + 1]]; }

  /** Positions in the order in which they are drawn. */
  drawn() {
    const { xy, count, step } = this, out = new Float32Array(xy.length);
    for (let i = 0, row = 0; i < count; i++, row = (row + step) % count) {
      out[2 * i] = xy[2 * row];
      out[2 * i + 1] = xy[2 * row + 1];
    }
    return out;
  }

  sortIntoCells() {
    const { xy, count, side } = this, cells = new Uint32Array(count);
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

  cellX(x) { return clamp(Math.floor(((x - this.left) / this.width) * this.side), 0, this.side - 1) || 0; }
  cellY(y) { return clamp(Math.floor(((y - this.bottom) / this.height) * this.side), 0, this.side - 1) || 0; }

  /** Calls `found(row, squared distance)` with every row no farther than `radius`. */
  around([x, y], radius, found) {
    const { xy } = this;
    for (let cy = this.cellY(y - radius); cy <= this.cellY(y + radius); cy++) {
      const to = this.cellStarts[this.cellX(x + radius) + this.side * cy + 1];
      for (let i = this.cellStarts[this.cellX(x - radius) + this.side * cy]; i < to; i++) {
        const row = this.cellRows[i], distance = (xy[2 * row] - x) ** 2 + (xy[2 * row + 1] - y) ** 2;
        if (distance <= radius ** 2) found(row, distance);
      }
    }
  }

  /** Row of the nearest point within `radius` that the map `accepts`, or -1. */
  nearest(at, radius, accepts) {
    let best = -1, closest = Infinity;
    this.around(at, radius, (row, distance) => {
      if (distance < closest && accepts(row)) [best, closest] = [row, distance];
    });
    return best;
  }
}

class EmbeddingMap {
  constructor(root) {
    this.root = root;
    for (const part of ["surface", "canvas", "overlay", "note", "count", "live", "card", "legend"]) {
      this[part] = root.querySelector(`.${part}`);
    }
    this.tools = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]));
    this.context = this.overlay.getContext("2d");
    this.isolated = new Set(); // codes that the legend singles out
    this.hovered = this.linked = -1;
    this.pointer = [0, 0];
    this.pointers = new Map(); // fingers that are down
    this.queue = []; // acts for Python
    this.cost = 0; // milliseconds that the last whole frame took
    this.listen();
    this.setMode("lasso");
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.surface);
    shared.maps.add(this);
  }

  dispose() {
    this.observer.disconnect();
    cancelAnimationFrame(this.drawing);
    for (const timer of [this.clickTimer, this.ackTimer, this.restTimer, this.cardTimer, this.liveTimer]) clearTimeout(timer);
    const { renderer } = this;
    this.renderer = null; // so that nobody minds the loss of its context
    renderer?.dispose();
    shared.maps.delete(this);
  }

  // ---- data ----------------------------------------------------------------------------------------------------------
  /** Takes new data, and the same again when the theme changes. */
  update(component) {
    this.component = component;
    const { data } = component;
    if (this.awaited && data.seen === this.awaited.id) this.sendNext();
    if (this.points && data.points === this.data?.points) return this.take(data, this.points);
    this.say(this.points ? "" : "Loading the points…");
    pointsAt(data.points).then(
      (points) => this.component.data === data && this.take(data, points),
      () => this.say("The points could not be loaded. Reload the page."),
    );
  }

  take(data, points) {
    if (this.drag && points !== this.points) return (this.delayed = () => this.take(data, points)); // not under the pointer
    this.data = data;
    [this.codes, this.bits, this.polygon] = [column(data.codes), column(data.selected), data.polygon];
    this.isolated = new Set(data.isolated ?? []);
    const style = getComputedStyle(this.root);
    const color = (name) => style.getPropertyValue(`--st-${name}-color`);
    [this.ink, this.paper, this.accent] = ["text", "background", "primary"].map(color);
    this.say("");
    this.use(points);
    this.renderer.colour(rgbOf(this.paper), data.palette.map(rgbOf));
    this.showLegend();
    this.arrange();
    this.describe();
  }

  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  use(points) {
    if (points === this.points) return;
    this.hover(-1);
    this.points = points;
    this.remake(shared.renderer ?? (shared.renderer = usualRenderer()));
    this.view = keptIn(shared.views, this.data.points, () => ({ fitted: true })); // kept while the user is on another page
    this.resize();
  }

  /** Draws from now on in this way, on a canvas of its own, for a canvas never changes its kind. */
  remake(kind) {
    this.renderer?.dispose();
    const made = this.canvas.cloneNode(), xy = this.points.drawn();
    this.canvas.replaceWith(made);
    this.canvas = made;
    try {
      this.renderer = new (kind === "webgl" ? WebGLRenderer : CanvasRenderer)(made, xy);
    } catch (error) {
      if (kind === "canvas") throw error;
      shared.renderer = "canvas";
      return this.remake("canvas");
    }
    this.root.dataset.renderer = kind;
    this.cost = 0;
    const { renderer } = this;
    made.addEventListener("webglcontextlost", () => renderer === this.renderer && this.fallBack());
  }

  /** Goes on without the graphics card, which has let go of us. */
  fallBack() {
    shared.renderer = "canvas";
    this.remake("canvas");
    this.renderer.colour(rgbOf(this.paper), this.data.palette.map(rgbOf));
    this.arrange();
  }

  isSelected(row) { return (this.bits[row >> 3] >> (7 - (row & 7))) & 1; }
  isDimmed(code) { return this.isolated.size > 0 && !this.isolated.has(code); }

  /** Gives every point its colour and its level. */
  arrange() {
    const { codes, bits, data, points: { count, step } } = this, colors = data.palette.length;
    const looks = new Uint8Array(2 * count), counts = new Uint32Array(LEVELS), plain = data.selected_count === 0;
    const dimmed = new Uint8Array(1 << 17);
    if (this.isolated.size) dimmed.fill(1);
    for (const code of this.isolated) dimmed[code] = 0;
    for (let i = 0, row = 0; i < count; i++, row = (row + step) % count) {
      const code = codes[row];
      const level = dimmed[code] ? DIMMED : plain ? PLAIN : (bits[row >> 3] >> (7 - (row & 7))) & 1 ? CHOSEN : FADED;
      looks[2 * i] = code % colors;
      looks[2 * i + 1] = level;
      counts[level]++;
    }
    this.counts = counts;
    this.renderer.look(looks, counts);
    this.requestDraw();
  }

  // ---- view ----------------------------------------------------------------------------------------------------------
  resize() {
    const { clientWidth, clientHeight } = this.surface;
    if (!clientWidth || !clientHeight) return; // not on the page any more, or not yet
    [this.width, this.height] = [clientWidth, clientHeight];
    if (this.view?.fitted) this.fit();
    this.requestDraw();
  }

  fittingScale() {
    const room = (length) => Math.max(length - 2 * MARGIN, 20);
    return Math.min(room(this.width) / this.points.width, room(this.height) / this.points.height);
  }

  fit() {
    const { left, right, bottom, top } = this.points;
    this.look({ x: (left + right) / 2, y: (bottom + top) / 2, scale: this.fittingScale(), fitted: true });
  }

  pan(dx, dy) {
    this.look({ x: this.view.x - dx / this.view.scale, y: this.view.y + dy / this.view.scale, fitted: false });
  }

  zoom(factor, at = this.middle()) {
    const [x, y] = this.toData(at), fitting = this.fittingScale();
    this.look({ scale: clamp(this.view.scale * factor, fitting / 8, fitting * 2000), fitted: false });
    const [newX, newY] = this.toData(at);
    this.look({ x: this.view.x + x - newX, y: this.view.y + y - newY }); // what was under the pointer stays there
  }

  look(change) {
    Object.assign(this.view, change);
    if (this.cost > SMOOTH) {
      this.moving = true;
      clearTimeout(this.restTimer);
      this.restTimer = setTimeout(() => {
        this.moving = false;
        this.requestDraw();
      }, AT_REST);
    }
    this.requestDraw();
  }

  middle() { return this.mode === "crosshair" && this.cross ? this.cross : [this.width / 2, this.height / 2]; }

  toData([px, py]) {
    return [this.view.x + (px - this.width / 2) / this.view.scale, this.view.y - (py - this.height / 2) / this.view.scale];
  }

  toScreen([x, y]) {
    return [(x - this.view.x) * this.view.scale + this.width / 2, this.height / 2 - (y - this.view.y) * this.view.scale];
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------
  requestDraw(points = true) {
    this.stale ||= points;
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      if (!this.points || !this.width || !this.height) return;
      if (this.stale) this.drawPoints();
      this.stale = false;
      this.drawOverlay();
    });
  }

  fitted(canvas) {
    const [width, height] = [Math.round(this.width * this.ratio), Math.round(this.height * this.ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }

  drawPoints() {
    this.ratio = devicePixelRatio || 1;
    this.fitted(this.canvas);
    const { x, y, scale } = this.view, share = this.moving ? clamp(SMOOTH / this.cost, 0.02, 1) : 1, started = performance.now();
    this.renderer.draw({ x, y, scale: scale * this.ratio }, this.stamps(share), share);
    if (share === 1) this.cost = performance.now() - started;
  }

  /** How points of each level are drawn: radius and halo in pixels of the screen, and alpha. */
  stamps(share) {
    const radius = Math.round(this.radius() * this.ratio * 4) / 4, large = radius * 1.3;
    const spread = 0.35 * (this.points.width * this.view.scale) * (this.points.height * this.view.scale) * this.ratio ** 2;
    return ALPHA.map((alpha, level) => {
      const size = level === CHOSEN ? large : radius, drawn = this.counts[level] * (level === CHOSEN ? 1 : share);
      const layers = Math.max((drawn * Math.PI * size ** 2) / spread, 1); // where points lie on one another
      const thinned = Math.max(1 - (1 - alpha) ** (1 / layers), LEAST_ALPHA[level]);
      const haloed = level === CHOSEN && this.radius() > 1.5; // smaller ones would drown in their halos
      return { radius: size, alpha: Math.round(thinned * 64) / 64, halo: haloed ? large + this.ratio : 0 };
    });
  }

  /** Radius of a point in pixels: smaller the more there are, growing slowly as the user zooms in. */
  radius() {
    const base = clamp(6 - Math.log10(this.points.count), 1.1, 4.5);
    return clamp(base * (this.view.scale / this.fittingScale()) ** 0.25, 0.8, 7);
  }

  /** What moves with the pointer, on a canvas above the points. */
  drawOverlay() {
    const { context } = this;
    this.fitted(this.overlay);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (this.polygon) this.drawPolygon(this.polygon.map((corner) => this.toScreen(corner)));
    if (this.drag?.path) this.drawPolygon(this.drag.path);
    if (this.data.focus !== null) this.drawRing(this.data.focus, this.accent, 5);
    for (const row of new Set([this.hovered, this.linked])) if (row >= 0) this.drawRing(row, this.ink, 3.5);
    if (this.mode === "crosshair" && this.cross) this.drawCross(this.cross);
  }

  drawRing(row, strokeStyle, gap) {
    const { context } = this, [x, y] = this.toScreen(this.points.at(row));
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

  drawCross([x, y]) {
    const { context, reach } = this;
    context.beginPath();
    context.arc(x, y, reach, 0, 2 * Math.PI);
    for (const [dx, dy] of Object.values(ARROWS)) {
      context.moveTo(x + dx * 4, y + dy * 4);
      context.lineTo(x + dx * (reach + 8), y + dy * (reach + 8));
    }
    Object.assign(context, { strokeStyle: this.paper, globalAlpha: 0.9, lineWidth: 4 }).stroke();
    Object.assign(context, { strokeStyle: this.accent, globalAlpha: 1, lineWidth: 1.75 }).stroke();
  }

  // ---- words around the points -----------------------------------------------------------------------------------------
  describe() {
    const { title, by, continuous, legend, left_out: more, selected_count: selected } = this.data;
    const samples = counted(this.points.count);
    this.count.replaceChildren(element("b", { textContent: `${grouped(selected)} selected` }), ` of ${samples}`);
    this.tools.clear.disabled = selected === 0 && !this.polygon;
    const colours = continuous ? `by ${continuous[2]}` : `by ${by} in ${legend.length + more} colours`;
    this.canvas.setAttribute("aria-label", `${title}: ${samples}, coloured ${colours}; ${grouped(selected)} selected.`);
    this.surface.setAttribute("aria-label", title);
  }

  showLegend() {
    const { by, continuous, legend, palette, isolated, left_out: more } = this.data;
    const content = JSON.stringify([by, continuous, legend, palette, isolated === null]);
    if (content !== this.legendContent) {
      this.legendContent = content;
      this.legend.hidden = !continuous && legend.length === 0;
      const entries = continuous ? [colourBar(continuous, palette)] : legend.map((entry) => this.legendEntry(...entry));
      const title = this.data.card?.predicted === "" && by === "given label" ? "group" : by; // where nothing is predicted
      const heading = element("b", { textContent: continuous ? continuous[2] : title });
      const rest = more ? [element("small", { textContent: `and ${grouped(more)} more classes` })] : [];
      this.legend.replaceChildren(heading, ...entries, ...rest);
      this.legend.setAttribute("aria-label", `Legend: ${by}`);
      rove(this.legend, () => [...this.legend.querySelectorAll("button")]);
    }
    this.pressLegend();
  }

  legendEntry(code, name, count) {
    const { palette, isolated } = this.data, swatch = element("i");
    swatch.style.background = palette[code % palette.length];
    const parts = [swatch, element("span", { textContent: name }), element("small", { textContent: grouped(count) })];
    const kind = isolated === null ? ["div"] : ["button", { type: "button", onclick: () => this.isolate(code) }];
    const entry = element(kind[0], { className: "entry", title: name, ...kind[1] }, ...parts);
    entry.dataset.code = code;
    return entry;
  }

  /** Singles out a class, or no longer: at once here, and in Python, where it changes the one selection. */
  isolate(code) {
    if (!this.isolated.delete(code)) this.isolated.add(code);
    this.pressLegend();
    this.arrange();
    this.send({ mode: "isolate", by: this.data.by, codes: [...this.isolated].sort((a, b) => a - b) });
  }

  pressLegend() {
    for (const entry of this.legend.querySelectorAll(".entry")) {
      const code = Number(entry.dataset.code);
      if (entry.tagName === "BUTTON") entry.setAttribute("aria-pressed", this.isolated.has(code));
      entry.classList.toggle("dimmed", this.isDimmed(code));
    }
  }

  /** Tells a screen reader, once the keys rest. */
  announce(text) {
    clearTimeout(this.liveTimer);
    this.liveTimer = setTimeout(() => (this.live.textContent = text), 250);
  }

  // ---- the card of the point under the pointer ---------------------------------------------------------------------------
  hover(row, at = [0, 0]) {
    if (row !== this.hovered) {
      this.hovered = row;
      for (const map of shared.maps) if (map !== this) map.link(row, this.data?.group);
      this.requestDraw(false);
      this.fillCard(row);
    }
    this.card.hidden = row < 0;
    this.pointer = at;
    this.placeCard();
  }

  /** Rings the sample that the pointer is on in another map of the same samples. */
  link(row, group) {
    this.linked = group === this.data?.group && row < (this.points?.count ?? 0) ? row : -1;
    this.requestDraw(false);
  }

  placeCard() {
    const [x, y] = this.pointer;
    const { offsetWidth: width, offsetHeight: height } = this.card;
    this.card.style.left = `${x + 14 + width > this.width ? Math.max(x - 14 - width, 4) : x + 14}px`;
    this.card.style.top = `${clamp(y + 14, 4, Math.max(this.height - height - 4, 4))}px`;
  }

  fillCard(row) {
    clearTimeout(this.cardTimer);
    if (row < 0) return;
    const { card, by, legend, continuous } = this.data;
    const name = legend.find(([code]) => code === this.codes[row])?.[1];
    const own = continuous || ["given label", "predicted"].includes(by) || name === undefined ? {} : { [by]: name };
    if (!card) return this.card.replaceChildren(...lines({ row, ...own }));
    const known = this.columns?.of === card.given + card.scores ? this.columns : null;
    const fill = () => {
      if (this.hovered !== row) return;
      this.fillCard(row);
      if (this.mode === "crosshair") this.aim(); // which says what the card says
    };
    if (!known) this.fetchColumns(card).then(fill, () => {});
    const label = (codes) => (known ? known.names[codes()[row]] ?? "a class that only the model has" : "…");
    const said = {
      ...(card.predicted
        ? { given: label(() => known.given), predicted: label(() => known.predicted) }
        : { group: label(() => known.given) }),
      score: known ? short(known.scores[row]) : "…",
    };
    const preview = element("div", { className: `preview ${card.kind}` });
    this.card.replaceChildren(...(card.kind ? [preview] : []), ...lines({ ...said, ...own }));
    if (known && card.kind) this.cardTimer = setTimeout(() => this.showSample(preview, known.indices[row]), HOVER_REST);
    this.placeCard();
  }

  async fetchColumns(card) {
    const { count } = this.points;
    const [given, predicted, scores, indices, names] = await Promise.all([
      array(card.given, codesOf(count)),
      card.predicted && array(card.predicted, codesOf(count)),
      array(card.scores, (bytes) => new Float32Array(bytes)),
      array(card.indices, (bytes) => new Int32Array(bytes)),
      fetched(card.names, (reply) => reply.json()),
    ]);
    this.columns = { of: card.given + card.scores, given, predicted, scores, indices, names };
  }

  /** The image itself, or how the text begins. */
  showSample(preview, index) {
    const { kind, sample: [before, after] } = this.data.card, url = before + index + after;
    if (kind === "image") {
      preview.append(element("img", { src: url, alt: "", onerror: () => preview.classList.add("missing") }));
      return;
    }
    fetched(url, (reply) => reply.json()).then(
      ({ text }) => {
        const begins = [...text.slice(0, 2 * CHARACTERS)].slice(0, CHARACTERS).join("");
        preview.dir = "auto";
        assign(preview, { textContent: begins.length < text.length ? `${begins}…` : begins });
        this.placeCard();
      },
      () => preview.classList.add("missing"),
    );
  }

  // ---- what the user does ----------------------------------------------------------------------------------------------
  listen() {
    for (const [name, use] of Object.entries(TOOLS)) this.tools[name].onclick = () => this.points && use(this);
    Object.assign(this.surface, {
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: (event) => this.lift(event),
      onpointerleave: () => this.mode === "crosshair" || this.hover(-1),
      onkeydown: (event) => this.type(event),
      ondblclick: () => this.reset(),
    });
    this.surface.addEventListener("wheel", (event) => this.roll(event), { passive: false });
    rove(this.root.querySelector(".toolbar"), () => Object.values(this.tools));
  }

  setMode(mode) {
    this.mode = this.surface.dataset.mode = mode;
    for (const name of Object.values(MODE_KEYS)) this.tools[name].setAttribute("aria-pressed", name === mode);
    this.hover(-1);
    if (mode !== "crosshair") return this.requestDraw(false);
    this.cross ??= [(this.width ?? 0) / 2, (this.height ?? 0) / 2];
    this.reach ??= REACH[1];
    this.surface.focus();
    this.aim();
  }

  at(event) {
    const { left, top } = this.surface.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  press(event) {
    if (event.button > 1 || !this.points) return;
    if (event.button === 1) event.preventDefault(); // no scrolling by the middle button, which pans
    const at = this.at(event), way = wayOf(event);
    this.surface.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, at);
    this.hover(-1);
    if (this.pointers.size > 1) return this.endDrag(); // two fingers zoom and pan, and draw nothing
    this.drag = { start: at, last: at, way, mode: event.button === 1 ? "pan" : this.mode, moved: false, path: null };
  }

  move(event) {
    if (!this.points) return;
    const at = this.at(event), { drag } = this;
    if (this.pointers.size > 1 && this.pointers.has(event.pointerId)) return this.pinch(event.pointerId, at);
    if (!drag) return this.mode === "crosshair" ? undefined : this.hover(this.rowAt(at), at);
    const [x0, y0] = drag.start, [x1, y1] = at;
    drag.moved ||= Math.hypot(x1 - x0, y1 - y0) > CLICK_SLOP;
    if (!drag.moved) return;
    if (drag.mode === "pan" || drag.mode === "crosshair") this.pan(x1 - drag.last[0], y1 - drag.last[1]);
    else if (drag.mode === "box") drag.path = [drag.start, [x1, y0], at, [x0, y1]];
    else (drag.path ??= [drag.start]).push(at);
    drag.last = at;
    this.surface.classList.toggle("dragging", !drag.path);
    this.requestDraw(false);
  }

  pinch(finger, at) {
    const spread = () => {
      const [[x0, y0], [x1, y1]] = [...this.pointers.values()];
      return [Math.max(Math.hypot(x1 - x0, y1 - y0), 1), [(x0 + x1) / 2, (y0 + y1) / 2]];
    };
    const [before, [x0, y0]] = spread();
    this.pointers.set(finger, at);
    const [after, [x1, y1]] = spread();
    this.pan(x1 - x0, y1 - y0);
    this.zoom(after / before, [x1, y1]);
  }

  release(event) {
    const { drag } = this;
    if (drag && !drag.moved) this.click(this.at(event), drag.way);
    else if (drag?.path?.length >= 3) this.selectWithin(simplified(drag.path), drag.way);
    this.lift(event);
  }

  lift(event) {
    this.pointers.delete(event.pointerId);
    this.endDrag();
  }

  endDrag() {
    this.drag = null;
    this.surface.classList.remove("dragging");
    this.requestDraw(false);
    this.delayed?.();
    this.delayed = null;
  }

  selectWithin(path, mode) {
    this.polygon = path.map((corner) => this.toData(corner)); // in sight until Python answers
    this.requestDraw(false);
    this.send({ mode, polygon: this.polygon });
  }

  click(at, mode) {
    if (this.mode === "crosshair") {
      this.cross = at;
      return this.aim();
    }
    const row = this.rowAt(at);
    clearTimeout(this.clickTimer);
    if (row >= 0) this.clickTimer = setTimeout(() => this.send({ mode, row }), DOUBLE_CLICK);
  }

  reset() {
    clearTimeout(this.clickTimer); // a double click is no click
    if (this.points) this.fit();
  }

  clear() {
    if (this.drag) this.endDrag();
    else this.send({ mode: "clear" });
  }

  rowAt(at, radius = HOVER_RADIUS) {
    return this.points.nearest(this.toData(at), radius / this.view.scale, (row) => !this.isDimmed(this.codes[row]));
  }

  roll(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 33, 400][event.deltaMode];
    if (this.points) this.zoom(Math.exp(-clamp(pixels, -240, 240) / 400), this.at(event));
  }

  type(event) {
    const { key } = event, mode = MODE_KEYS[key.toLowerCase()], aims = this.mode === "crosshair";
    if (event.ctrlKey || event.metaKey || !this.points) return;
    if (aims && (key === "Enter" || key === " ")) this.pick(key === "Enter", wayOf(event));
    else if (event.altKey) return;
    else if (mode) this.setMode(mode);
    else if (ARROWS[key] && aims) this.moveCross(...ARROWS[key].map((d) => d * (event.shiftKey ? 4 : 1) * CROSS_STEP));
    else if (ARROWS[key]) this.pan(...ARROWS[key].map((d) => -d * PAN_STEP));
    else if (ZOOM_KEYS[key]) this.zoom(ZOOM_KEYS[key]);
    else if (aims && REACH_KEYS[key]) this.aim((this.reach = clamp(this.reach * REACH_KEYS[key], REACH[0], REACH[2])));
    else if (key === "0") this.reset();
    else if (key === "Escape") this.clear();
    else return;
    if (aims && (ZOOM_KEYS[key] || key === "0")) this.aim();
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- the crosshair, with which the keys select -------------------------------------------------------------------------
  /** Moves the crosshair; at the edge the view moves under it. */
  moveCross(dx, dy) {
    const [x, y] = [this.cross[0] + dx, this.cross[1] + dy];
    this.cross = [clamp(x, 0, this.width), clamp(y, 0, this.height)];
    if (x !== this.cross[0] || y !== this.cross[1]) this.pan(this.cross[0] - x, this.cross[1] - y);
    this.aim();
  }

  /** Shows what the crosshair is on, and says it. */
  aim() {
    this.requestDraw(false);
    if (!this.points) return;
    const row = this.rowAt(this.cross, this.reach);
    let within = 0;
    const count = (found) => (within += !this.isDimmed(this.codes[found]));
    this.points.around(this.toData(this.cross), this.reach / this.view.scale, count);
    this.hover(row, this.cross);
    this.announce(`${counted(within)} in the circle${row < 0 ? "" : `; nearest: ${this.card.innerText.replaceAll("\n", " ")}`}`);
  }

  /** Selects what lies in the circle, or the sample nearest to the crosshair. */
  pick(circle, mode) {
    const [x, y] = this.cross, row = this.rowAt(this.cross, this.reach);
    if (!circle) return row >= 0 && this.send({ mode, row });
    const angles = Array.from({ length: CIRCLE_CORNERS }, (_, i) => (2 * Math.PI * i) / CIRCLE_CORNERS);
    this.selectWithin(angles.map((a) => [x + this.reach * Math.cos(a), y + this.reach * Math.sin(a)]), mode);
  }

  // ---- to Python: an act at a time, the next when Python has seen the last, so that a busy page loses none ---------------
  send(act) {
    this.lastId = Math.max(Date.now(), (this.lastId ?? 0) + 1);
    this.queue.push({ id: this.lastId, picture: this.data.picture, ...act });
    if (!this.awaited) this.sendNext();
  }

  sendNext() {
    clearTimeout(this.ackTimer);
    this.awaited = this.queue.shift();
    if (!this.awaited) return;
    this.ackTimer = setTimeout(() => this.sendNext(), ACK_TIMEOUT);
    this.component.setTriggerValue("act", this.awaited);
  }
}

/** Terms and what is said of them, for the card. */
function lines(said) {
  const pair = ([term, text]) => [element("span", { textContent: term }), element("b", { textContent: text })];
  return Object.entries(said).flatMap(pair);
}

/** One stop for the Tab key in a row of buttons; the arrows go from one to the next. */
function rove(row, buttons) {
  const enter = (chosen) => buttons().forEach((button) => (button.tabIndex = button === chosen ? 0 : -1));
  enter(buttons()[0]);
  row.onfocusin = (event) => buttons().includes(event.target) && enter(event.target);
  row.onkeydown = (event) => {
    const all = buttons().filter((button) => !button.disabled), at = all.indexOf(row.getRootNode().activeElement);
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: -1 };
    if (!(event.key in steps) || at < 0) return;
    all.at(steps[event.key] % all.length).focus();
    event.preventDefault();
    event.stopPropagation();
  };
}

function colourBar([low, high], palette) {
  const ramp = element("div", { className: "ramp" });
  ramp.style.setProperty("--stops", palette.filter((_, i) => i % 16 === 0 || i === palette.length - 1).join());
  const numbers = [high, low].map((value) => element("span", { textContent: short(value) }));
  return element("div", { className: "bar" }, ramp, element("div", { className: "ends" }, ...numbers));
}
