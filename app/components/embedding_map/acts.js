// What the user does, told to Python: an act at a time, the next when Python has seen the last, so that a busy page loses none.

const ACK_TIMEOUT = 10_000; // milliseconds after which Python is taken to have missed an act

export class Acts {
  constructor() {
    this.queue = [];
  }

  dispose() {
    clearTimeout(this.timer);
  }

  /** Takes the component that the next acts are told to, and which act Python has seen last. */
  hear(component) {
    this.component = component;
    if (this.awaited && component.data.seen === this.awaited.id) this.sendNext();
  }

  send(act) {
    this.lastId = Math.max(Date.now(), (this.lastId ?? 0) + 1);
    this.queue.push({ id: this.lastId, ...act });
    if (!this.awaited) this.sendNext();
  }

  sendNext() {
    clearTimeout(this.timer);
    this.awaited = this.queue.shift();
    if (!this.awaited) return;
    this.timer = setTimeout(() => this.sendNext(), ACK_TIMEOUT);
    this.component.setTriggerValue("act", this.awaited);
  }
}
