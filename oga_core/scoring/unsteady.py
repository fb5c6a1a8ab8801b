"""Whether a model gives the same outputs twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.gradients import out_of_memory
from oga_core.models import Classifier, LanguageModel
from oga_core.scoring.one_pass import encoded_samples

TWICE = 64
"""Samples that are run twice."""


def unsteady(classifier: Classifier, dataset: Dataset) -> list[str]:
    """A note where the outputs for the first `TWICE` samples that can be read differ when they are run again.

    A language model of which that is so is refused before, by the probe of its gradients.
    """
    if isinstance(classifier, LanguageModel):
        return []
    _, encoded = encoded_samples(classifier, dataset, range(len(dataset)), TWICE)
    both = _twice(classifier, encoded)
    if both is None:
        return []
    first, again = both
    differ = int((~torch.isclose(first, again, rtol=1e-4, atol=1e-6, equal_nan=True)).any(1).sum())
    if not differ:
        return []
    most = float((first - again).abs().nan_to_num().max())
    return [
        f"the model is not deterministic: of {len(first)} samples that were run twice {differ} had other outputs, by up to "
        f"{most:.2g}; another scoring gives other scores"
    ]


def _twice(classifier: Classifier, encoded: list[Any]) -> tuple[Tensor, Tensor] | None:
    """Logits of some samples, and of the same once more; of half of them where memory does not suffice, None of none."""
    if not encoded:
        return None
    try:
        batch = classifier.collate(encoded)
        return classifier.logits(batch), classifier.logits(batch)
    except (RuntimeError, MemoryError, InputError) as error:
        if not out_of_memory(error.__cause__ or error):
            raise
    return _twice(classifier, encoded[: len(encoded) // 2])
