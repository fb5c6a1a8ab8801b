"""Columns that the table of a run has for every task."""

from __future__ import annotations

from typing import Any

from oga_core.data import Dataset
from oga_core.scoring.scored_samples import ScoredSamples


def identify(dataset: Dataset, samples: ScoredSamples) -> dict[str, Any]:
    """Return the columns that say which sample a row is: ``sample_id, index, source``."""
    sources = [str(dataset.sources[int(i)]) for i in samples.index]
    return {"sample_id": samples.sample_id, "index": samples.index, "source": sources}
