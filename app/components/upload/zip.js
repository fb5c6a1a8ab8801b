// Several files as one, which the server reads like any other zip: nothing is compressed, and no file is in memory whole.

export const ENTRIES = 65_535; // of a zip without its later extensions
export const BYTES = 0xffff_ffff;
const CHUNK = 4 << 20;
const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb8_8320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** The files of what was dropped, with their paths in it; a folder's own name comes first in them. Hidden ones are left out. */
export async function gatherFiles(transfer) {
  const entries = [...transfer.items].map((dropped) => dropped.webkitGetAsEntry?.()); // gone once the event is over
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files].map((file) => ({ path: file.name, file }));
  const found = [];
  for (let entry; (entry = entries.shift());) {
    if (entry.name.startsWith(".")) continue;
    if (entry.isDirectory) {
      const reader = entry.createReader();
      for (let some; (some = await new Promise((...then) => reader.readEntries(...then))).length;) entries.push(...some);
    } else found.push({ path: entry.fullPath.slice(1), file: await new Promise((...then) => entry.file(...then)) });
    if (found.length > ENTRIES) break; // more than a zip takes
  }
  return found;
}

/** A zip of files; `isWanted` says whether it is still wanted. */
export async function zipFiles(files, isWanted) {
  const body = [],
    list = [];
  let at = 0;
  for (const { path, file } of files.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    const name = new TextEncoder().encode(path);
    // Version, UTF-8, stored, 1 January 1980: the same files are the same zip.
    const sum = await crc(file, isWanted),
      sizes = [
        [4, file.size],
        [4, file.size],
        [2, name.length],
        [2, 0],
      ];
    const shared = numbers([2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, sum], ...sizes);
    const head = numbers([4, 0x0403_4b50]);
    body.push(head, shared, name, file);
    list.push(numbers([4, 0x0201_4b50], [2, 20]), shared, numbers([2, 0], [2, 0], [2, 0], [4, 0], [4, at]), name);
    at += head.length + shared.length + name.length + file.size;
  }
  const size = new Blob(list).size;
  const end = numbers([4, 0x0605_4b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0]);
  return new Blob([...body, ...list, end]);
}

async function crc(file, isWanted) {
  let sum = -1;
  for (let at = 0; at < file.size && isWanted(); at += CHUNK) {
    const bytes = new Uint8Array(await file.slice(at, at + CHUNK).arrayBuffer());
    for (let i = 0; i < bytes.length; i++) sum = CRC[(sum ^ bytes[i]) & 255] ^ (sum >>> 8);
  }
  return ~sum >>> 0;
}

/** Numbers one after the other, each with so many bytes, the lowest first. */
function numbers(...given) {
  return Uint8Array.from(given.flatMap(([bytes, value]) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 255)));
}
