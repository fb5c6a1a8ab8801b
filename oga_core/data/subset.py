"""Some samples of a data set, under its labels or others."""

from __future__ import annotations

from typing import Any

import numpy as np

from oga_core.data.dataset import Dataset


class Subset(Dataset):
    """A view of another data set; it has all its classes, whether a sample of each is left or not.

    Parameters
    ----------
    whole
        The data set.
    rows
        Positions of the samples, int64, shape ``(n,)``.
    labels
        Given labels as positions in ``class_names``, int64, shape ``(n,)``; by default those of the whole.
    class_names
        By default those of the whole.
    """

    def __init__(
        self, whole: Dataset, rows: np.ndarray, labels: np.ndarray | None = None, class_names: list[str] | None = None
    ) -> None:
        self.whole, self.rows = whole, np.asarray(rows)
        self.kind, self.notes = whole.kind, []
        self.class_names = list(class_names or whole.class_names)
        self.labels = whole.labels[self.rows] if labels is None else np.asarray(labels, np.int64)
        self.sources = [str(whole.sources[int(i)]) for i in self.rows]

    def content(self, index: int) -> bytes:
        return self.whole.content(int(self.rows[index]))

    def load(self, index: int) -> Any:
        return self.whole.load(int(self.rows[index]))

    def take(self, rows: np.ndarray) -> Subset:
        """Some of these samples, in this order."""
        return Subset(self.whole, self.rows[rows], self.labels[rows], self.class_names)
