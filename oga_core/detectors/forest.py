"""Isolation forest on per-sample gradients (Liu, Ting, Zhou: Isolation Forest, ICDM 2008), exact at any width.

A tree only ever asks for single coordinates, and a coordinate of a head gradient is r_c · h_j: the forest runs on the
two factors, so the gradient is neither materialised nor sketched, however wide it is. Over other scopes it asks for
coordinates of the sketch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

DRAWS = 64
"""Coordinates looked at together when a node searches one that still varies among its samples."""


@dataclass(frozen=True)
class Tree:
    """Nodes as parallel arrays; ``residual`` is -1 at a leaf, whose ``depth`` includes the c(n) of unsplit samples."""

    residual: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    depth: np.ndarray


def average_path_length(n: int) -> float:
    """c(n), the mean depth of an unsuccessful search in a binary search tree of n keys (Liu et al., equation 1)."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n


class IsolationForest(Detector):
    """Anomaly score 2^(-E[depth] / c(subsample)) of each gradient (Liu et al., equation 2).

    Parameters
    ----------
    trees, subsample
        Number of trees, and of samples that each is grown from.
    """

    name = "iforest"
    title = "Isolation forest"
    compares = True
    meaning = "How few random splits isolate the sample's loss gradient, 2^(−depth / c) over 100 trees (Liu et al., ICDM 2008)."

    def __init__(self, trees: int = 100, subsample: int = 256) -> None:
        self.trees, self.subsample = trees, subsample

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        n = len(gradients)
        self.size = min(self.subsample, n)
        rng = np.random.default_rng(seed)
        self.forest = []
        for done in range(self.trees):
            rows = np.sort(rng.choice(n, self.size, replace=False))
            self.forest.append(_grow(*gradients.factors.block(rows), rng))
            progress("isolation forest", done + 1, self.trees)
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        n = len(gradients)
        depths = np.zeros(n)
        for start in range(0, n, BLOCK):
            block = slice(start, min(start + BLOCK, n))
            residuals, features = gradients.factors.block(block)
            for tree in self.forest:
                depths[block] += _depths(tree, residuals, features)
        return np.exp2(-depths / self.trees / max(average_path_length(self.size), 1e-9))


def _grow(residuals: np.ndarray, features: np.ndarray, rng: np.random.Generator) -> Tree:
    limit = int(np.ceil(np.log2(max(len(residuals), 2))))
    nodes: list[tuple[int, int, float, int, int, float]] = []

    def grow(rows: np.ndarray, depth: int) -> int:
        split = _split(residuals[rows], features[rows], rng) if len(rows) > 1 and depth < limit else None
        me = len(nodes)
        if split is None:
            nodes.append((-1, 0, 0.0, me, me, depth + average_path_length(len(rows))))
            return me
        c, j, threshold, goes_left = split
        nodes.append((c, j, threshold, 0, 0, 0.0))
        left = grow(rows[goes_left], depth + 1)
        right = grow(rows[~goes_left], depth + 1)
        nodes[me] = (c, j, threshold, left, right, 0.0)
        return me

    grow(np.arange(len(residuals)), 0)
    c, j, t, left, right, depth = zip(*nodes)
    return Tree(np.array(c), np.array(j), np.array(t, np.float32), np.array(left), np.array(right), np.array(depth))


def _split(residuals: np.ndarray, features: np.ndarray, rng: np.random.Generator) -> tuple[int, int, float, np.ndarray] | None:
    """A uniform coordinate among those that vary, and a uniform threshold in its range; None where nothing varies."""
    classes, width = residuals.shape[1], features.shape[1]
    order = rng.permutation(classes * width) if classes * width <= BLOCK else None
    for attempt in range(0, min(classes * width, BLOCK), DRAWS):
        drawn = order[attempt : attempt + DRAWS] if order is not None else rng.integers(0, classes * width, DRAWS)
        values = residuals[:, drawn // width] * features[:, drawn % width]
        low, high = values.min(0), values.max(0)
        varies = np.flatnonzero(high > low)
        if len(varies):
            k = varies[0]
            threshold = np.float32(rng.uniform(low[k], high[k]))
            goes_left = values[:, k] <= threshold
            if goes_left.all():  # the draw rounded up to the maximum
                goes_left = values[:, k] < high[k]
                threshold = values[goes_left, k].max()
            return int(drawn[k] // width), int(drawn[k] % width), float(threshold), goes_left
    return None


def _depths(tree: Tree, residuals: np.ndarray, features: np.ndarray) -> np.ndarray:
    node = np.zeros(len(residuals), np.int64)
    rows = np.arange(len(residuals))
    while len(rows):
        at = node[rows]
        inner = tree.residual[at] >= 0
        rows, at = rows[inner], at[inner]
        values = residuals[rows, tree.residual[at]] * features[rows, tree.feature[at]]
        node[rows] = np.where(values <= tree.threshold[at], tree.left[at], tree.right[at])
    return tree.depth[node]
