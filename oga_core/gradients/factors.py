"""Stored gradients of a whole run as factors: inner products, coordinates, sketches and neighbours without N × d floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORM = 2
"""Of the projections (`oga_core.gradients.sketch`): only sketches of one form can be compared. A run keeps that of its own."""
BLOCK = 4096
"""Samples handled at a time; bounds memory at ``BLOCK × n`` float32 in neighbour searches."""
SMALL_BLOCK = 1024
"""Samples at a time for one vector against many: the intermediate results of a block stay in the processor's cache."""


@dataclass(frozen=True)
class Factors:
    """Gradients g_i = ‖r_i‖ ‖h_i‖ · (unit r_i ⊗ unit h_i) of n samples.

    A gradient that is known by its sketch only is the same with r = 1 and the sketch as h.

    Attributes
    ----------
    residuals, features
        Unit vectors, float16, shapes ``(n, classes)`` and ``(n, d)``; may be memory-mapped. A zero vector stays zero.
    residual_norms, feature_norms
        float32, shape ``(n,)``.
    """

    residuals: np.ndarray
    features: np.ndarray
    residual_norms: np.ndarray
    feature_norms: np.ndarray

    @classmethod
    def from_vectors(cls, units: np.ndarray, norms: np.ndarray) -> Factors:
        """Vectors as gradients with r = 1: unit vectors, float16, shape ``(n, d)``, and lengths, float32, shape ``(n,)``."""
        return cls(np.ones((len(units), 1), np.float16), units, np.ones(len(units), np.float32), norms)

    def __len__(self) -> int:
        return len(self.residuals)

    @property
    def width(self) -> int:
        """Number of coordinates of one gradient."""
        return self.residuals.shape[1] * self.features.shape[1]

    def take(self, rows: np.ndarray) -> Factors:
        """The gradients of some samples, in this order."""
        return Factors(self.residuals[rows], self.features[rows], self.residual_norms[rows], self.feature_norms[rows])

    def block(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and features with their norms, float32, shapes ``(b, classes)`` and ``(b, d)``."""
        residuals = self.residuals[rows].astype(np.float32) * self.residual_norms[rows, None]
        features = self.features[rows].astype(np.float32) * self.feature_norms[rows, None]
        return residuals, features

    def cosines(self, row: int) -> np.ndarray:
        """Cosine of the gradient of ``row`` with every gradient, float32, shape ``(n,)``."""
        return self.cosines_with(self.residuals[row], self.features[row])

    def cosines_with(self, residual: np.ndarray, feature: np.ndarray) -> np.ndarray:
        """Cosine of a gradient, given by the unit vectors of its factors, with every gradient, float32, shape ``(n,)``."""
        r, h = residual.astype(np.float32), feature.astype(np.float32)
        out = np.empty(len(self), np.float32)
        for start in range(0, len(self), SMALL_BLOCK):
            rows = slice(start, start + SMALL_BLOCK)
            out[rows] = (self.residuals[rows].astype(np.float32) @ r) * (self.features[rows].astype(np.float32) @ h)
        return out

    def neighbours(self, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k gradients with the largest cosine to that of ``row``, itself left out: rows int64 and cosines, ``(k,)``."""
        cosines = self.cosines(row)
        cosines[row] = -np.inf
        best = find_largest(cosines, min(k, len(self) - 1))
        return best, cosines[best]

    def sketch(self, width: int, seed: int) -> np.ndarray:
        """Random projection of the unit gradients, float32, shape ``(n, width)``, with unbiased inner products.

        Column j is (p_jᵀ r)(q_jᵀ h) / √width with independent random signs p_j, q_j (Rademacher; a face-splitting
        product, so the projection of a rank-one gradient never needs the gradient).
        """
        rng = np.random.default_rng(seed)
        p = rng.choice(np.array([-1, 1], np.float32), (self.residuals.shape[1], width))
        q = rng.choice(np.array([-1, 1], np.float32), (self.features.shape[1], width))
        out = np.empty((len(self), width), np.float32)
        for start in range(0, len(self), BLOCK):
            rows = slice(start, start + BLOCK)
            r, h = self.residuals[rows].astype(np.float32), self.features[rows].astype(np.float32)
            out[rows] = (r @ p) * (h @ q) / np.sqrt(width, dtype=np.float32)
        return out


def find_largest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of n values, largest first, int64; equal ones keep their order."""
    if k < 1:
        return np.zeros(0, np.int64)
    among = np.flatnonzero(values >= np.partition(values, len(values) - k)[len(values) - k])
    return among[np.argsort(-values[among], kind="stable")[:k]]


def find_nearest(queries: Factors, among: Factors, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k gradients of ``among`` with the largest cosine to each query: rows int64 and cosines float32, ``(n, k)``."""
    import torch  # whose search for the largest is the faster; who reads a run has no other need of it

    residuals = torch.from_numpy(among.residuals.astype(np.float32)).T
    features = torch.from_numpy(among.features.astype(np.float32)).T
    k = min(k, len(among))
    indices = np.empty((len(queries), k), np.int64)
    values = np.empty((len(queries), k), np.float32)
    block = max(64, min(BLOCK, 100_000_000 // max(1, len(among))))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        r = torch.from_numpy(queries.residuals[rows].astype(np.float32))
        h = torch.from_numpy(queries.features[rows].astype(np.float32))
        top = ((r @ residuals) * (h @ features)).topk(k, dim=1)
        indices[rows], values[rows] = top.indices.numpy(), top.values.numpy()
    return indices, values


def unit_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into float16 unit vectors and float32 norms: float16 alone loses 7e4 to inf and 1e-8 to zero."""
    norms = np.linalg.norm(vectors, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    return (vectors / safe[:, None]).astype(np.float16), norms.astype(np.float32)
