"""The first picture: the two principal components of unit gradients, without ever making a gradient."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import eigsh

from oga_core.errors import InputError
from oga_core.gradients import Factors
from oga_core.progress import Progress, silent

SAMPLE = 4096
"""Gradients that the axes are found from: all up to here, drawn uniformly beyond. Their inner products fill 67 MB."""
BLOCK = 8192
RANK, LEFT_OUT = 64, 1e-6
"""Most terms that an axis is a sum of, and what share of its squares may be dropped: a picture needs no more."""
ALIKE = 1e-6
"""Variance of unit gradients, kept in float16, that is rounding and nothing else."""


def principal_components(factors: Factors, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
    """Projection of centred unit gradients on their two main axes, float32, shape ``(n, 2)``.

    An axis is a weighted sum of gradients, Σ αᵢ rᵢ hᵢᵀ, with α an eigenvector of their centred inner products; so a matrix
    U S Wᵀ of classes × d, and a gradient's place on it is Σ S (Uᵀ r)(Wᵀ h): (classes + d) · rank products a sample.

    Raises
    ------
    InputError
        If all gradients are alike.
    """
    n = len(factors)
    rows = np.arange(n) if n <= SAMPLE else np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))
    left, right = _axes(factors.take(rows), seed)
    positions = np.empty((n, 2), np.float32)
    for start in range(0, n, BLOCK):
        some = slice(start, start + BLOCK)
        products = (factors.residuals[some].astype(np.float32) @ left) * (factors.features[some].astype(np.float32) @ right)
        positions[some] = products.reshape(len(products), 2, -1).sum(2)
        progress("principal components", min(start + BLOCK, n), n)
    positions -= positions[rows].mean(0, dtype=np.float64).astype(np.float32)
    return positions


def _axes(factors: Factors, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the two axes, the residuals' ``(classes, 2 · rank)`` and the features' ``(d, 2 · rank)``, float32."""
    r, h = factors.residuals.astype(np.float32), factors.features.astype(np.float32)
    products = (r @ r.T) * (h @ h.T)
    means = products.mean(0, dtype=np.float64).astype(np.float32)
    products += means.mean() - means - means[:, None]
    if np.trace(products) < ALIKE * len(products):
        raise InputError("all gradients are alike, so there is nothing to map")
    start = np.random.default_rng(seed).normal(size=len(products)).astype(np.float32)
    values, vectors = eigsh(products, k=2, v0=start)
    axes = []
    for value, vector in zip(values[::-1], vectors.T[::-1]):
        # The length of Σ αᵢ gᵢ is the root of the eigenvalue; where there is no second direction, there is no second axis.
        scale = 1 / np.sqrt(value) if value > ALIKE * values[-1] else 0.0
        sign = np.sign(vector[np.abs(vector).argmax()])
        axes.append(_low_rank((r * (vector * sign * scale)[:, None]).T @ h))
    rank = max(a.shape[1] for a, _ in axes)
    padded = [[np.pad(factor, ((0, 0), (0, rank - factor.shape[1]))) for factor in axis] for axis in axes]
    return np.hstack([a for a, _ in padded]), np.hstack([b for _, b in padded])


def _low_rank(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    left = 1 - np.cumsum(s.astype(np.float64) ** 2) / max(float((s.astype(np.float64) ** 2).sum()), 1e-30)
    rank = min(int(np.argmax(left <= LEFT_OUT)) + 1, RANK)
    return u[:, :rank] * s[:rank], v[:rank].T
