// Bidi controls in the texts of the data would reorder what is drawn beside them. Each is drawn as a chip with its code point, and
// written in angle brackets where there is only text (titles, names for screen readers).

const BIDI_NAMES = {
  "\u061c": "Arabic letter mark",
  "\u200e": "left-to-right mark",
  "\u200f": "right-to-left mark",
  "\u202a": "left-to-right embedding",
  "\u202b": "right-to-left embedding",
  "\u202c": "pop directional formatting",
  "\u202d": "left-to-right override",
  "\u202e": "right-to-left override",
  "\u2066": "left-to-right isolate",
  "\u2067": "right-to-left isolate",
  "\u2068": "first strong isolate",
  "\u2069": "pop directional isolate",
};
const BIDI_CONTROL = /([\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])/;
const SPOKEN = ["title", "alt", "ariaLabel"];

const codePoint = (character) => `U+${character.codePointAt().toString(16).toUpperCase().padStart(4, "0")}`;

/** A text with each bidi control written out. */
export const spellBidi = (text) =>
  String(text)
    .split(BIDI_CONTROL)
    .map((piece) => (piece in BIDI_NAMES ? `⟨${codePoint(piece)}⟩` : piece))
    .join("");

/** The parts of a text to append to an element: texts, and a chip for each bidi control. */
function splitBidi(text) {
  return String(text)
    .split(BIDI_CONTROL)
    .filter(Boolean)
    .map((piece) => {
      if (!(piece in BIDI_NAMES)) return piece;
      const made = { className: "bidi", dir: "ltr", textContent: codePoint(piece), title: BIDI_NAMES[piece] };
      return Object.assign(document.createElement("bdi"), made);
    });
}

/** Sets properties of an element; no bidi control in its text or in what is said of it has an effect. */
export function assign(made, { textContent, ...properties }) {
  for (const name of SPOKEN) if (typeof properties[name] === "string") properties[name] = spellBidi(properties[name]);
  Object.assign(made, properties);
  if (BIDI_CONTROL.test(textContent)) made.replaceChildren(...splitBidi(textContent));
  else if (textContent !== undefined) made.textContent = textContent;
  return made;
}

/** An element with properties, attributes and children; texts become text and never markup. */
export function element(tag, { attributes = {}, ...properties } = {}, ...children) {
  const made = assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, spellBidi(value));
  made.append(...children.flatMap((child) => (typeof child === "string" ? splitBidi(child) : [child])));
  return made;
}
