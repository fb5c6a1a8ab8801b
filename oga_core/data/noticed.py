"""What only a look at every sample shows and the user should know: twins under two labels, and what decoding changes."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from oga_core.data.dataset import Dataset, SampleError
from oga_core.progress import Progress, silent

STAGE = "looking at every sample"
EVERY = 256
"""Samples between two reports of progress."""


def noticed(dataset: Dataset, progress: Progress = silent) -> list[str]:
    """Notes on the samples of a data set, one line each. Nothing is decoded, nothing left out.

    Parameters
    ----------
    dataset
        The data; each sample's content is read once.
    progress
        Called as ``progress(stage, done, total)``.
    """
    n = len(dataset)
    hashes = np.zeros(n, np.uint64)
    changed: Counter[str] = Counter()
    for i in range(n):
        if i % EVERY == 0:
            progress(STAGE, i, n)
        try:
            content = dataset.content(i)
        except SampleError:  # listed, with the reason, when it is scored
            continue
        hashes[i] = int.from_bytes(hashlib.sha256(content).digest()[:8], "little") or 1
        changed.update(dataset.conversions(content))
    progress(STAGE, n, n)
    return [*_twins(dataset, hashes), *(f"{count:,} images {what}" for what, count in sorted(changed.items()))]


def _twins(dataset: Dataset, hashes: np.ndarray) -> list[str]:
    """A note where the same content is there under several labels: all are kept, and one of the labels must be wrong."""
    rows = np.flatnonzero((hashes != 0) & (dataset.labels >= 0))
    rows = rows[np.lexsort((dataset.labels[rows], hashes[rows]))]
    alike = hashes[rows][1:] == hashes[rows][:-1]
    pairs = np.flatnonzero(alike & (dataset.labels[rows][1:] != dataset.labels[rows][:-1]))
    if not len(pairs):
        return []
    contents = len(np.unique(hashes[rows[pairs]]))
    first = pairs[np.argmin(np.minimum(rows[pairs], rows[pairs + 1]))]
    shown = [f"{dataset.sources[int(r)]} as {dataset.label_name(int(r))!r}" for r in sorted(rows[[first, first + 1]])]
    return [
        f"{contents:,} samples are there under several labels, of which one at most is right; all are kept, such as "
        + " and ".join(shown)
    ]
