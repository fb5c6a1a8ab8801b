// What the browser has read from the server, and keeps.

import { Points } from "./points.js";

const KEPT = 24; // arrays and texts that stay read, and views

// On the page, not in the module: the code of two elements may differ for a while, after an update of the server.
export const shared = (globalThis.ogaEmbeddingMaps ??= { fetched: new Map(), views: new Map(), maps: new Set() });

/** The entry of a map under a key, made where it is missing; the entries asked for longest ago are dropped. */
export function keptIn(kept, key, make) {
  const found = kept.get(key) ?? make();
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

/** What the server has at an address, read once; after a failure the next call asks again. */
export function fetched(url, read) {
  return keptIn(shared.fetched, url, () => {
    const answer = fetch(url).then((reply) => (reply.ok ? read(reply) : Promise.reject(new Error(`${reply.status} ${url}`))));
    answer.catch(() => shared.fetched.delete(url));
    return answer;
  });
}

const array = (url, read) => fetched(url, (reply) => reply.arrayBuffer().then(read));
const codesOf = (count) => (bytes) => (bytes.byteLength === 2 * count ? new Uint16Array(bytes) : new Int32Array(bytes));

export const pointsAt = (url) => array(url, (bytes) => new Points(new Float32Array(bytes)));

/** What the card says of each of `count` points. */
export async function columnsOf(card, count) {
  const [given, predicted, scores, indices, names] = await Promise.all([
    array(card.given, codesOf(count)),
    card.predicted && array(card.predicted, codesOf(count)),
    array(card.scores, (bytes) => new Float32Array(bytes)),
    array(card.indices, (bytes) => new Int32Array(bytes)),
    fetched(card.names, (reply) => reply.json()),
  ]);
  return { of: card.given + card.scores, given, predicted, scores, indices, names };
}
