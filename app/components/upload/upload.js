// The upload: sends the file that was dropped or chosen to the server, which writes it to disk as it comes, and says so to Python.

import { BYTES, ENTRIES, gatherFiles, zipFiles } from "./zip.js";

const PATH = "oga/upload",
  RETRY_PAUSE = 3000; // milliseconds
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
  // Streamlit also cleans up after a call that a quicker one has overtaken: the element on the page then stays.
  return () => upload.root.isConnected || upload.cancel();
}

class Upload {
  constructor(root) {
    this.root = root;
    for (const name of ["label", "zone", "choose", "hint", "file", "name", "size", "away", "wrong", "status"]) {
      this[name] = root.querySelector(`.${name}`);
    }
    this.input = root.querySelector("input");
    this.progress = root.querySelector("progress");
    this.choose.onclick = () => this.input.click();
    this.input.onchange = () => {
      const chosen = [...this.input.files];
      this.input.value = ""; // so that the same file can be chosen again
      this.take(chosen.map((file) => ({ path: file.name, file })));
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
      gatherFiles(event.dataTransfer).then(
        (files) => this.take(files),
        () => this.refuse("What was dropped could not be read."),
      );
    };
  }

  update(component) {
    this.component = component;
    if (component.data.seen === this.awaited?.id) this.awaited = null;
    const { label, suffixes, marks, most } = component.data;
    this.label.textContent = label;
    this.root.setAttribute("aria-label", label);
    this.choose.setAttribute("aria-label", `${label}: choose a file`);
    this.input.accept = [...suffixes, ".json", ".arrow"].join(","); // also what is in a folder
    this.hint.textContent = `or drop it here: ${suffixes.join(", ")}, or a folder with ${marks.join(" or ")}; up to ${formatBytes(most)}`;
    if (!this.request && !this.awaited) this.draw(component.data.stored);
  }

  /** Shows the file that is there or on its way, or the place for one. */
  draw(file) {
    this.zone.hidden = Boolean(file);
    this.file.hidden = !file;
    this.progress.hidden = !this.request;
    this.away.textContent = this.request ? "Cancel" : "Remove";
    if (!file) return;
    this.name.textContent = this.name.title = escapeInvisible(file.name);
    this.size.textContent = formatBytes(file.bytes);
  }

  /** Sends the file; several only where they are a folder of the kind that belongs here, which goes as a zip. */
  take(files) {
    this.wrong.hidden = true;
    if (!files.length) return;
    const { most, marks, label } = this.component.data,
      [{ path, file }] = files;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    const tops = new Set(files.map(({ path }) => path.split("/")[0])),
      inFolder = files.some(({ path }) => path.includes("/"));
    if (bytes > most)
      this.refuse(
        `${escapeInvisible(tops.size > 1 ? "What was dropped" : [...tops][0])} has ${formatBytes(bytes)}; up to ` +
          `${formatBytes(most)} are taken. A larger one is opened by its path on the server.`,
      );
    else if (files.length === 1 && !inFolder) this.send(file, path);
    else if (!files.some(({ path }) => marks.includes(path.split("/").at(-1))))
      this.refuse(
        inFolder
          ? `A folder without ${marks.join(" or ")} cannot be dropped here: make a zip of it, or open it by its path on the server.`
          : "One file at a time: put several into a zip.",
      );
    else if (files.length > ENTRIES || bytes > BYTES - (1 << 26))
      this.refuse("This folder is too large to be sent as one: make a zip of it, or open it by its path on the server.");
    else this.pack(files, `${tops.size > 1 ? label.toLowerCase() : [...tops][0]}.zip`, bytes);
  }

  pack(files, name, bytes) {
    const packing = (this.request = { abort: () => (this.request = null) }),
      isWanted = () => this.request === packing;
    this.draw({ name, bytes });
    this.status.textContent = "Packing";
    const fail = () => isWanted() && this.refuse("A file of the folder could not be read.");
    zipFiles(files, isWanted).then((zip) => isWanted() && this.send(zip, name), fail);
  }

  send(file, name) {
    const request = (this.request = new XMLHttpRequest());
    request.open("POST", `${PATH}?name=${encodeURIComponent(name.toWellFormed())}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded }) => {
      this.progress.value = loaded / file.size;
      this.size.textContent = `${formatBytes(loaded)} of ${formatBytes(file.size)}`;
    };
    request.onload = () => {
      const stored = request.response;
      if (request.status === 200 && stored) this.finish(stored);
      else this.refuse(stored?.error ?? `The server answers with ${request.status}.`);
    };
    request.onerror = () => this.refuse("The file could not be sent: the server does not answer, or the file has changed.");
    this.progress.value = 0;
    this.draw({ name, bytes: file.size });
    this.status.textContent = "Sending";
    request.send(file);
  }

  finish({ content, name, bytes }) {
    this.request = null;
    this.draw({ name, bytes });
    this.status.textContent = `${escapeInvisible(name)} is on the server`;
    this.tell({ content, name });
  }

  /** Sends to Python until it confirms: a run of the page that another one overtakes can lose the message. */
  tell(what) {
    this.awaited = { id: Date.now(), ...what };
    const say = () => {
      if (!this.awaited || !this.root.isConnected) return;
      this.component.setTriggerValue("file", this.awaited);
      clearTimeout(this.timer);
      this.timer = setTimeout(say, RETRY_PAUSE);
    };
    say();
  }

  refuse(reason) {
    this.request = null;
    this.draw(null);
    this.status.textContent = "";
    this.wrong.textContent = reason;
    this.wrong.hidden = false;
    this.choose.focus();
  }

  stop() {
    this.cancel();
    this.draw(this.component.data.stored);
    this.status.textContent = "Cancelled";
    this.choose.focus();
  }

  remove() {
    this.draw(null);
    this.status.textContent = "Removed";
    this.tell({});
    this.choose.focus();
  }

  cancel() {
    this.request?.abort();
    this.request = null;
  }
}

/** Characters that are not seen, or turn the direction of those after them, by their number. */
const escapeInvisible = (name) =>
  name.replace(
    /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu,
    (c) => `\\u{${c.codePointAt().toString(16)}}`,
  );

function formatBytes(bytes) {
  const step = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), UNITS.length - 1),
    value = bytes / 1024 ** step;
  return `${value >= 100 || !step ? Math.round(value).toLocaleString("en-US") : Number(value.toPrecision(3))} ${UNITS[step]}`;
}
