"""Which points of a map lie in what was drawn on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

POINTS_AT_ONCE = 1 << 16  # working arrays stay in the processor's cache

Polygon = tuple[tuple[float, float], ...]
Drawn = tuple[str, Polygon, str]
"""A mode, an outline, and the picture on which it was drawn."""
MODES = ("replace", "add", "subtract")


def within(positions: Mapping[str, np.ndarray], lassos: tuple[Drawn, ...]) -> np.ndarray | None:
    """Which samples a series of lassos leaves, bool, shape ``(n,)``; None where none of their pictures is there.

    A series that begins by subtracting begins with all samples.

    Parameters
    ----------
    positions
        By picture, float ``(n, 2)``. A lasso on a picture that is not among them is left out of account.
    """
    there = [(mode, polygon, positions[picture]) for mode, polygon, picture in lassos if picture in positions]
    if not there:
        return None
    chosen = np.full(len(there[0][2]), there[0][0] == "subtract")
    for mode, polygon, points in there:
        hit = inside(points, polygon)
        chosen = hit if mode == "replace" else chosen | hit if mode == "add" else chosen & ~hit
    return chosen


def inside(positions: np.ndarray, polygon: Sequence[Sequence[float]]) -> np.ndarray:
    """Which points lie in a polygon by the even-odd rule, bool ``(n,)``; it may cross itself and is closed by itself.

    Parameters
    ----------
    positions
        float ``(n, 2)``; a point that is not finite lies outside.
    polygon
        Corners ``(x, y)``; fewer than 3 enclose nothing, nor do any that are not finite.
    """
    mask = np.zeros(len(positions), bool)
    corners = np.asarray(polygon, np.float64)
    if len(corners) < 3 or not np.isfinite(corners).all():
        return mask
    low, high = corners.min(0), corners.max(0)
    x, y = positions.T
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    near = near[np.argsort(y[near])]
    mask[near] = _odd_crossings(x[near].astype(np.float64), y[near].astype(np.float64), corners)
    return mask


def _odd_crossings(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether the ray from each point to the right crosses the polygon an odd number of times; ``y`` is sorted."""
    odd = np.zeros(len(x), bool)
    ends = np.stack([corners, np.roll(corners, -1, axis=0)], 1)
    between = np.sort(np.searchsorted(y, ends[:, :, 1]), axis=1)
    for ((x0, y0), (x1, y1)), (start, stop) in zip(ends.tolist(), between.tolist()):
        for first in range(start, stop, POINTS_AT_ONCE):
            some = slice(first, min(first + POINTS_AT_ONCE, stop))
            # Multiplied out instead of divided, so that corners on whole numbers are decided exactly.
            side = (y[some] - y0) * (x1 - x0) - (x[some] - x0) * (y1 - y0)
            odd[some] ^= side > 0 if y1 > y0 else side < 0
    return odd
