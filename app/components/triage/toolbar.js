// The bars above the samples: what is decided and how fast, the buttons of the keys, the classes, the ticks.

import { element, spellBidi } from "../bidi.js";
import { formatNumber } from "../numbers.js";
import { icon } from "./icons.js";
import { ACTIONS, formatKey } from "./keys.js";
import { AT_ONCE } from "./server.js";

const PLAIN = { keep: "Keep", remove: "Remove", unsure: "Unsure", undo: "Undo", redo: "Redo" };
const shortcut = (key) => element("kbd", { textContent: formatKey(key), ariaHidden: "true" });

export class Toolbar {
  /** `relabel` takes the name of a class, `say` the text to show. */
  constructor(root, keys, relabel, say) {
    Object.assign(this, { root, keys, relabel, say, names: [] });
    for (const name of ["actions", "classes", "ticks", "ticked", "page", "pace", "track"]) {
      this[name] = root.querySelector(`.${name}`);
    }
    for (const action of ["back", "next", "pageBack", "pageNext"]) {
      for (const button of root.querySelectorAll(`[data-do=${action}]`)) button.append(icon(action));
    }
  }

  /** Buttons for a sample, or, without one, for several. */
  draw(layout, keyed, sample) {
    for (const button of this.root.querySelectorAll(".layouts button")) {
      button.setAttribute("aria-pressed", button.dataset.layout === layout);
    }
    const state = JSON.stringify([
      this.keys.own,
      this.keys.decisions,
      keyed,
      this.names.length,
      sample?.label,
      sample?.suggested,
    ]);
    if (state === this.state) return;
    this.state = state;
    const suggested = sample?.suggested ? `Relabel: ${sample.suggested}` : "As suggested";
    this.classes.hidden = !this.keys.allows("accept");
    for (const [action, title] of Object.entries({ ...PLAIN, accept: suggested })) {
      const button = this.actions.querySelector(`[data-do=${action}]`),
        key = this.keys.keyOf(action);
      button.hidden = !this.keys.allows(action);
      if (button.hidden) continue;
      button.replaceChildren(icon(action), element("span", { textContent: title, dir: "auto" }), shortcut(key));
      button.title = `${ACTIONS[action][0]} (${formatKey(key)})`;
      button.setAttribute("aria-keyshortcuts", key.replace("Mod", "Control"));
    }
    this.drawClasses(keyed, sample?.label);
  }

  drawClasses(keyed, given) {
    const chips = Object.entries(keyed).map(([slot, name]) => this.chip(slot, name, name === given));
    const rest = this.classes.querySelector(".other") ?? this.otherClass();
    rest.hidden = this.names.length <= chips.length;
    this.classes.replaceChildren(element("span", { textContent: "Relabel to" }), ...chips, rest);
  }

  chip(slot, name, disabled) {
    const key = this.keys.keyOf(`class ${slot}`),
      title = `Relabel to ${name} (${formatKey(key)})`;
    const chip = element("button", { type: "button", title, disabled, ariaLabel: `Relabel to ${name}` }, shortcut(key));
    if (key !== name) chip.append(element("span", { textContent: name, dir: "auto" }));
    chip.dataset.do = `class ${slot}`;
    return chip;
  }

  /** A field for the classes that have no key; their names are put in when it is used, for there may be 100,000. */
  otherClass() {
    const input = element("input", { type: "text", placeholder: "another class", ariaLabel: "Another class", dir: "auto" });
    const list = element("datalist", { id: "classes" }),
      button = element("button", { textContent: "Relabel" });
    const form = element("form", { className: "other" }, input, list, button);
    input.setAttribute("list", list.id);
    input.onfocus = () => {
      if (list.names === this.names) return;
      list.names = this.names;
      list.replaceChildren(...this.names.map((name) => element("option", { value: spellBidi(name) })));
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      const typed = input.value,
        name = this.names.includes(typed) ? typed : this.names.find((other) => spellBidi(other) === typed);
      if (name === undefined) return this.say(`There is no class “${typed}”.`, "wrong");
      input.value = "";
      input.blur();
      this.relabel(name);
    };
    return form;
  }

  /** How many are ticked, `all` of them or some, and which page of the gallery this is. */
  drawTicks(start, total, ticked, all) {
    const pages = Math.ceil(total / AT_ONCE),
      page = start / AT_ONCE;
    const buttons = [...this.ticks.querySelectorAll("[data-do]")].map((button) => [button.dataset.do, button]);
    const { tickAll, untick, pageBack, pageNext } = Object.fromEntries(buttons);
    this.page.textContent = `Page ${formatNumber(page + 1)} of ${formatNumber(pages)}`;
    this.ticked.textContent = `${formatNumber(all ? total : ticked)} ticked`;
    this.ticks.classList.toggle("some", ticked > 0);
    tickAll.textContent = `Tick all ${formatNumber(total)}`;
    tickAll.title = "Decide on all selected samples at once, after a question that shows their classes";
    tickAll.setAttribute("aria-pressed", all);
    untick.disabled = ticked === 0;
    pageBack.disabled = page === 0;
    pageNext.disabled = page + 1 >= pages;
  }

  drawProgress({ decided, total, perMinute }) {
    const words = [`${formatNumber(decided)} of ${formatNumber(total)} decided`];
    this.track.setAttribute("aria-valuenow", decided);
    this.track.setAttribute("aria-valuemax", total);
    this.track.setAttribute("aria-valuetext", words[0]);
    this.track.firstElementChild.style.width = `${total ? (100 * decided) / total : 0}%`;
    if (perMinute) words.push(`${perMinute < 10 ? perMinute.toFixed(1) : Math.round(perMinute)} a minute`);
    if (perMinute && decided < total) words.push(`about ${formatDuration((total - decided) / perMinute)} left`);
    this.pace.textContent = words.join(" · ");
  }
}

function formatDuration(minutes) {
  if (minutes < 1.5) return "1 min";
  if (minutes < 100) return `${Math.round(minutes)} min`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} days`;
}
