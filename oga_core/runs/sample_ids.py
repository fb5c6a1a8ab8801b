"""Finding the rows of samples by their ids, in little memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class SampleIds:
    """Sample ids in the order of their bytes, 36 bytes a sample for ids of 32 hex digits.

    Parameters
    ----------
    ids
        One for each row, ASCII, shape ``(n,)``; the same one may be there several times.
    """

    def __init__(self, ids: np.ndarray) -> None:
        as_bytes = ids.astype(object).astype("S")
        self._order = np.argsort(as_bytes, kind="stable").astype(np.int32)
        self._sorted = as_bytes[self._order]

    def rows(self, sample_ids: Iterable[str]) -> np.ndarray:
        """Every row with one of these ids, int64, sorted; one that is nowhere has none."""
        wanted = np.unique(np.array([s.encode("ascii", "replace") for s in sample_ids], "S"))
        first, after = (np.searchsorted(self._sorted, wanted, side) for side in ("left", "right"))
        counts = after - first
        places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return np.sort(self._order[places]).astype(np.int64)
