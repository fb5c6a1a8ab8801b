"""Encoded samples to try a model with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from oga_core.data import Dataset, SampleError
from oga_core.gradients import find_head
from oga_core.models import Classifier

PROBED = 8
"""Samples that the head is searched with, and the model is probed with."""


def encode_samples(
    classifier: Classifier, dataset: Dataset, rows: Iterable[int], most: int | None = None
) -> tuple[list[int], list[Any]]:
    """Encode the samples among ``rows`` that have a label and can be read, ``most`` at most; returns rows and encoded samples."""
    encoded_rows: list[int] = []
    encoded: list[Any] = []
    for i in rows:
        if len(encoded) == most:
            break
        try:
            if dataset.labels[i] >= 0:
                encoded.append(classifier.encoded(dataset.load(int(i))))
                encoded_rows.append(int(i))
        except SampleError:
            continue
    return encoded_rows, encoded


def search_head(classifier: Classifier, encoded: list[Any], name: str | None = None) -> tuple[str, nn.Linear]:
    """Return the layer that gives a classifier's logits, by running a few encoded samples; InputError as `find_head`."""
    some = classifier.collate(encoded[:PROBED])
    return find_head(classifier.module, classifier.logits, some, name or classifier.head)
