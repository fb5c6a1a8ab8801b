// The legend: the classes with their colours, which it singles out, or the colour bar of a quantity.

import { element } from "../bidi.js";
import { formatNumber } from "../numbers.js";
import { formatShort } from "./card.js";
import { rove } from "./roving.js";

export class Legend {
  /** `isolate` takes the code of a class to single out, or no longer. */
  constructor(root, isolate) {
    Object.assign(this, { root, isolate });
  }

  draw({ by, continuous, legend, palette, isolated, left_out: more, card }) {
    const content = JSON.stringify([by, continuous, legend, palette, isolated === null]);
    if (content === this.content) return;
    this.content = content;
    this.root.hidden = !continuous && legend.length === 0;
    const entries = continuous
      ? [colourBar(continuous, palette)]
      : legend.map((entry) => this.entry(palette, isolated !== null, ...entry));
    const title = card?.predicted === "" && by === "given label" ? "group" : by; // where nothing is predicted
    const heading = element("b", { textContent: continuous ? continuous[2] : title });
    const rest = more ? [element("small", { textContent: `and ${formatNumber(more)} more classes` })] : [];
    this.root.replaceChildren(heading, ...entries, ...rest);
    this.root.setAttribute("aria-label", `Legend: ${by}`);
    rove(this.root, () => [...this.root.querySelectorAll("button")]);
  }

  entry(palette, pressable, code, name, count) {
    const swatch = element("i");
    swatch.style.background = palette[code % palette.length];
    const content = [swatch, element("span", { textContent: name }), element("small", { textContent: formatNumber(count) })];
    const [tag, properties] = pressable ? ["button", { type: "button", onclick: () => this.isolate(code) }] : ["div", {}];
    const entry = element(tag, { className: "entry", title: name, ...properties }, ...content);
    entry.dataset.code = code;
    return entry;
  }

  /** Shows which classes are singled out. */
  press(isolated) {
    for (const entry of this.root.querySelectorAll(".entry")) {
      const code = Number(entry.dataset.code);
      if (entry.tagName === "BUTTON") entry.setAttribute("aria-pressed", isolated.has(code));
      entry.classList.toggle("dimmed", isolated.size > 0 && !isolated.has(code));
    }
  }
}

function colourBar([low, high], palette) {
  const ramp = element("div", { className: "ramp" });
  ramp.style.setProperty("--stops", palette.filter((_, i) => i % 16 === 0 || i === palette.length - 1).join());
  const numbers = [high, low].map((value) => element("span", { textContent: formatShort(value) }));
  return element("div", { className: "bar" }, ramp, element("div", { className: "ends" }, ...numbers));
}
