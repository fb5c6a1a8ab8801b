// What the user does on the map: mouse, fingers, wheel and keys.

import { clamp } from "../numbers.js";
import { Crosshair } from "./crosshair.js";
import { rove } from "./roving.js";

const MODE_KEYS = { l: "lasso", b: "box", p: "pan", t: "crosshair" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOM_KEYS = { "+": 1.25, "=": 1.25, "-": 0.8, _: 0.8 };
const REACH_KEYS = { "]": 1.25, "[": 0.8 };
const PAN_STEP = 60; // pixels that an arrow pans
const CROSS_STEP = 12; // pixels that an arrow moves the crosshair
const CLICK_SLOP = 4; // pixels that a click may wander
const DOUBLE_CLICK = 220; // milliseconds that a click waits for a second one
const MOST_CORNERS = 60;
const TOOLS = {
  ...Object.fromEntries(Object.values(MODE_KEYS).map((mode) => [mode, (pointing) => pointing.setMode(mode)])),
  in: (pointing) => pointing.zoom(1.5),
  out: (pointing) => pointing.zoom(1 / 1.5),
  reset: (pointing) => pointing.reset(),
  clear: (pointing) => pointing.clear(),
};

/** What a lasso or a click does to the selection. */
const wayOf = ({ altKey, shiftKey }) => (altKey ? "subtract" : shiftKey ? "add" : "replace");

/** Takes out the corner whose triangle with its neighbours is smallest, until few are left and each one matters. */
function simplify(path, smallest = 1) {
  const corners = path.slice();
  const area = ([x, y], i) => {
    const [x0, y0] = corners.at(i - 1);
    const [x1, y1] = corners[(i + 1) % corners.length];
    return Math.abs((x - x0) * (y1 - y0) - (x1 - x0) * (y - y0)) / 2;
  };
  while (corners.length > 3) {
    const areas = corners.map(area);
    const least = areas.indexOf(Math.min(...areas));
    if (corners.length <= MOST_CORNERS && areas[least] >= smallest) break;
    corners.splice(least, 1);
  }
  return corners;
}

export class Pointing {
  constructor(map, surface, live) {
    Object.assign(this, { map, surface, crosshair: new Crosshair(map, live) });
    this.pointers = new Map(); // fingers that are down
    const { root } = map;
    this.tools = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]));
    for (const [name, use] of Object.entries(TOOLS)) this.tools[name].onclick = () => map.points && use(this);
    Object.assign(surface, {
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: (event) => this.lift(event),
      onpointerleave: () => this.crosshair.isOn || map.hover(-1),
      onkeydown: (event) => this.type(event),
      ondblclick: () => this.reset(),
    });
    surface.addEventListener("wheel", (event) => this.roll(event), { passive: false });
    rove(root.querySelector(".toolbar"), () => Object.values(this.tools));
  }

  dispose() {
    clearTimeout(this.clickTimer);
    this.crosshair.dispose();
  }

  setMode(mode) {
    const { map } = this;
    map.mode = this.surface.dataset.mode = mode;
    for (const name of Object.values(MODE_KEYS)) this.tools[name].setAttribute("aria-pressed", name === mode);
    map.hover(-1);
    if (mode !== "crosshair") {
      map.painter.request(false);
      return;
    }
    this.surface.focus();
    this.crosshair.start();
  }

  at(event) {
    const { left, top } = this.surface.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  press(event) {
    if (event.button > 1 || !this.map.points) return;
    if (event.button === 1) event.preventDefault(); // no scrolling by the middle button, which pans
    const at = this.at(event);
    const way = wayOf(event);
    this.surface.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, at);
    this.map.hover(-1);
    if (this.pointers.size > 1)
      this.endDrag(); // two fingers zoom and pan, and draw nothing
    else this.drag = { start: at, last: at, way, mode: event.button === 1 ? "pan" : this.map.mode, moved: false, path: null };
  }

  move(event) {
    const { map, drag } = this;
    if (!map.points) return;
    const at = this.at(event);
    if (this.pointers.size > 1 && this.pointers.has(event.pointerId)) this.pinch(event.pointerId, at);
    else if (drag) this.pull(drag, at);
    else if (!this.crosshair.isOn) map.hover(map.rowAt(at), at);
  }

  /** Pans, or draws a box or a lasso on. */
  pull(drag, at) {
    const [x0, y0] = drag.start;
    const [x1, y1] = at;
    drag.moved ||= Math.hypot(x1 - x0, y1 - y0) > CLICK_SLOP;
    if (!drag.moved) return;
    if (drag.mode === "pan" || drag.mode === "crosshair") this.map.camera.pan(x1 - drag.last[0], y1 - drag.last[1]);
    else if (drag.mode === "box") drag.path = [drag.start, [x1, y0], at, [x0, y1]];
    else (drag.path ??= [drag.start]).push(at);
    drag.last = at;
    this.surface.classList.toggle("dragging", !drag.path);
    this.map.painter.request(false);
  }

  pinch(finger, at) {
    const spread = () => {
      const [[x0, y0], [x1, y1]] = [...this.pointers.values()];
      return [Math.max(Math.hypot(x1 - x0, y1 - y0), 1), [(x0 + x1) / 2, (y0 + y1) / 2]];
    };
    const [before, [x0, y0]] = spread();
    this.pointers.set(finger, at);
    const [after, [x1, y1]] = spread();
    this.map.camera.pan(x1 - x0, y1 - y0);
    this.map.camera.zoom(after / before, [x1, y1]);
  }

  release(event) {
    const { drag } = this;
    if (drag && !drag.moved) this.click(this.at(event), drag.way);
    else if (drag?.path?.length >= 3) this.map.selectWithin(simplify(drag.path), drag.way);
    this.lift(event);
  }

  lift(event) {
    this.pointers.delete(event.pointerId);
    this.endDrag();
  }

  endDrag() {
    this.drag = null;
    this.surface.classList.remove("dragging");
    this.map.painter.request(false);
    this.map.takeDelayed();
  }

  click(at, mode) {
    if (this.crosshair.isOn) {
      this.crosshair.moveTo(at);
      return;
    }
    const row = this.map.rowAt(at);
    clearTimeout(this.clickTimer);
    if (row >= 0) this.clickTimer = setTimeout(() => this.map.send({ mode, row }), DOUBLE_CLICK);
  }

  zoom(factor) {
    const { camera } = this.map;
    camera.zoom(factor, this.crosshair.isShown ? this.crosshair.at : camera.middle);
  }

  reset() {
    clearTimeout(this.clickTimer); // a double click is no click
    if (this.map.points) this.map.camera.fit();
  }

  clear() {
    if (this.drag) this.endDrag();
    else this.map.send({ mode: "clear" });
  }

  roll(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 33, 400][event.deltaMode];
    if (this.map.points) this.map.camera.zoom(Math.exp(-clamp(pixels, -240, 240) / 400), this.at(event));
  }

  type(event) {
    const { key } = event;
    const { crosshair } = this;
    const mode = MODE_KEYS[key.toLowerCase()];
    const aims = crosshair.isOn;
    if (event.ctrlKey || event.metaKey || !this.map.points) return;
    if (aims && (key === "Enter" || key === " ")) crosshair.pick(key === "Enter", wayOf(event));
    else if (event.altKey) return;
    else if (mode) this.setMode(mode);
    else if (ARROWS[key] && aims) crosshair.move(...ARROWS[key].map((d) => d * (event.shiftKey ? 4 : 1) * CROSS_STEP));
    else if (ARROWS[key]) this.map.camera.pan(...ARROWS[key].map((d) => -d * PAN_STEP));
    else if (ZOOM_KEYS[key]) this.zoom(ZOOM_KEYS[key]);
    else if (aims && REACH_KEYS[key]) crosshair.widen(REACH_KEYS[key]);
    else if (key === "0") this.reset();
    else if (key === "Escape") this.clear();
    else return;
    if (aims && (ZOOM_KEYS[key] || key === "0")) crosshair.aim();
    event.preventDefault();
    event.stopPropagation();
  }
}
