// Numbers as they are written on the page.

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const formatNumber = (count) => count.toLocaleString("en-US");
export const formatCount = (count, one, many = `${one}s`) => `${formatNumber(count)} ${count === 1 ? one : many}`;
