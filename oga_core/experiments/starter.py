"""Training, testing and gradients of the models that `oga_core.models.train` makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from oga_core.data import Subset
from oga_core.detectors import Gradients, of_head
from oga_core.gradients import capture_features, find_head
from oga_core.models import Classifier, TrainedModel, train
from oga_core.models.training import AfterEpoch
from oga_core.scoring.out_of_fold import cross_fit, default_folds

BATCH = 256


@dataclass
class Starter:
    """Trains on some of the training samples, none held out, and tests the model of the last epoch.

    Attributes
    ----------
    train, validation, test
        The samples; labels of the first as they are given, of the others as they are true.
    arch
        As `oga_core.models.train` takes it.
    epochs
        The same for every arm; None for as many as are usual with all training samples.
    curve
        Whether each epoch is tested.
    """

    train: Subset
    validation: Subset
    test: Subset
    seed: int
    arch: str | None = None
    epochs: int | None = None
    curve: bool = False
    encoded: dict[tuple[str, Any], list[Any]] = field(default_factory=dict)

    @cached_property
    def out_of_fold(self) -> Gradients | None:
        """The training samples' gradients by models trained without them, where `oga score` would train such models."""
        folds = default_folds(self.train)
        found = cross_fit(self.train, folds, seed=self.seed, epochs=self.epochs) if folds else None
        return found.gradients(np.arange(len(self.train)), self.train.labels) if found else None

    def __call__(self, rows: np.ndarray) -> Model:
        by_epoch: list[float] = []

        def tested(epoch: int, classifier: Classifier) -> None:
            by_epoch.append(self.accuracy(classifier, "test"))

        fitted = self.fitted(rows, tested if self.curve else None)
        self.epochs = fitted.epochs
        classifier = fitted.classifier
        accuracy = by_epoch[-1] if by_epoch else self.accuracy(classifier, "test")
        return Model(self, classifier, accuracy, self.accuracy(classifier, "validation"), tuple(by_epoch))

    def fitted(self, rows: np.ndarray, after_epoch: AfterEpoch | None) -> TrainedModel:
        """A model trained on some of the training samples, none held out."""
        some = self.train.take(rows)
        return train(some, self.arch, seed=self.seed, epochs=self.epochs, hold_out=False, after_epoch=after_epoch)

    def accuracy(self, classifier: Classifier, split: str) -> float:
        """Share of the samples of a split whose label is predicted."""
        predicted = torch.cat([classifier.logits(batch).argmax(1) for batch in self.batches(classifier, split)])
        return float((predicted.cpu().numpy() == getattr(self, split).labels).mean())

    def batches(self, classifier: Classifier, split: str) -> Iterator[Any]:
        """Module inputs for the samples of a split, encoded once for all models that encode alike."""
        encoded = self.inputs(classifier.encode, split)
        for start in range(0, len(encoded), BATCH):
            yield classifier.collate(encoded[start : start + BATCH])

    def inputs(self, encode: Callable[[Any], Any], split: str) -> list[Any]:
        """The samples of a split, encoded once."""
        samples: Subset = getattr(self, split)
        if (split, encode) not in self.encoded:
            self.encoded[split, encode] = [encode(samples.load(i)) for i in range(len(samples))]
        return self.encoded[split, encode]


@dataclass(frozen=True)
class Model:
    """A trained model: see `oga_core.experiments.trial.Trained`."""

    starter: Starter
    classifier: Classifier
    accuracy: float
    validation_accuracy: float
    by_epoch: tuple[float, ...]

    def gradients(self, split: str) -> Gradients:
        classifier, starter = self.classifier, self.starter
        first = next(starter.batches(classifier, split))
        _, layer = find_head(classifier.module, classifier.logits, first, classifier.head)
        with capture_features(layer) as seen:
            logits = [classifier.logits(batch) for batch in starter.batches(classifier, split)]
        labels = getattr(starter, split).labels
        found = of_head(torch.cat(logits).cpu().numpy(), torch.cat(seen).cpu().numpy(), labels)
        return replace(found, out_of_fold=starter.out_of_fold) if split == "train" else found
