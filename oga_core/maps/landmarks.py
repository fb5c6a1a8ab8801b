"""Large maps: some samples carry the picture, and every other one lies among those that it resembles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch

from oga_core.detectors import flag_rows
from oga_core.gradients import Factors, find_nearest
from oga_core.progress import Progress, silent

LANDMARKS = 20_000
PLACED_BY = 5
EACH_CLASS = 16
"""Landmarks of every class, or all its samples where there are fewer, however rare it is."""
PIVOTS, CANDIDATES = 256, 2048
"""A sample looks for its landmarks among the candidates nearest to the pivot that is nearest to it."""
BLOCK, AT_ONCE = 65_536, 4096
"""Samples that are read, and compared with one set of candidates, at a time: 34 MB of cosines."""


def choose_landmarks(labels: pd.Series, scores: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Rows that carry the map, sorted, int64: all up to 20,000; beyond, the most suspicious 10,000, and as many others drawn in
    proportion to the given classes.

    Parameters
    ----------
    labels
        Given labels, ``(n,)``.
    scores
        Outlier scores, ``(n,)``, higher = more suspicious.
    """
    n = len(labels)
    if n <= LANDMARKS:
        return np.arange(n)
    suspicious = flag_rows(scores, LANDMARKS // 2)
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(n), suspicious))
    classes = pd.Series(pd.factorize(labels)[0][rest])
    place = classes.groupby(classes).cumcount().to_numpy()
    share = (place + 0.5) / np.bincount(classes)[classes]
    # The first few of every class come before all others, which then follow evenly through their classes.
    order = np.argsort(np.where(place < EACH_CLASS, place - EACH_CLASS, share), kind="stable")
    return np.sort(np.concatenate([suspicious, rest[order[: LANDMARKS - len(suspicious)]]]))


def place_samples(
    factors: Factors, landmarks: np.ndarray, positions: np.ndarray, *, seed: int = 0, progress: Progress = silent
) -> np.ndarray:
    """Positions of all samples, float32 ``(n, 2)``: of landmarks their own, of others the mean of their 5 nearest landmarks,
    weighted by the cosine to the fourth power.

    Parameters
    ----------
    landmarks
        Rows, int64 ``(m,)``, sorted.
    positions
        Of the landmarks, float32 ``(m, 2)``.
    """
    n = len(factors)
    search = Landmarks(factors.take(landmarks), seed)
    out = np.empty((n, 2), np.float32)
    for start in range(0, n, BLOCK):
        some = slice(start, min(start + BLOCK, n))
        near, cosines = search.nearest(factors.take(np.arange(some.start, some.stop)), PLACED_BY)
        weights = np.maximum(cosines, 1e-6) ** 4
        out[some] = (positions[near] * (weights / weights.sum(1, keepdims=True))[..., None]).sum(1)
        progress("placing the other samples", some.stop, n)
    out[landmarks] = positions
    return out


class Landmarks:
    """Finds the landmarks nearest to samples; exactly so up to 2,048 landmarks, beyond among 2,048 likely ones."""

    def __init__(self, factors: Factors, seed: int) -> None:
        self.residuals, self.features = _float32(factors.residuals), _float32(factors.features)
        self.pivots: torch.Tensor | None = None
        self.candidates = torch.arange(len(factors))[None]
        if len(factors) > CANDIDATES:
            pivots = np.sort(np.random.default_rng(seed).choice(len(factors), PIVOTS, replace=False))
            self.pivots = torch.from_numpy(pivots)
            self.candidates = torch.from_numpy(find_nearest(factors.take(pivots), factors, CANDIDATES)[0])

    def nearest(self, queries: Factors, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k landmarks with the largest cosine to each query: their places int64, and cosines float32, ``(n, k)``."""
        r, h = _float32(queries.residuals), _float32(queries.features)
        near, cosines = torch.empty((len(r), k), dtype=torch.int64), torch.empty((len(r), k))
        for rows, among in self._searches(r, h):
            top = self._cosines(r[rows], h[rows], among).topk(k, dim=1)
            near[rows], cosines[rows] = among[top.indices], top.values
        return near.numpy(), cosines.numpy()

    def _cosines(self, r: torch.Tensor, h: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
        return (r @ self.residuals[among].T) * (h @ self.features[among].T)

    def _searches(self, r: torch.Tensor, h: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Some queries at a time, and the landmarks among which they look."""
        groups: Iterable[torch.Tensor] = [torch.arange(len(r))]
        if self.pivots is not None:
            pivot_of = torch.cat(
                [self._cosines(*some, self.pivots).argmax(1) for some in zip(r.split(AT_ONCE), h.split(AT_ONCE))]
            )
            groups = pivot_of.argsort(stable=True).split(pivot_of.bincount(minlength=PIVOTS).tolist())
        for group, among in zip(groups, self.candidates):
            for rows in group.split(AT_ONCE):
                if len(rows):
                    yield rows, among


def _float32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()
