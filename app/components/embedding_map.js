// The embedding map: draws points on a canvas and tells Python of lassos, boxes and clicks.
// Two elements run this module: one brings the points, the other the colours and the selection of the same points.

const MODE_KEYS = { l: "lasso", b: "box", p: "pan" };
const PAN_KEYS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
const ZOOM_KEYS = { "+": 1.25, "=": 1.25, "-": 0.8, _: 0.8 };
const CLICK_SLOP = 4; // pixels that a click may wander
const DOUBLE_CLICK = 220; // milliseconds that a click waits for a second one
const HOVER_RADIUS = 8; // pixels
const MOST_CORNERS = 60;
const MARGIN = 44; // pixels free around the points, so that the toolbar hides none
const ACK_TIMEOUT = 10_000; // milliseconds after which Python is taken to have missed an act
const [FADED, PLAIN, CHOSEN] = [0, 1, 2]; // levels, drawn in this order
const ALPHA = [0.15, 0.85, 1];
const TOOLS = {
  ...Object.fromEntries(Object.values(MODE_KEYS).map((mode) => [mode, (map) => map.setMode(mode)])),
  in: (map) => map.zoom(1.5),
  out: (map) => map.zoom(1 / 1.5),
  reset: (map) => map.reset(),
  clear: (map) => map.clear(),
};

// On the page, not in the module, for Streamlit may load the module once an element. Points and views by id.
const shared = (globalThis.ogaEmbeddingMaps ??= { points: new Map(), views: new Map(), maps: new Set() });
const instances = new WeakMap(); // parentElement → EmbeddingMap

export default function (component) {
  return component.data.positions ? keepPoints(component) : showMap(component);
}

function keepPoints({ data, parentElement: owner }) {
  const dropAllBut = (stays) => {
    for (const [id, kept] of shared.points) if (kept.owner === owner && id !== stays) shared.points.delete(id);
  };
  dropAllBut(data.id);
  shared.points.set(data.id, { owner, points: shared.points.get(data.id)?.points ?? new Points(data) });
  for (const map of shared.maps) map.update();
  return () => dropAllBut(null);
}

function showMap(component) {
  const { parentElement } = component;
  let map = instances.get(parentElement);
  if (!map?.root.isConnected) {
    map?.dispose();
    map = new EmbeddingMap(parentElement.querySelector(".map"));
    instances.set(parentElement, map);
  }
  map.update(component);
  return () => map.dispose();
}

const scratch = document.createElement("canvas").getContext("2d");
const column = (table, index = 0) => table.getChildAt(index).toArray();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const grouped = (count) => count.toLocaleString("en-US");
const short = (value) => String(Number(value.toPrecision(3)));
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/** Counting sort: the rows in the order of their keys, and where each key begins. */
function sortedByKey(keys, kinds) {
  const starts = new Uint32Array(kinds + 1);
  for (const key of keys) starts[key + 1]++;
  for (let key = 0; key < kinds; key++) starts[key + 1] += starts[key];
  const next = starts.slice(), rows = new Uint32Array(keys.length);
  for (let row = 0; row < keys.length; row++) rows[next[keys[row]]++] = row;
  return [rows, starts];
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

const packed = ([r, g, b], share = 1) => (255 << 24) | ((b * share) << 16) | ((g * share) << 8) | (r * share);

/** A disc to print on pixels `stride` wide: which pixels it touches, what share of 256 they keep, what each colour adds. */
function discStamp(radius, alpha, colors, stride) {
  const reach = Math.ceil(radius), offsets = [], cover = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const covered = clamp(radius + 0.5 - Math.hypot(dx, dy), 0, 1) * alpha; // soft at the rim
      if (covered * 256 < 1) continue;
      offsets.push(dy * stride + dx);
      cover.push(covered);
    }
  }
  const inks = colors.map((color) => Uint32Array.from(cover, (share) => packed(color, share) & 0xffffff));
  return { offsets: Int32Array.from(offsets), keeps: Uint16Array.from(cover, (share) => 256 - Math.round(share * 256)), inks };
}

/** Prints a stamp in an ink. By hand, because a canvas takes some microseconds a point where it has no graphics card. */
function imprint(pixels, at, { offsets, keeps }, ink) {
  for (let k = 0; k < offsets.length; k++) {
    const pixel = at + offsets[k], below = pixels[pixel], keep = keeps[k];
    const redBlue = (Math.imul(below & 0xff00ff, keep) >>> 8) & 0xff00ff, green = (((below >>> 8) & 0xff) * keep) & 0xff00;
    pixels[pixel] = (ink[k] + (redBlue | green)) | 0xff000000;
  }
}

/** The points of one data set, and a grid over them that finds the nearest one. */
class Points {
  constructor({ positions, bounds, class_names: names, given, predicted, scores }) {
    [this.x, this.y] = [column(positions, 0), column(positions, 1)];
    this.count = this.x.length;
    this.labels = names && { names, given: column(given), predicted: column(predicted), scores: column(scores) };
    [this.left, this.bottom, this.right, this.top] = bounds;
    [this.width, this.height] = [this.right - this.left || 1, this.top - this.bottom || 1];
    this.side = clamp(Math.ceil(Math.sqrt(this.count / 4)), 1, 1024);
    const cells = new Uint32Array(this.count).map((_, row) => this.cellX(this.x[row]) + this.side * this.cellY(this.y[row]));
    [this.cellRows, this.cellStarts] = sortedByKey(cells, this.side ** 2);
  }

  cellX(x) { return clamp(Math.floor(((x - this.left) / this.width) * this.side), 0, this.side - 1) || 0; }
  cellY(y) { return clamp(Math.floor(((y - this.bottom) / this.height) * this.side), 0, this.side - 1) || 0; }

  /** Row of the nearest point within `radius` that the map `accepts`, or -1. */
  nearest([x, y], radius, accepts) {
    let best = -1, closest = radius ** 2;
    for (let cy = this.cellY(y - radius); cy <= this.cellY(y + radius); cy++) {
      const to = this.cellStarts[this.cellX(x + radius) + this.side * cy + 1];
      for (let i = this.cellStarts[this.cellX(x - radius) + this.side * cy]; i < to; i++) {
        const row = this.cellRows[i], distance = (this.x[row] - x) ** 2 + (this.y[row] - y) ** 2;
        if (distance <= closest && accepts(row)) [best, closest] = [row, distance];
      }
    }
    return best;
  }
}

class EmbeddingMap {
  constructor(root) {
    this.root = root;
    for (const part of ["frame", "stage", "canvas", "count", "card", "legend"]) this[part] = root.querySelector(`.${part}`);
    this.tools = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]));
    this.context = this.canvas.getContext("2d");
    this.isolated = new Set(); // codes that the legend singles out
    this.hovered = -1;
    this.queue = []; // acts for Python
    this.listen();
    this.setMode("lasso");
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.stage);
    shared.maps.add(this);
  }

  dispose() {
    this.observer.disconnect();
    cancelAnimationFrame(this.drawing);
    for (const timer of [this.clickTimer, this.ackTimer]) clearTimeout(timer);
    shared.maps.delete(this);
  }

  // ---- data ----------------------------------------------------------------------------------------------------------
  /** Takes new data, and the same again when the theme changes or the points arrive after the colours. */
  update(component = this.component) {
    if (!component) return;
    this.component = component;
    this.data = component.data;
    this.frame.style.height = `${this.data.height}px`;
    if (this.awaited && this.data.seen === this.awaited.id) this.sendNext();
    const points = shared.points.get(this.data.id)?.points;
    if (!points || points.count !== this.data.codes.numRows) return; // the other element is on its way
    [this.codes, this.bits, this.polygon] = [column(this.data.codes), column(this.data.selected), this.data.polygon];
    const style = getComputedStyle(this.root);
    const color = (name) => style.getPropertyValue(`--st-${name}-color`);
    [this.ink, this.paper, this.accent] = ["text", "background", "primary"].map(color);
    this.sheet = null; // its colours may have changed
    this.use(points);
    this.showLegend();
    this.arrange();
    this.describe();
  }

  use(points) {
    if (points !== this.points) this.hover(-1);
    this.points = points;
    if (this.place === this.data.place) return;
    this.place = this.data.place; // other positions: their own view, kept while the user visits another page
    this.view = shared.views.get(this.place) ?? { fitted: true };
    shared.views.set(this.place, this.view);
    this.resize();
  }

  isSelected(row) { return (this.bits[row >> 3] >> (7 - (row & 7))) & 1; }
  isDimmed(code) { return this.isolated.size > 0 && !this.isolated.has(code); }
  level(row) {
    if (this.isDimmed(this.codes[row])) return FADED;
    return this.data.selected_count === 0 ? PLAIN : this.isSelected(row) ? CHOSEN : FADED;
  }

  /** Sorts the points by level and colour, so that drawing one changes no state. */
  arrange() {
    const { count, x, y } = this.points, colors = this.data.palette.length;
    const keys = new Uint32Array(count).map((_, row) => this.level(row) * colors + (this.codes[row] % colors));
    const [rows, starts] = sortedByKey(keys, 3 * colors);
    this.sortedX = new Float32Array(count).map((_, i) => x[rows[i]]);
    this.sortedY = new Float32Array(count).map((_, i) => y[rows[i]]);
    this.segments = Array.from({ length: 3 * colors }, (_, key) => (
      { from: starts[key], to: starts[key + 1], color: key % colors, level: Math.floor(key / colors) }
    )).filter(({ from, to }) => from < to);
    this.updateLegend();
    this.requestDraw();
  }

  // ---- view ----------------------------------------------------------------------------------------------------------
  resize() {
    [this.width, this.height] = [this.stage.clientWidth, this.stage.clientHeight];
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

  zoom(factor, at = [this.width / 2, this.height / 2]) {
    const [x, y] = this.toData(at), fitting = this.fittingScale();
    this.look({ scale: clamp(this.view.scale * factor, fitting / 8, fitting * 2000), fitted: false });
    const [newX, newY] = this.toData(at);
    this.look({ x: this.view.x + x - newX, y: this.view.y + y - newY }); // what was under the pointer stays there
  }

  look(change) {
    Object.assign(this.view, change);
    this.requestDraw();
  }

  toData([px, py]) {
    return [this.view.x + (px - this.width / 2) / this.view.scale, this.view.y - (py - this.height / 2) / this.view.scale];
  }

  toScreen([x, y]) {
    return [(x - this.view.x) * this.view.scale + this.width / 2, this.height / 2 - (y - this.view.y) * this.view.scale];
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------
  requestDraw() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      if (this.points && this.width && this.height) this.draw();
    });
  }

  draw() {
    const { canvas, context } = this;
    this.ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * this.ratio), Math.round(this.height * this.ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.drawPoints();
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    if (this.hovered >= 0) this.drawRing(this.hovered);
    if (this.polygon) this.drawPolygon(this.polygon.map((corner) => this.toScreen(corner)));
    if (this.drag?.path) this.drawPolygon(this.drag.path);
  }

  drawPoints() {
    const { sortedX, sortedY, view, ratio } = this, { image, pixels, stride, reach, paper, stamps, halo } = this.preparedSheet();
    const { width, height } = this.canvas, scale = view.scale * ratio, margin = 2 * reach;
    const left = width / 2 - view.x * scale, top = height / 2 + view.y * scale;
    const haloed = this.radius() > 1.5; // smaller ones would drown in their halos
    pixels.fill(paper);
    for (const { from, to, color, level } of this.segments) {
      const stamp = stamps[level], ink = stamp.inks[color];
      for (let i = from; i < to; i++) {
        const x = left + sortedX[i] * scale, y = top - sortedY[i] * scale;
        if (!(x > -reach && x < width + reach && y > -reach && y < height + reach)) continue;
        const at = ((y + margin) | 0) * stride + ((x + margin) | 0);
        if (level === CHOSEN && haloed) imprint(pixels, at, halo, halo.inks[0]);
        imprint(pixels, at, stamp, ink);
      }
    }
    this.context.putImageData(image, -margin, -margin);
  }

  /** Radius of a point in pixels: smaller the more there are, growing slowly as the user zooms in. */
  radius() {
    const base = clamp(6 - Math.log10(this.points.count), 1.1, 4.5);
    return clamp(base * (this.view.scale / this.fittingScale()) ** 0.25, 0.8, 7);
  }

  /** Pixels to print on, with a margin so that no point needs clipping, and the stamps of the present size and colours. */
  preparedSheet() {
    const { width, height } = this.canvas, radius = Math.round(this.radius() * this.ratio * 4) / 4;
    if (this.sheet?.radius === radius && this.sheet.width === width && this.sheet.height === height) return this.sheet;
    const large = radius * 1.3, reach = Math.ceil(large + this.ratio), stride = width + 4 * reach;
    const image = new ImageData(stride, height + 4 * reach), pixels = new Uint32Array(image.data.buffer);
    const [paper, ...colors] = [this.paper, ...this.data.palette].map(rgbOf);
    const stamps = ALPHA.map((alpha, level) => discStamp(level === CHOSEN ? large : radius, alpha, colors, stride));
    const halo = discStamp(large + this.ratio, 1, [paper], stride);
    return (this.sheet = { radius, width, height, image, pixels, stride, reach, paper: packed(paper), stamps, halo });
  }

  drawRing(row) {
    const { context } = this, [x, y] = this.toScreen([this.points.x[row], this.points.y[row]]);
    context.beginPath();
    context.arc(x, y, this.radius() + 3.5, 0, 2 * Math.PI);
    Object.assign(context, { lineWidth: 2, strokeStyle: this.ink }).stroke();
  }

  drawPolygon(corners) {
    const { context, accent } = this;
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x, y);
    context.closePath();
    Object.assign(context, { fillStyle: accent, globalAlpha: 0.08 }).fill();
    Object.assign(context, { strokeStyle: accent, globalAlpha: 1, lineWidth: 1.5, lineJoin: "round" }).stroke();
  }

  // ---- words around the canvas -----------------------------------------------------------------------------------------
  describe() {
    const { continuous, names, selected_count: selected } = this.data, { count } = this.points;
    const samples = `${grouped(count)} ${count === 1 ? "sample" : "samples"}`;
    this.count.replaceChildren(element("b", { textContent: `${grouped(selected)} selected` }), ` of ${samples}`);
    this.tools.clear.disabled = selected === 0 && !this.polygon;
    const colours = continuous ? `coloured by ${continuous[2]}` : `in ${names.length} colours`;
    const keys = "Arrow keys pan, plus and minus zoom, 0 resets the view, L lasso, B box, P pan, Escape clears the selection.";
    this.canvas.setAttribute("aria-label", `Map of ${samples} ${colours}, ${grouped(selected)} selected. ${keys}`);
  }

  showLegend() {
    const { continuous, names, palette } = this.data, content = JSON.stringify([continuous, names, palette]);
    if (content !== this.legendContent) {
      this.legendContent = content;
      this.isolated.clear();
      this.legend.hidden = !continuous && names.length === 0;
      const entries = continuous ? colourBar(continuous, palette) : names.map((_, code) => this.legendEntry(code));
      this.legend.replaceChildren(...entries);
    }
  }

  legendEntry(code) {
    const { names, palette } = this.data, swatch = element("i");
    swatch.style.background = palette[code % palette.length];
    const texts = [element("span", { textContent: names[code] }), element("small")];
    return element("button", { type: "button", title: names[code], onclick: () => this.isolate(code) }, swatch, ...texts);
  }

  isolate(code) {
    if (!this.isolated.delete(code)) this.isolated.add(code);
    this.arrange();
  }

  updateLegend() {
    if (this.data.continuous) return;
    const counts = new Uint32Array(65536);
    for (const code of this.codes) counts[code]++;
    [...this.legend.children].forEach((entry, code) => {
      entry.lastChild.textContent = grouped(counts[code]);
      entry.setAttribute("aria-pressed", this.isolated.has(code));
      entry.classList.toggle("dimmed", this.isDimmed(code));
    });
  }

  hover(row, [x, y] = [0, 0]) {
    if (row !== this.hovered) this.requestDraw();
    this.hovered = row;
    this.card.hidden = row < 0;
    if (row < 0) return;
    this.card.replaceChildren(...this.cardLines(row));
    const { offsetWidth: width, offsetHeight: height } = this.card;
    this.card.style.left = `${x + 14 + width > this.width ? Math.max(x - 14 - width, 4) : x + 14}px`;
    this.card.style.top = `${clamp(y + 14, 4, Math.max(this.height - height - 4, 4))}px`;
  }

  cardLines(row) {
    const { labels } = this.points, name = (code) => labels.names[code] ?? `class ${code}`;
    const lines = labels
      ? { given: name(labels.given[row]), predicted: name(labels.predicted[row]), score: short(labels.scores[row]) }
      : { row, colour: this.data.names[this.codes[row]] ?? this.codes[row] };
    const pair = ([term, text]) => [element("span", { textContent: term }), element("b", { textContent: text })];
    return Object.entries(lines).flatMap(pair);
  }

  // ---- what the user does ----------------------------------------------------------------------------------------------
  listen() {
    for (const [name, use] of Object.entries(TOOLS)) this.tools[name].onclick = () => this.points && use(this);
    Object.assign(this.canvas, {
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: () => this.endDrag(),
      onpointerleave: () => this.hover(-1),
      onwheel: (event) => this.roll(event),
      onkeydown: (event) => this.type(event),
      ondblclick: () => this.reset(),
    });
  }

  setMode(mode) {
    this.mode = this.canvas.dataset.mode = mode;
    for (const name of Object.values(MODE_KEYS)) this.tools[name].setAttribute("aria-pressed", name === mode);
  }

  at(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  press(event) {
    if (event.button !== 0 || !this.points) return;
    const at = this.at(event), way = event.altKey ? "subtract" : event.shiftKey ? "add" : "replace";
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { start: at, last: at, way, moved: false, path: null };
    this.hover(-1);
  }

  move(event) {
    if (!this.points) return;
    const at = this.at(event), { drag, mode } = this;
    if (!drag) return this.hover(this.rowAt(at), at);
    const [x0, y0] = drag.start, [x1, y1] = at;
    drag.moved ||= Math.hypot(x1 - x0, y1 - y0) > CLICK_SLOP;
    if (!drag.moved) return;
    if (mode === "pan") this.pan(x1 - drag.last[0], y1 - drag.last[1]);
    else if (mode === "box") drag.path = [drag.start, [x1, y0], at, [x0, y1]];
    else (drag.path ??= [drag.start]).push(at);
    drag.last = at;
    this.canvas.classList.toggle("dragging", mode === "pan");
    this.requestDraw();
  }

  release(event) {
    const { drag } = this;
    if (!drag) return;
    this.endDrag();
    if (!drag.moved) return this.click(this.at(event), drag.way);
    if (!(drag.path?.length >= 3)) return;
    this.polygon = simplified(drag.path).map((corner) => this.toData(corner)); // in sight until Python answers
    this.send({ mode: drag.way, polygon: this.polygon });
  }

  endDrag() {
    this.drag = null;
    this.canvas.classList.remove("dragging");
    this.requestDraw();
  }

  click(at, mode) {
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

  rowAt(at) {
    return this.points.nearest(this.toData(at), HOVER_RADIUS / this.view.scale, (row) => !this.isDimmed(this.codes[row]));
  }

  roll(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 33, 400][event.deltaMode];
    if (this.points) this.zoom(Math.exp(-clamp(pixels, -240, 240) / 400), this.at(event));
  }

  type(event) {
    const { key } = event, mode = MODE_KEYS[key.toLowerCase()];
    if (event.ctrlKey || event.metaKey || event.altKey || !this.points) return;
    if (mode) this.setMode(mode);
    else if (PAN_KEYS[key]) this.pan(...PAN_KEYS[key]);
    else if (ZOOM_KEYS[key]) this.zoom(ZOOM_KEYS[key]);
    else if (key === "0") this.reset();
    else if (key === "Escape") this.clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- to Python: an act at a time, the next when Python has seen the last, so that a busy page loses none ---------------
  send(act) {
    this.lastId = Math.max(Date.now(), (this.lastId ?? 0) + 1);
    this.queue.push({ id: this.lastId, ...act });
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

function colourBar([low, high, title], palette) {
  const ramp = element("div", { className: "ramp" });
  ramp.style.setProperty("--stops", palette.filter((_, i) => i % 16 === 0 || i === palette.length - 1).join());
  const numbers = [high, low].map((value) => element("span", { textContent: short(value) }));
  const ends = element("div", { className: "ends" }, ...numbers);
  return [element("b", { textContent: title }), element("div", { className: "bar" }, ramp, ends)];
}
