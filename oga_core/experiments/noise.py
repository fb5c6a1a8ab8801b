"""Wrong labels made on purpose, in exact numbers and by a seed."""

from __future__ import annotations

import numpy as np

CONFUSIONS = 0
"""Seed of the class-dependent distributions: the same in every seed of an experiment."""


def flip_uniformly(labels: np.ndarray, classes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """The labels with a share of them, drawn uniformly, replaced by another class, drawn uniformly.

    Parameters
    ----------
    labels
        Positions of the classes, int64, shape ``(n,)``.
    """
    out = labels.copy()
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    out[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return out


def flip_by_class(labels: np.ndarray, classes: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """The labels with a share of each class replaced by another, drawn from the class's own distribution over the others.

    The distributions are drawn once and for all from Dirichlet(1): some classes are mostly taken for one other class.
    """
    confused = confusions(classes)
    out = labels.copy()
    for c in range(classes):
        own = np.flatnonzero(labels == c)
        rows = rng.choice(own, round(share * len(own)), replace=False)
        out[rows] = rng.choice(classes, len(rows), p=confused[c])
    return out


def confusions(classes: int) -> np.ndarray:
    """Return how often each class is mistaken for each other, shape ``(classes, classes)``: rows sum to 1, the diagonal is 0."""
    rng = np.random.default_rng(CONFUSIONS)
    out = np.zeros((classes, classes))
    for c in range(classes):
        out[c, np.arange(classes) != c] = rng.dirichlet(np.ones(classes - 1))
    return out


def flip_each(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Labels 0 and 1 with so many of each class turned into the other."""
    out = labels.copy()
    for c in (0, 1):
        out[rng.choice(np.flatnonzero(labels == c), count, replace=False)] = 1 - c
    return out
