// The upload: sends the file that was dropped or chosen to the server, which writes it to disk as it comes, and says so to Python.

const PATH = "/oga/upload";
const UNITS = ["bytes", "kB", "MB", "GB"];
const instances = new WeakMap(); // parentElement → Upload

export default function (component) {
  const { parentElement } = component;
  let upload = instances.get(parentElement);
  if (!upload?.root.isConnected) {
    upload?.cancel();
    upload = new Upload(parentElement.querySelector(".upload"));
    instances.set(parentElement, upload);
  }
  upload.update(component);
  // Streamlit also cleans up after a call that a quicker one has overtaken: what is on the page then goes on.
  return () => upload.root.isConnected || upload.cancel();
}

class Upload {
  constructor(root) {
    this.root = root;
    for (const part of ["label", "zone", "choose", "hint", "file", "name", "size", "away", "wrong", "told"]) {
      this[part] = root.querySelector(`.${part}`);
    }
    this.input = root.querySelector("input");
    this.progress = root.querySelector("progress");
    this.choose.onclick = () => this.input.click();
    this.input.onchange = () => {
      const chosen = [...this.input.files];
      this.input.value = ""; // so that the same file can be chosen again
      this.take(chosen);
    };
    this.away.onclick = () => (this.request ? this.stop() : this.remove());
    root.ondragover = (event) => {
      event.preventDefault();
      this.zone.classList.add("over");
    };
    root.ondragleave = () => this.zone.classList.remove("over");
    root.ondrop = (event) => {
      event.preventDefault();
      this.zone.classList.remove("over");
      if (this.request) return;
      const folder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
      if (folder) this.refuse("A folder cannot be dropped here: make a zip of it, or open it by its path on the server.");
      else this.take([...event.dataTransfer.files]);
    };
  }

  update(component) {
    this.component = component;
    const { label, suffixes, most } = component.data;
    this.label.textContent = label;
    this.root.setAttribute("aria-label", label);
    this.choose.setAttribute("aria-label", `${label}: choose a file`);
    this.input.accept = suffixes.join(",");
    this.hint.textContent = `or drop it here: ${suffixes.join(", ")}; up to ${sized(most)}`;
    if (!this.request) this.draw(component.data.kept);
  }

  /** Shows the file that is there or on its way, or the place for one. */
  draw(file) {
    this.zone.hidden = Boolean(file);
    this.file.hidden = !file;
    this.progress.hidden = !this.request;
    this.away.textContent = this.request ? "Cancel" : "Remove";
    if (!file) return;
    this.name.textContent = this.name.title = printable(file.name);
    this.size.textContent = sized(file.bytes);
  }

  take(files) {
    this.wrong.hidden = true;
    const [file] = files, { most } = this.component.data;
    if (files.length > 1) this.refuse("One file at a time: put several into a zip.");
    else if (file && file.size > most) this.refuse(`${printable(file.name)} has ${sized(file.size)}; up to ${sized(most)} are taken. ` +
      "A larger one is opened by its path on the server.");
    else if (file) this.send(file);
  }

  send(file) {
    const request = (this.request = new XMLHttpRequest());
    request.open("POST", `${PATH}?name=${encodeURIComponent(file.name.toWellFormed())}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded }) => {
      this.progress.value = loaded / file.size;
      this.size.textContent = `${sized(loaded)} of ${sized(file.size)}`;
    };
    request.onload = () => {
      const kept = request.response;
      if (request.status === 200 && kept) this.arrived(kept);
      else this.refuse(kept?.error ?? `The server answers with ${request.status}.`);
    };
    request.onerror = () => this.refuse("The file could not be sent: the server does not answer, or the file has changed.");
    this.progress.value = 0;
    this.draw({ name: file.name, bytes: file.size });
    this.told.textContent = "Sending";
    request.send(file);
  }

  arrived({ content, name, bytes }) {
    this.request = null;
    this.draw({ name, bytes });
    this.told.textContent = `${printable(name)} is on the server`;
    this.component.setTriggerValue("file", { content, name });
  }

  refuse(reason) {
    this.request = null;
    this.draw(null);
    this.told.textContent = "";
    this.wrong.textContent = reason;
    this.wrong.hidden = false;
    this.choose.focus();
  }

  stop() {
    this.cancel();
    this.draw(this.component.data.kept);
    this.told.textContent = "Cancelled";
    this.choose.focus();
  }

  remove() {
    this.draw(null);
    this.told.textContent = "Removed";
    this.component.setTriggerValue("file", {});
    this.choose.focus();
  }

  cancel() {
    this.request?.abort();
    this.request = null;
  }
}

/** Characters that are not seen, or turn the direction of those after them, by their number. */
const printable = (name) =>
  name.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (c) => `\\u{${c.codePointAt().toString(16)}}`);

function sized(bytes) {
  const step = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), UNITS.length - 1), value = bytes / 1024 ** step;
  return `${value >= 100 || !step ? Math.round(value).toLocaleString("en-US") : Number(value.toPrecision(3))} ${UNITS[step]}`;
}
