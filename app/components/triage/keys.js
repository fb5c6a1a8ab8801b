// Which key does what: the names of keys, the map of them, and the dialog in which it is changed.

import { assign, element } from "../bidi.js";

const KEYS_STORED = "oga.keys";
export const MOVES = ["back", "next", "up", "down", "pageBack", "pageNext"];
const RESERVED = { C: "Streamlit", R: "Streamlit", Tab: "the browser", Escape: "this dialog" };
export const ACTIONS = {
  keep: ["Keep", "K"],
  remove: ["Remove", "X"],
  accept: ["Relabel to the suggested label", "A"],
  unsure: ["Unsure", "S"],
  undo: ["Undo", "U"],
  redo: ["Redo", "Shift+U"],
  back: ["Previous sample", "ArrowLeft"],
  next: ["Next sample", "ArrowRight"],
  up: ["A line up, in the gallery", "ArrowUp"],
  down: ["A line down, in the gallery", "ArrowDown"],
  pageBack: ["Previous page", "PageUp"],
  pageNext: ["Next page", "PageDown"],
  open: ["Open the sample", "Enter"],
  tick: ["Tick the sample", "Space"],
  tickPage: ["Tick the page", "Mod+A"],
  untick: ["Untick all; back to the gallery", "Escape"],
  layout: ["One at a time, or gallery", "G"],
  help: ["This overview", "?"],
};
/** Actions that decide, and the decision; which of them there are depends on the task. */
const DECIDES = { keep: "keep", remove: "remove", accept: "relabel", unsure: "unsure" };
const SHOWN = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  PageUp: "Page ↑",
  PageDown: "Page ↓",
  Escape: "Esc",
  Shift: "⇧",
  Mod: navigator.platform.startsWith("Mac") ? "⌘" : "Ctrl",
};

/** The name of what was pressed: "K", "Shift+U", "Mod+A", "?", "ArrowLeft"; in other scripts letters by their place. */
export function keyName(event) {
  let key = event.key === " " ? "Space" : event.key;
  if (["Shift", "Control", "Alt", "Meta", "Dead", "Unidentified", "Process"].includes(key)) return null;
  if (!/^[\x21-\x7e]$/.test(key) && key.length === 1 && /^Key[A-Z]$/.test(event.code)) key = event.code[3];
  const isNamed = key.length > 1 || /^[a-z]$/i.test(key);
  const held = [(event.ctrlKey || event.metaKey) && "Mod", event.altKey && "Alt", event.shiftKey && isNamed && "Shift"];
  return [...held.filter(Boolean), key.length === 1 ? key.toUpperCase() : key].join("+");
}

export const formatKey = (name) =>
  name
    .split(/\+(?=.)/)
    .map((key) => SHOWN[key] ?? key)
    .join(" ");

export class Keys {
  constructor(dialog, changed) {
    Object.assign(this, { dialog, changed, keyed: {}, decisions: Object.values(DECIDES), waiting: null });
    try {
      this.own = JSON.parse(localStorage.getItem(KEYS_STORED)) ?? {};
    } catch {
      this.own = {};
    }
    dialog.onkeydown = (event) => this.type(event);
    dialog.onclose = () => (this.waiting = null);
    dialog.onclick = (event) => event.target === dialog && dialog.close();
  }

  /** Takes the class of each key, by its usual key, and the decisions that the task allows. */
  use(keyed, decisions) {
    Object.assign(this, { keyed, decisions });
  }

  allows(action) {
    return !(action in DECIDES) || this.decisions.includes(DECIDES[action]);
  }

  get actions() {
    const classes = Object.entries(this.keyed).map(([key, name]) => [`class ${key}`, [`Relabel to ${name}`, key]]);
    return [...Object.entries(ACTIONS).filter(([action]) => this.allows(action)), ...classes];
  }

  keyOf(action) {
    return this.own[action] ?? this.actions.find(([name]) => name === action)?.[1][1] ?? "";
  }

  actionOf(name) {
    return this.actions.find(([action]) => this.keyOf(action) === name)?.[0];
  }

  open() {
    this.draw("Choose a key to change it.");
    this.dialog.showModal();
  }

  draw(said) {
    const lines = this.actions.map(([action, [title]]) => this.line(action, title));
    const reset = element("button", { type: "button", textContent: "Reset all keys", onclick: () => this.reset() });
    const close = element("button", { type: "button", textContent: "Close", className: "main" });
    close.onclick = () => this.dialog.close();
    const more = "Shift with the arrows, or Shift and click, ticks a range. C and R belong to Streamlit.";
    this.dialog.replaceChildren(
      element("h2", { textContent: "Keys", id: "keys-title" }),
      element("ul", {}, ...lines),
      element("p", { textContent: more }),
      element("p", { className: "hint", textContent: said, attributes: { role: "status" } }),
      element("div", { className: "buttons" }, reset, close),
    );
  }

  line(action, title) {
    const key = formatKey(this.keyOf(action)),
      shown = this.waiting === action ? "press a key" : key;
    const button = element("button", { type: "button" }, element("kbd", { textContent: shown }));
    button.onclick = () => this.await(action);
    assign(button, { ariaLabel: `${title}: ${key}. Change the key` });
    button.dataset.action = action;
    return element("li", {}, element("span", { textContent: title, dir: "auto" }), button);
  }

  await(action) {
    this.waiting = action;
    this.draw("Press the new key; Esc leaves it as it is.");
    this.dialog.querySelector(`[data-action="${CSS.escape(action)}"]`).focus();
  }

  type(event) {
    event.stopPropagation();
    const name = keyName(event),
      action = this.waiting;
    if (!action || !name) return;
    event.preventDefault();
    const before = this.actionOf(name),
      belongs = RESERVED[name];
    if (name === "Escape" && this.keyOf(action) !== "Escape") return this.leave("Nothing was changed.");
    if (belongs && name !== "Escape") return this.leave(`${formatKey(name)} belongs to ${belongs}: choose another key.`);
    if (before && before !== action) {
      const taken = `${formatKey(name)} is taken by “${this.title(before)}”`;
      return this.leave(`${taken}: choose another key, or change that one first.`);
    }
    this.own = { ...this.own, [action]: name };
    this.store();
    this.leave(`${this.title(action)}: ${formatKey(name)}`);
  }

  title(action) {
    return this.actions.find(([name]) => name === action)[1][0];
  }

  leave(said) {
    const action = this.waiting;
    this.waiting = null;
    this.draw(said);
    this.dialog.querySelector(`[data-action="${CSS.escape(action)}"]`)?.focus();
  }

  reset() {
    this.own = {};
    this.store();
    this.draw("All keys are as they were at first.");
  }

  store() {
    localStorage.setItem(KEYS_STORED, JSON.stringify(this.own));
    this.changed();
  }
}
