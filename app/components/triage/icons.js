// Icons, images, bars and notices.

import { element } from "../bidi.js";
import { ask } from "./server.js";

const ICONS = {
  keep: "M5 12.5l4.5 4.5L19 7.5",
  remove: "M6 6l12 12M18 6L6 18",
  relabel: "M4 12V5h7l9 9-7 7zM8 9v.1",
  unsure: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.5",
  undo: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M15 14l5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  notice: "M12 4L2.5 20h19zM12 10v4M12 17v.1",
};
Object.assign(ICONS, { accept: ICONS.relabel, pageBack: ICONS.back, pageNext: ICONS.next });

export function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** An image on a plain ground; where it cannot be shown, a notice with the reason in its place. */
export function picture(url, alt, lazy) {
  const image = element("img", { alt, decoding: lazy ? "async" : "sync", draggable: false });
  if (lazy) image.loading = "lazy";
  image.onerror = async () => {
    const reason = await ask(url).then(
      () => "The image cannot be shown.",
      (error) => error.message,
    );
    image.replaceWith(notice(reason));
  };
  image.src = url;
  return image;
}

/** How much of a whole something is. */
export function bar(share) {
  const made = element("i", { className: "fraction", ariaHidden: "true" });
  made.style.setProperty("--share", share);
  return made;
}

export const notice = (text) => element("p", { className: "notice" }, icon("notice"), element("span", { textContent: text }));
