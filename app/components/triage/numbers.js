// Numbers as the triage writes them.

/** Four digits of a number, small ones by their power of ten. */
export function formatShort(value) {
  if (value == null) return "–";
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** A share in percent, with more digits near the ends, where they say something. */
export function formatPercent(share) {
  if (share == null) return "–";
  const end = Math.min(share, 1 - share);
  if (end <= 0) return `${100 * share} %`;
  if (end < 0.000005) return share < 0.5 ? "< 0.001 %" : "> 99.999 %";
  return `${(100 * share).toFixed(end >= 0.01 ? 1 : end >= 0.0005 ? 2 : 3)} %`;
}
