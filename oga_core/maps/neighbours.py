"""UMAP of the exact nearest neighbours by the cosine, started from positions that are there already."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

from oga_core.files import PRIVATE_FOLDER, make_private
from oga_core.gradients import Factors, find_nearest
from oga_core.progress import Progress, silent

NEIGHBOURS = 15
SPAN = 10.0
"""Largest coordinate of the positions that UMAP starts from, its own custom."""


class EpochsTold:
    """Stream for UMAP's progress bar, which writes how many epochs are done of how many."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def write(self, line: str) -> None:
        done, _, total = line.strip().partition("/")
        if done.isdecimal() and total.isdecimal():
            self.progress("layout", 20 + 80 * int(done) // int(total), 100)

    def flush(self) -> None:
        """Nothing is held back."""


def umap(
    factors: Factors, start: np.ndarray, *, seed: int = 0, cache: Path | None = None, progress: Progress = silent
) -> np.ndarray:
    """Positions of samples, float32 ``(n, 2)``.

    Parameters
    ----------
    start
        Positions to start from, float32 ``(n, 2)``; only their form counts, not their size.
    cache
        Folder for numba's compiled code, unless ``NUMBA_CACHE_DIR`` names one: its own may be read-only.
    """
    n = len(factors)
    progress("nearest neighbours", 0, 100)
    k = min(NEIGHBOURS + 1, n - 1)  # UMAP wants fewer than all, the sample itself counted
    indices, cosines = find_nearest(factors, factors, k)
    # The sample itself first, as UMAP expects; ties can put a twin before it, or push it out.
    own = np.arange(n)[:, None]
    distances = np.where(indices == own, -1.0, np.clip(1 - cosines, 0, None))
    order = np.argsort(distances, axis=1, kind="stable")
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    indices[:, :1], distances[:, :1] = own, 0.0
    progress("loading UMAP", 10, 100)
    if cache is not None:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))
        with suppress(OSError):  # numba does without
            cache.mkdir(PRIVATE_FOLDER, exist_ok=True)
    from umap import UMAP

    start = SPAN * start / max(float(np.abs(start).max()), 1e-9)
    start = (start + np.random.default_rng(seed).normal(0, 1e-4, start.shape)).astype(np.float32)
    progress("layout", 20, 100)
    told = {"disable": False, "file": EpochsTold(progress), "bar_format": "{n}/{total}", "mininterval": 0.25}
    layout = UMAP(
        n_neighbors=k,
        init=start,
        random_state=seed,
        metric="euclidean",
        n_jobs=1,
        tqdm_kwds=told,
        precomputed_knn=(indices.astype(np.int32), distances.astype(np.float32), None),
        force_approximation_algorithm=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*NNDescent.*", category=UserWarning)  # new data are never placed by UMAP
        # Of the data UMAP needs no more than their number: their neighbours and where they begin are given.
        positions = layout.fit_transform(start)
    if cache is not None:
        with suppress(OSError):
            make_private(cache)
    return np.asarray(positions, np.float32)
