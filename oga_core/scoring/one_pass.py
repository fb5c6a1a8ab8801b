"""One pass over samples: encoding them, and their losses and gradients by the closed form or the engine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from oga_core.data import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.gradients import (
    HEAD,
    PerSampleGradients,
    captured_features,
    find_head,
    head_gradients,
    in_batches,
    joined,
    unit_rows,
)
from oga_core.models import Classifier
from oga_core.models.classifier import find_logits

LOOKED_AT = 8
"""Samples that the head is searched with, and the model is probed with."""


def encoded_samples(
    classifier: Classifier, dataset: Dataset, rows: Iterable[int], most: int | None = None
) -> tuple[list[int], list[Any]]:
    """The labelled and readable ones of some samples, encoded, with their rows."""
    kept: list[int] = []
    encoded: list[Any] = []
    for i in rows:
        if len(encoded) == most:
            break
        try:
            if dataset.labels[i] >= 0:
                encoded.append(classifier.encode(dataset.load(int(i))))
                kept.append(int(i))
        except SampleError:
            continue
    return kept, encoded


def found_head(classifier: Classifier, encoded: list[Any], name: str | None) -> tuple[str, nn.Linear]:
    """The layer that gives a classifier's logits, by running a few encoded samples; InputError as `find_head`."""
    some = classifier.collate(encoded[:LOOKED_AT])
    return find_head(classifier.module, classifier.logits, some, name or classifier.head)


class OnePass:
    """One pass over samples: their loss and gradient, by the closed form for the head, else by the engine.

    Attributes
    ----------
    head
        Name of the layer that gives the logits; None where the scope does not need one and none is found.
    notes
        What the user should know.
    """

    def __init__(self, classifier: Classifier, dataset: Dataset, outputs: np.ndarray, settings: dict[str, Any]) -> None:
        rows, encoded = encoded_samples(classifier, dataset, range(len(dataset)), LOOKED_AT)
        if not encoded:
            raise InputError("none of the samples can be read")
        self.classifier, self.outputs, self.scope = classifier, outputs, settings["scope"]
        self.notes: list[str] = []
        self.head: str | None = None
        if self.scope == HEAD:
            self.head, self._layer = found_head(classifier, encoded, settings.get("head"))
            return
        self._engine = PerSampleGradients(
            classifier.module, self.scope, seed=settings["seed"], collate=classifier.collate,
            output=partial(find_logits, name=classifier.name),
        )  # fmt: skip
        self._engine.prepare(encoded, torch.from_numpy(outputs[dataset.labels[rows]]))
        values = sum(self._engine.parameters.values())
        self.notes = [f"scope {self.scope}: {len(self._engine.parameters)} parameters, {values:,} values", *self._engine.notes]

    def __call__(self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Columns and factors of a batch, a row each; ``finite`` says which are to be believed."""
        targets = torch.from_numpy(self.outputs[labels])
        if self.scope == HEAD:
            with captured_features(self._layer) as seen:
                logits = self.classifier.logits(self.classifier.collate(encoded))
            found = head_gradients(logits, seen[-1], targets)
            first, second, l1, l2 = found.residuals, found.features, found.l1, found.l2
        else:
            batches = [b for _, b in in_batches(self._engine, range(len(encoded)), lambda some: (
                [encoded[i] for i in some], targets[list(some)]))]  # fmt: skip
            whole = joined(batches)
            logits = whole.output
            assert whole.l1 is not None
            assert whole.l2 is not None
            assert whole.sketch is not None
            # The sketch as the second factor: the first is 1, the length is the gradient's own.
            first, second, l1, l2 = np.ones((len(rows), 1)), whole.sketch.astype(np.float64), whole.l1, whole.l2
            found = head_gradients(logits, torch.ones(len(rows), 1), targets)
        finite = np.isfinite(first).all(1) & np.isfinite(second).all(1) & np.isfinite(found.losses) & np.isfinite(l2)
        residuals, residual_norms = unit_rows(np.where(finite[:, None], first, 0))
        features, feature_norms = unit_rows(np.where(finite[:, None], second, 0))
        if self.scope != HEAD:
            residual_norms, feature_norms = np.ones(len(rows), np.float32), np.where(finite, l2, 0).astype(np.float32)
        others = torch.full_like(logits, -torch.inf)
        others[:, self.outputs] = logits[:, self.outputs]
        others[torch.arange(len(rows)), targets] = -torch.inf
        return {
            "index": rows, "sample_id": ids, "finite": finite, "predicted": logits.argmax(1).numpy(),
            "best_other": others.argmax(1).numpy(), "loss": found.losses, "l1": l1, "l2": l2, "residuals": residuals,
            "features": features, "residual_norms": residual_norms, "feature_norms": feature_norms,
        }  # fmt: skip
