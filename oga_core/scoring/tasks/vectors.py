"""Vectors of a batch in the form that `ScoredSamples` keeps: float16 unit vectors beside float32 norms."""

from __future__ import annotations

import numpy as np

from oga_core.gradients import GradientBatch, unit_rows


def norms_and_sketches(found: GradientBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return L1 norms, L2 norms and sketches of a batch, float64; shapes ``(n,)``, ``(n,)`` and ``(n, width)``."""
    assert found.l1 is not None
    assert found.l2 is not None
    assert found.sketch is not None
    return found.l1, found.l2, found.sketch.astype(np.float64)


def split_vectors(plural: str, singular: str, vectors: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """Return unit vectors and norms as fields of `ScoredSamples`; those of rows that are not finite are zero."""
    units, norms = unit_rows(np.where(finite[:, None], vectors, 0))
    return {plural: units, f"{singular}_norms": norms}


def split_sketches(sketch: np.ndarray, l2: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """Return sketches as unit vectors with the norms of the gradients: a sketch has that length only up to chance."""
    return {**split_vectors("sketches", "sketch", sketch, finite), "sketch_norms": np.where(finite, l2, 0).astype(np.float32)}
