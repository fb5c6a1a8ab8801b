// A prompt and its answer, whose tokens are shaded by their losses once the server has them: it opens the model for that.

import { assign, element } from "../bidi.js";
import { clamp } from "../numbers.js";
import { formatPercent } from "./numbers.js";
import { ask, HELD, PATIENCE_WRITING } from "./server.js";

const SHADES = [0.5, 1, 2, 4]; // nats from which on each darker shade is
const STAYED = 200; // milliseconds that a sample is looked at before its losses are asked for
const HOW_TO_READ = "Point at a token for its loss, or go to one with Tab and on with the arrows.";

const shadeOf = (loss) => SHADES.filter((from) => loss >= from).length;
const describeLoss = (loss) =>
  loss === null
    ? "no loss: nothing comes before it"
    : `loss ${formatLoss(loss)} nats, probability ${formatPercent(Math.exp(-loss))}`;
const formatLoss = (loss) => String(Number(loss.toPrecision(2)));

export class Answer {
  /** `place` is the element that it is drawn in. */
  constructor(place) {
    Object.assign(this, { place, held: new Map() });
  }

  dispose() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.sample = null;
  }

  /** `full` is a promise of the whole texts where they are longer than the sample's excerpts. */
  show(run, sample, full) {
    this.dispose();
    Object.assign(this, { sample, whole: { text: sample.text, answer: sample.answer } });
    const key = `${run} ${sample.row}`,
      known = this.held.get(key);
    this.draw(known, known ? null : "Losses of the tokens: opening the model…");
    this.place.scrollTop = 0;
    full?.then((whole) => this.sample === sample && this.lengthen(key, whole));
    if (!known) this.timer = setTimeout(() => this.load(key, run, sample), STAYED);
  }

  lengthen(key, whole) {
    if (this.held.has(key) || whole.error) return;
    this.whole = whole;
    this.draw(null, this.said);
  }

  async load(key, run, sample) {
    this.asking = new AbortController();
    const signal = AbortSignal.any([this.asking.signal, AbortSignal.timeout(PATIENCE_WRITING)]);
    try {
      const found = await ask(`oga/tokens/${encodeURIComponent(run)}/${sample.row}`, { signal });
      this.held.set(key, found);
      while (this.held.size > HELD) this.held.delete(this.held.keys().next().value);
      if (this.sample === sample) this.draw(found, null);
    } catch (error) {
      if (error.name !== "AbortError" && this.sample === sample)
        this.draw(null, `Could not load the token losses: ${error.message}`);
    }
  }

  draw(found, said) {
    this.said = said;
    const { text, answer } = this.whole;
    const prompt = found
      ? found.prompt
          .filter(([, , own]) => own)
          .map(([token]) => token)
          .join("")
      : text;
    const asked = element("p", { className: "words", dir: "auto" }, ...markUnread(found?.before), prompt);
    const hint = element("p", { className: "hint", textContent: found ? HOW_TO_READ : said });
    const answered = found ? this.tokens(found, hint) : element("p", { className: "words", dir: "auto", textContent: answer });
    this.place.replaceChildren(
      element("section", { className: "asked", tabIndex: 0, ariaLabel: "Prompt" }, heading("Prompt"), asked),
      element(
        "section",
        { className: "answered", ariaLabel: "Answer" },
        heading("Answer"),
        answered,
        hint,
        ...(found ? [legend()] : []),
      ),
    );
  }

  /** One stop of the Tab key; arrows go from token to token. */
  tokens({ answer, after }, hint) {
    const label = "Tokens of the answer, each with its loss";
    const block = element("div", {
      className: "words tokens",
      dir: "auto",
      attributes: { role: "listbox", "aria-label": label },
    });
    block.append(
      ...answer.map(([text, loss, own], i) => {
        const words = describeLoss(loss),
          made = element("span", { className: "token", textContent: text, title: words });
        made.tabIndex = i === 0 ? 0 : -1;
        made.dataset.shade = shadeOf(loss);
        made.classList.toggle("named", !own);
        made.setAttribute("role", "option");
        return assign(made, { ariaLabel: `${text.trim() || "space"}: ${words}`, token: text });
      }),
      ...markUnread(after),
    );
    const tell = ({ target }) => {
      const token = target.closest?.(".token");
      if (token) assign(hint, { textContent: `“${token.token.trim() || "space"}”: ${token.title}` });
    };
    for (const type of ["mouseover", "focusin"]) block.addEventListener(type, tell);
    block.onkeydown = (event) => {
      const all = [...block.querySelectorAll(".token")],
        from = all.indexOf(event.target);
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined || from < 0 || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const next = all[clamp(to, 0, all.length - 1)];
      all[from].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    };
    return block;
  }
}

const heading = (textContent) => element("h3", { textContent });

/** A part of a text that the model does not read. */
const markUnread = (text) =>
  text ? [element("span", { className: "unread", textContent: text, title: "not read: too long for the model" })] : [];

function legend() {
  const edges = [0, ...SHADES];
  const entries = edges.map((from, i) => {
    const words = i === 0 ? `below ${edges[1]}` : i + 1 < edges.length ? `${from} to ${edges[i + 1]}` : `${from} and more`;
    const made = element("span", { className: "token", textContent: words });
    made.dataset.shade = i;
    return made;
  });
  return element("p", { className: "legend" }, "Loss in nats: ", ...entries);
}
