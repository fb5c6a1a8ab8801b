// Which of the keys pressed on the page are the triage's, and what they do.

import { keyName, MOVES } from "./keys.js";

const NOT_TYPED_IN = ["button", "checkbox", "radio", "range", "submit", "reset", "file", "color"];
const CONTROLS = "button, a, input, summary, select, canvas, :is([role=slider], [role=radio], [role=tab], [role=option])";
const OF_GALLERY = ["up", "down", "pageBack", "pageNext", "tick", "tickPage", "open"]; // in the single view the browser's
const USES_ARROWS = "input:not([type=checkbox]), select, canvas, [role]:not([role=button]):not([role=checkbox])";

/** Runs the command of a key, unless the key is meant for something else on the page. */
export function type(event, triage) {
  const path = event.composedPath();
  const [target] = path;
  const inside = path.includes(triage.root);
  if (event.defaultPrevented || event.isComposing || isTypedIn(target) || (triage.strip && !inside)) return;
  if (triage.root.querySelector("dialog[open]") || document.querySelector("[role=dialog], [role=listbox]")) return;
  const name = keyName(event);
  let action = name && triage.keys.actionOf(name);
  const range = !action && name?.startsWith("Shift+") && triage.keys.actionOf(name.slice(6));
  if (range && MOVES.includes(range) && triage.layout === "gallery") action = range;
  if (!action || isLeft(action, name, target, inside, triage.layout)) return;
  event.preventDefault();
  if (event.repeat && !MOVES.includes(action)) return; // a held key counts once
  if (MOVES.includes(action)) triage.move(action, Boolean(range));
  else triage.perform(action);
}

/** Whether a key is left to what has the focus: arrows, Enter and Space to controls, lines and pages to scrolling. */
function isLeft(action, name, target, inside, layout) {
  if (layout === "single" && OF_GALLERY.includes(action)) return true;
  if (name.length === 1) return false;
  if (inside && target.closest?.(".tile")) return false;
  const control = target.closest?.(CONTROLS);
  if (!control) return false;
  if (["Enter", "Space"].includes(name)) return true;
  return /^(Arrow|Page)/.test(name) && control.matches(USES_ARROWS);
}

const isTypedIn = (target) =>
  target?.isContentEditable ||
  target?.matches?.("textarea, select") ||
  (target?.matches?.("input") && !NOT_TYPED_IN.includes(target.type));
