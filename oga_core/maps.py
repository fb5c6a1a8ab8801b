"""The map: UMAP of the per-sample gradients, by cosine, computed once a run and kept with it."""

from __future__ import annotations

import os
import warnings
from functools import partial

import numpy as np

from oga_core.detectors import flagged
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import Factors, nearest
from oga_core.progress import Progress, silent
from oga_core.runs import Run

MAP = "map.npy"
LANDMARKS = 20_000
NEIGHBOURS = 15
PLACED_BY = 5
SKETCH_WIDTH = 256
SMALLEST = 5


def has_map(run: Run) -> bool:
    """Whether the run's map has been computed."""
    return run.has_file(MAP)


def embedding(run: Run, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
    """Positions of the run's samples, float32, shape ``(n, 2)``, a row for each row of ``run.table``.

    UMAP (McInnes et al., arXiv 1802.03426) of the exact cosine neighbours of the gradients, started from the principal
    components of a sketch. Above 20,000 samples it is fitted on landmarks (half the most suspicious by L2, half drawn
    uniformly); every other sample lies at the weighted mean of its 5 nearest landmarks.

    Raises
    ------
    InputError
        If there are fewer than 5 samples, or all gradients are alike.
    """
    if not has_map(run):
        do_map(run, seed=seed, progress=progress)
    return np.asarray(np.load(run.file(MAP)), dtype=np.float32)


def do_map(run: Run, *, seed: int = 0, progress: Progress = silent) -> None:
    """Compute a run's map as a job, and keep it with the run; one that is there already stays.

    Raises
    ------
    InputError
        As `embedding` does.
    Cancelled
        If the user asked for it meanwhile.
    """
    with run.job("map").doing(progress) as report:
        if not has_map(run):
            run.add_file(MAP, partial(save_array, _compute(run, seed, report)))


def _compute(run: Run, seed: int, progress: Progress) -> np.ndarray:
    factors = run.factors
    n = len(factors)
    if n < SMALLEST:
        raise InputError(f"a map needs at least {SMALLEST} scored samples; this run has {n}")
    if n <= LANDMARKS:
        return _umap(factors, run, seed, progress)
    suspicious = flagged(run.table["l2" if "l2" in run.table else "loss"].to_numpy(), LANDMARKS // 2)
    rest = np.setdiff1d(np.arange(n), suspicious)
    drawn = np.random.default_rng(seed).choice(rest, LANDMARKS - len(suspicious), replace=False)
    rows = np.sort(np.concatenate([suspicious, drawn]))
    landmarks = factors.take(rows)
    positions = np.empty((n, 2), np.float32)
    positions[rows] = placed = _umap(landmarks, run, seed, progress)
    others = np.setdiff1d(np.arange(n), rows)
    for start in range(0, len(others), LANDMARKS):
        block = others[start : start + LANDMARKS]
        near, cosines = nearest(factors.take(block), landmarks, PLACED_BY)
        weights = np.maximum(cosines, 1e-6) ** 4
        positions[block] = (placed[near] * (weights / weights.sum(1, keepdims=True))[..., None]).sum(1)
        progress("placing the other samples", start + len(block), len(others))
    return positions


def _umap(factors: Factors, run: Run, seed: int, progress: Progress) -> np.ndarray:
    progress("nearest gradients", 0, 3)
    k = min(NEIGHBOURS, len(factors) - 2)  # UMAP wants fewer than all, the sample itself counted
    indices, cosines = nearest(factors, factors, k + 1)
    distances = np.clip(1 - cosines, 0, None)
    sketch = factors.sketch(SKETCH_WIDTH, seed)
    centred = sketch - sketch.mean(0)
    spread = float(np.abs(centred).max())
    if spread < 1e-6:
        raise InputError("all gradients are alike, so there is nothing to map")
    progress("loading UMAP", 1, 3)
    # numba keeps compiled code beside the package, which may be read-only.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(run.workspace.path / "numba"))
    from umap import UMAP

    _, _, axes = np.linalg.svd(centred.T @ centred)
    start = centred @ axes[:2].T
    start = 10 * start / max(float(np.abs(start).max()), 1e-9)
    start = start + np.random.default_rng(seed).normal(0, 1e-4, start.shape)
    # The sample itself first, as UMAP expects; ties can put a twin before it.
    own = np.arange(len(factors))[:, None]
    keyed = np.where(indices == own, -1.0, distances)
    order = np.argsort(keyed, axis=1, kind="stable")
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    indices[:, :1], distances[:, :1] = own, 0.0
    progress("UMAP", 2, 3)
    umap = UMAP(
        n_neighbors=k + 1, init=start.astype(np.float32), random_state=seed, metric="euclidean", n_jobs=1,
        precomputed_knn=(indices.astype(np.int32), distances.astype(np.float32), None), force_approximation_algorithm=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*NNDescent.*", category=UserWarning)  # new data are never placed by UMAP
        positions = umap.fit_transform(sketch)
    progress("UMAP", 3, 3)
    return np.asarray(positions, np.float32)
