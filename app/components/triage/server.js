// What all parts of the triage share: small words, icons, and the server's answers.

const AT_ONCE = 60; // most samples in a page and in an action without a confirmation
const TRIES = [0, 300, 1200]; // milliseconds before each try to send an action; sent again, it counts once
const PATIENCE = 30_000; // milliseconds after which an answer is given up
const PATIENCE_WRITING = 600_000; // of a million decisions at once, too

// On the page, not in the module, for Streamlit may load the module once an element.
const shared = (globalThis.ogaTriage ??= { classes: new Map(), memory: new Map() });

const grouped = (count) => count.toLocaleString("en-US");
const counted = (count, one, many = `${one}s`) => `${grouped(count)} ${count === 1 ? one : many}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Four digits of a number, small ones by their power of ten. */
function short(value) {
  if (value == null) return "–";
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** A share in percent, with more digits near the ends, where they say something. */
function percent(share) {
  if (share == null) return "–";
  const end = Math.min(share, 1 - share);
  if (end <= 0) return `${100 * share} %`;
  if (end < 0.000005) return share < 0.5 ? "< 0.001 %" : "> 99.999 %";
  return `${(100 * share).toFixed(end >= 0.01 ? 1 : end >= 0.0005 ? 2 : 3)} %`;
}

const identity = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

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

function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** The server's refusal, or that it does not answer (status 0). */
class NotMet extends Error {
  constructor(reason, status) {
    super(reason);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NotMet("the server does not answer", 0);
  }
  const content = await answer.json().catch(() => null);
  if (answer.ok && content !== null) return content;
  throw new NotMet(content?.error ?? `the server answers with ${answer.status}`, answer.status);
}

/** Sends an action until the server has answered it; its identity makes it count once however often it arrives. */
async function send(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let last;
  for (const pause of TRIES) {
    await wait(pause);
    try {
      return await ask(path, { ...options, signal: AbortSignal.timeout(PATIENCE_WRITING) });
    } catch (error) {
      last = error;
      if (error.status !== 0) break;
    }
  }
  throw last;
}

const imageUrl = (run, item, size) => `/oga/image/${encodeURIComponent(run)}/${item.index}/${size}`;

/** An image on a plain ground; where it cannot be shown, a notice with the reason in its place. */
function picture(url, alt, lazy) {
  const image = element("img", { alt, decoding: lazy ? "async" : "sync", draggable: false });
  if (lazy) image.loading = "lazy";
  image.onerror = async () => {
    const reason = await ask(url).then(() => "The image cannot be shown.", (error) => error.message);
    image.replaceWith(notice(reason));
  };
  image.src = url;
  return image;
}

/** How much of a whole something is. */
function bar(share) {
  const made = element("i", { className: "part", ariaHidden: "true" });
  made.style.setProperty("--share", share);
  return made;
}

const notice = (text) => element("p", { className: "notice" }, icon("notice"), element("span", { textContent: text }));
