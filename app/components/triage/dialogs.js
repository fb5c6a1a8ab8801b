// The questions before an action: how much of each class all selected samples are, and who decides.

import { element } from "../bidi.js";
import { formatCount, formatNumber } from "../numbers.js";
import { bar } from "./icons.js";
import { formatPercent } from "./numbers.js";
import { ask, send } from "./server.js";

const CLASSES_SHOWN = 12;
const VERBS = { keep: "Keep", remove: "Remove", relabel: "Relabel", unsure: "Mark as unsure" };

export class Confirmation {
  constructor(dialog) {
    this.dialog = dialog;
    dialog.onclick = (event) => event.target === dialog && dialog.close();
    dialog.onkeydown = (event) => event.stopPropagation();
  }

  /** Shows the shares and waits for the answer: the version of the decisions that were seen, or null for no. */
  async ask(path, action, label) {
    const { total, version, classes } = await ask(path);
    const samples = formatCount(total, "sample"),
      yesText = `Yes, ${VERBS[action].toLowerCase()} ${samples}`;
    const to = action !== "relabel" ? "" : label === null ? " to its suggested label each" : ` to ${label}`;
    const no = element("button", { type: "button", textContent: "Cancel", autofocus: true });
    const yes = element("button", { type: "button", textContent: yesText, className: "main" });
    this.dialog.replaceChildren(
      element("h2", { textContent: `${VERBS[action]} all ${samples}${to}?`, id: "confirm-title", dir: "auto" }),
      element("p", { textContent: "One undo takes all of it back." }),
      element("div", { className: "table" }, this.table(classes)),
      element("div", { className: "buttons" }, no, yes),
    );
    this.dialog.showModal();
    return new Promise((done) => {
      this.dialog.onclose = () => done(null);
      no.onclick = () => this.dialog.close();
      yes.onclick = () => {
        done(version);
        this.dialog.close();
      };
    });
  }

  table(classes) {
    const head = ["Class", "Samples", "Share of the class"].map((title) => element("th", { textContent: title, scope: "col" }));
    const lines = classes.slice(0, CLASSES_SHOWN).map((entry) => this.line(entry)),
      left = classes.length - lines.length;
    const more = element("td", { textContent: `and ${formatCount(left, "class", "classes")} less concerned`, colSpan: 3 });
    if (left > 0) lines.push(element("tr", {}, more));
    return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
  }

  line({ class: name, concerned, samples }) {
    const share = concerned / samples;
    return element(
      "tr",
      {},
      element("th", { textContent: name, dir: "auto", scope: "row" }),
      element("td", { textContent: `${formatNumber(concerned)} of ${formatNumber(samples)}` }),
      element(
        "td",
        {},
        element("div", { className: "share-of" }, bar(share), element("span", { textContent: formatPercent(share) })),
      ),
    );
  }
}

/** Asks for the reviewer's name, before the first decision where others review too. */
export class Naming {
  constructor(dialog) {
    this.dialog = dialog;
    dialog.onkeydown = (event) => event.stopPropagation();
  }

  /** Waits until a name is saved (true), or for a no (false). */
  async ask() {
    const input = element("input", {
      type: "text",
      id: "reviewer-name",
      maxLength: 80,
      required: true,
      autocomplete: "name",
      autofocus: true,
      dir: "auto",
    });
    const wrong = element("p", { className: "wrong", attributes: { role: "alert" } });
    const no = element("button", { type: "button", textContent: "Cancel", onclick: () => this.dialog.close() });
    const yes = element("button", { textContent: "Save name", className: "main" });
    const form = element(
      "form",
      {},
      element("h2", { textContent: "Who are you?", id: "name-title" }),
      element("p", { textContent: "Others review here too. Your name is shown with your decisions; the sidebar changes it." }),
      element("label", { textContent: "Your name", htmlFor: input.id }),
      input,
      wrong,
      element("div", { className: "buttons" }, no, yes),
    );
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
    return new Promise((done) => {
      this.dialog.onclose = () => done(false);
      form.onsubmit = async (event) => {
        event.preventDefault();
        try {
          await send("oga/name", { name: input.value });
          done(true);
          this.dialog.close();
        } catch (error) {
          wrong.textContent = error.message;
        }
      };
    });
  }
}
