// How far a job is: asks the server until it has ended, and then has Python draw the page again.

const EVERY = 500,
  RETRY_PAUSE = 3000; // milliseconds
const instances = new WeakMap(); // parentElement → Watch

export default function (component) {
  const { parentElement } = component;
  let watch = instances.get(parentElement);
  if (!watch?.root.isConnected) {
    watch = new Watch(parentElement.querySelector(".job"));
    instances.set(parentElement, watch);
  }
  watch.update(component);
}

class Watch {
  constructor(root) {
    this.root = root;
    for (const name of ["text", "line", "done"]) this[name] = root.querySelector(`.${name}`);
  }

  update(component) {
    this.component = component;
    const given = JSON.stringify(component.data);
    if (given !== this.given) this.draw(component.data.status); // else it is older than what was asked for since
    this.given = given;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), EVERY);
  }

  async ask() {
    if (!this.root.isConnected) return; // the page has moved on, by which this ends
    const { component } = this;
    const { run, kind } = component.data;
    let wait = EVERY;
    try {
      const answer = await fetch(`oga/job/${encodeURIComponent(run)}/${encodeURIComponent(kind)}`);
      if (answer.ok && component === this.component) {
        const status = await answer.json();
        this.draw(status);
        if (status.state !== "running") {
          component.setTriggerValue("ended", status.state);
          wait = RETRY_PAUSE; // for the case that a quicker run of the page has overtaken the one that was asked for
        }
      }
    } catch {
      wait = RETRY_PAUSE; // the server is away, which Streamlit tells
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), wait);
  }

  draw({ stage, done, total }) {
    const { label, percent } = this.component.data;
    const share = total ? Math.min(1, done / total) : 0;
    const count = (number) => number.toLocaleString("en");
    const text = percent
      ? `${label}: ${Math.floor(100 * share)} %, ${stage}`
      : `${label}: ${stage}${total ? ` (${count(done)} of ${count(total)})` : ""}`;
    this.text.textContent = this.text.title = text;
    this.done.style.width = `${100 * share}%`;
    this.line.setAttribute("aria-label", label);
    this.line.setAttribute("aria-valuenow", Math.floor(100 * share));
    this.line.setAttribute("aria-valuetext", text);
  }
}
