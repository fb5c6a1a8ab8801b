// Numbers as they are written on the page.

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const grouped = (count) => count.toLocaleString("en-US");
export const counted = (count, one, many = `${one}s`) => `${grouped(count)} ${count === 1 ? one : many}`;
