"""Findings of one read of every sample: ids, sizes, the same content under several labels, what decoding changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from oga_core.containment import bound_reading
from oga_core.data.dataset import Dataset, SampleError, identify
from oga_core.progress import Progress, silent

STAGE = "looking at every sample"
BLOCK = 256
"""Samples between two reports of progress, and for whose reading the bounds of `oga_core.containment.bound_reading` are."""


@dataclass(frozen=True)
class Inventory:
    """n samples of a data set.

    Attributes
    ----------
    sample_ids
        ASCII, shape ``(n,)``, dtype ``S32``; empty where the sample cannot be read.
    contents
        First 8 bytes of the hash of each content, uint64, shape ``(n,)``; 0 where it cannot be read.
    sizes
        Bytes of each content, int64, shape ``(n,)``.
    conversions
        Number of samples that decoding changes, by what it changes.
    """

    sample_ids: np.ndarray
    contents: np.ndarray
    sizes: np.ndarray
    conversions: Counter[str]

    def notes(self, dataset: Dataset) -> list[str]:
        """Return what the user should know of these samples, one line each."""
        converted = [f"{count:,} images {what}" for what, count in sorted(self.conversions.items())]
        return [*_note_contradictions(dataset, self.contents), *converted]


def take_inventory(dataset: Dataset, progress: Progress = silent) -> Inventory:
    """Read the content of each sample once; nothing is decoded.

    Parameters
    ----------
    progress
        Called as ``progress(stage, done, total)``.
    """
    n = len(dataset)
    sample_ids, contents, sizes = np.zeros(n, "S32"), np.zeros(n, np.uint64), np.zeros(n, np.int64)
    conversions: Counter[str] = Counter()
    for start in range(0, n, BLOCK):
        progress(STAGE, start, n)
        with bound_reading():
            for i in range(start, min(start + BLOCK, n)):
                try:
                    content = dataset.content(i)
                except SampleError:  # listed, with the reason, when it is scored
                    continue
                digest = hashlib.sha256(content)
                contents[i] = int.from_bytes(digest.digest()[:8], "little") or 1
                sample_ids[i] = identify(digest, dataset.label_name(i)).encode("ascii")
                sizes[i] = len(content)
                conversions.update(dataset.conversions(content))
    progress(STAGE, n, n)
    return Inventory(sample_ids, contents, sizes, conversions)


def _note_contradictions(dataset: Dataset, contents: np.ndarray) -> list[str]:
    """A note where the same content has several labels: all are kept, and one of the labels must be wrong."""
    rows = np.flatnonzero((contents != 0) & (dataset.labels >= 0))
    rows = rows[np.lexsort((dataset.labels[rows], contents[rows]))]
    alike = contents[rows][1:] == contents[rows][:-1]
    pairs = np.flatnonzero(alike & (dataset.labels[rows][1:] != dataset.labels[rows][:-1]))
    if not len(pairs):
        return []
    count = len(np.unique(contents[rows[pairs]]))
    first = pairs[np.argmin(np.minimum(rows[pairs], rows[pairs + 1]))]
    shown = [f"{dataset.sources[int(r)]} as {dataset.label_name(int(r))!r}" for r in sorted(rows[[first, first + 1]])]
    return [
        f"{count:,} samples are there under several labels, of which one at most is right; all are kept, such as "
        + " and ".join(shown)
    ]
