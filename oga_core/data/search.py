"""Which texts hold some words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def texts(values: Iterable[str]) -> pa.Array:
    """Texts in the form in which they are searched; half a character becomes a question mark."""
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        return pa.array([v.encode("utf-8", "replace").decode() for v in values], pa.large_string())


def with_words(columns: Sequence[pa.Array], words: str) -> np.ndarray:
    """Which rows have every one of the words, divided by spaces, somewhere in one of the columns, in capitals or not.

    Parameters
    ----------
    columns
        From `texts`, each of length n, at least one.

    Returns
    -------
    bool, shape ``(n,)``.
    """
    found = np.ones(len(columns[0]), bool)
    for word in words.encode("utf-8", "replace").decode().split():
        hits = [pc.match_substring(column, word, ignore_case=True) for column in columns]
        found &= np.logical_or.reduce([hit.to_numpy(zero_copy_only=False) for hit in hits])
    return found
