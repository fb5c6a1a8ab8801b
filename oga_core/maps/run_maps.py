"""The pictures of a run's map, each computed once and kept with the run: of gradients or of features, by PCA or by UMAP."""

from __future__ import annotations

from functools import partial

import numpy as np

from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import Factors
from oga_core.maps.principal import principal_components
from oga_core.progress import Progress, silent
from oga_core.runs import Run

SPACES, METHODS = ("gradients", "features"), ("pca", "umap")
JOBS = {"gradients": "map", "features": "features_map"}
"""The job that computes the UMAP of a space."""
SMALLEST = 5
MILLION = 1_000_000


def picture(space: str, method: str) -> str:
    """The name of a picture."""
    return f"{space}-{method}"


def pictures(run: Run, *, seed: int = 0) -> list[str]:
    """The pictures of a run that have been computed."""
    names = [picture(space, method) for space in SPACES for method in METHODS]
    return [name for name in names if run.has_file(_file(name, seed))]


def embedding(
    run: Run, space: str = "gradients", method: str = "umap", *, seed: int = 0, progress: Progress = silent
) -> np.ndarray:
    """Positions of the run's samples, float32, shape ``(n, 2)``, a row for each row of ``run.table``.

    Parameters
    ----------
    space
        ``gradients``, or ``features``: the input of the model's head. Both by the cosine.
    method
        ``umap`` (McInnes et al., arXiv 1802.03426), of the exact nearest neighbours, started from ``pca``: the first two
        principal components of the unit vectors. Above 20,000 samples UMAP is fitted on landmarks, half of them the most
        suspicious, half drawn in proportion to the given classes; every other sample lies at the weighted mean of its 5
        nearest landmarks.
    seed
        Of what is drawn at random. Each seed's map is kept by itself.

    Raises
    ------
    InputError
        If there are fewer than 5 samples, all of them are alike, or there is no such space or method.

    Examples
    --------
    >>> oga.embedding(run, method="pca").shape
    (60, 2)
    """
    if space not in SPACES or method not in METHODS:
        known = ", ".join(picture(s, m) for s in SPACES for m in METHODS)
        raise InputError(f"no map {picture(space, method)!r}; there are: {known}")
    file = _file(picture(space, method), seed)
    if not run.has_file(file):
        if method == "pca":
            run.add_file(file, partial(save_array, principal_components(_factors(run, space), seed=seed, progress=progress)))
        else:
            do_map(run, space, seed=seed, progress=progress)
    positions: np.ndarray = np.load(run.file(file))
    return positions


def do_map(run: Run, space: str = "gradients", *, seed: int = 0, progress: Progress = silent) -> None:
    """Compute the UMAP of a space as a job, and keep it with the run; one that is there already stays.

    Progress is reported in percent of the whole.

    Raises
    ------
    InputError
        As `embedding` does.
    Cancelled
        If the user asked for it meanwhile.
    """
    with run.job(JOBS[space]).track(progress) as report:
        file = _file(picture(space, "umap"), seed)
        if not run.has_file(file):
            run.add_file(file, partial(save_array, _compute(run, space, seed, report)))


def _file(name: str, seed: int) -> str:
    return f"map-{name}-{seed}.npy"


def _factors(run: Run, space: str) -> Factors:
    """The factors to map: gradients, or features as gradients whose residual is 1."""
    if len(run.factors) < SMALLEST:
        raise InputError(f"a map needs at least {SMALLEST} scored samples; this run has {len(run.factors)}")
    if space == "gradients":
        return run.factors
    if not run.has_file("features.npy"):
        raise InputError(f"run {run.id} has no features to map: its logits are not the output of one layer for each sample")
    features, norms = (np.load(run.file(f"{name}.npy"), mmap_mode="r") for name in ("features", "feature_norms"))
    return Factors.from_vectors(features, norms)


def _compute(run: Run, space: str, seed: int, progress: Progress) -> np.ndarray:
    from oga_core.maps.landmarks import choose_landmarks, place_samples  # torch, for those only who compute
    from oga_core.maps.neighbours import umap

    factors = _factors(run, space)
    start = embedding(run, space, "pca", seed=seed, progress=_within(progress, 0, 5))
    rows = choose_landmarks(run.table["label"], run.table[run.detectors[0].name].to_numpy(), seed=seed)
    if len(rows) == len(factors):
        return umap(factors, start, seed=seed, cache=run.workspace.path / "numba", progress=_within(progress, 5, 100))
    carried = 5 + 95 * MILLION // (MILLION + len(factors))  # to place a million takes as long as to lay out the landmarks
    of_landmarks = umap(
        factors.take(rows), start[rows], seed=seed, cache=run.workspace.path / "numba", progress=_within(progress, 5, carried)
    )
    return place_samples(factors, rows, of_landmarks, seed=seed, progress=_within(progress, carried, 100))


def _within(progress: Progress, low: int, high: int) -> Progress:
    """Progress of a part as percent of the whole."""
    return lambda stage, done, total: progress(stage, low + (high - low) * done // max(total, 1), 100)
