// Sends the user's actions to Python one at a time, the next once Python has confirmed the last: a busy page loses none.

const ACK_TIMEOUT = 10_000; // milliseconds after which Python is taken to have missed an action

export class Actions {
  constructor() {
    this.queue = [];
  }

  dispose() {
    clearTimeout(this.timer);
  }

  /** Takes the component that receives the next actions, and the last action that Python has confirmed. */
  connect(component) {
    this.component = component;
    if (this.awaited && component.data.seen === this.awaited.id) this.sendNext();
  }

  send(action) {
    this.lastId = Math.max(Date.now(), (this.lastId ?? 0) + 1);
    this.queue.push({ id: this.lastId, ...action });
    if (!this.awaited) this.sendNext();
  }

  sendNext() {
    clearTimeout(this.timer);
    this.awaited = this.queue.shift();
    if (!this.awaited) return;
    this.timer = setTimeout(() => this.sendNext(), ACK_TIMEOUT);
    this.component.setTriggerValue("action", this.awaited);
  }
}
