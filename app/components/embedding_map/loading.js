// What the browser has read from the server, and keeps.

import { Points } from "./points.js";

const CACHED = 24; // arrays and texts that stay read, and views

// On the page, not in the module: the code of two elements may differ for a while, after an update of the server.
export const shared = (globalThis.ogaMaps ??= { answers: new Map(), views: new Map(), maps: new Set() });

/** The entry of a map under a key, made where it is missing; the entries asked for longest ago are dropped. */
export function getCached(cache, key, make) {
  const found = cache.get(key) ?? make();
  cache.delete(key);
  cache.set(key, found);
  if (cache.size > CACHED) cache.delete(cache.keys().next().value);
  return found;
}

/** What the server has at an address, read once; after a failure the next call asks again. */
export function load(url, read) {
  return getCached(shared.answers, url, () => {
    const answer = fetch(url).then((reply) => (reply.ok ? read(reply) : Promise.reject(new Error(`${reply.status} ${url}`))));
    answer.catch(() => shared.answers.delete(url));
    return answer;
  });
}

const loadArray = (url, read) => load(url, (reply) => reply.arrayBuffer().then(read));
const readCodes = (count) => (bytes) => (bytes.byteLength === 2 * count ? new Uint16Array(bytes) : new Int32Array(bytes));

export const loadPoints = (url) => loadArray(url, (bytes) => new Points(new Float32Array(bytes)));

/** What the card says of each of `count` points. */
export async function loadColumns(card, count) {
  const [given, predicted, scores, indices, names] = await Promise.all([
    loadArray(card.given, readCodes(count)),
    card.predicted && loadArray(card.predicted, readCodes(count)),
    loadArray(card.scores, (bytes) => new Float32Array(bytes)),
    loadArray(card.indices, (bytes) => new Int32Array(bytes)),
    load(card.names, (reply) => reply.json()),
  ]);
  return { of: card.given + card.scores, given, predicted, scores, indices, names };
}
