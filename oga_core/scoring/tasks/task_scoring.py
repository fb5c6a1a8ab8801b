"""The one form of what scoring computes for a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from oga_core.data import Dataset
from oga_core.gradients import HEAD
from oga_core.measured import TokenLosses
from oga_core.models import Classifier
from oga_core.scoring.passes import Pass
from oga_core.scoring.scored_samples import ScoredSamples


class TaskScoring(ABC):
    """Computations of scoring for a task.

    Attributes
    ----------
    timed_samples
        How many samples are timed for an estimate.
    """

    timed_samples: int

    @abstractmethod
    def make_pass(self, model: Classifier, dataset: Dataset, scope: str = HEAD, head: str | None = None, seed: int = 0) -> Pass:
        """Return the pass over the samples of a data set; arguments as `oga_core.score`.

        Raises
        ------
        InputError
            If no sample can be read, or scope and model do not fit.
        """

    @abstractmethod
    def head_name(self, model: Classifier, encoded: list[Any]) -> str | None:
        """Return the name of the layer that gives the logits, by running encoded samples; InputError where there is none."""

    @abstractmethod
    def note_nondeterminism(self, model: Classifier, dataset: Dataset) -> list[str]:
        """Return a note where the model's outputs differ from one run to the next."""

    @abstractmethod
    def make_table(
        self, model: Classifier, dataset: Dataset, samples: ScoredSamples, scores: dict[str, np.ndarray]
    ) -> pd.DataFrame:
        """Return `Run.table`: identity, given label, what the model predicts, loss and scores of each sample."""

    @abstractmethod
    def sample_loss(self, model: Classifier, dataset: Dataset, index: int, encoded: Any) -> Tensor:
        """Return the loss of the encoded sample at ``index`` with its graph, float64, shape ``()``."""

    @abstractmethod
    def token_losses(self, model: Classifier, sample: Any) -> TokenLosses:
        """Return the loss of each token of a decoded sample.

        Raises
        ------
        SampleError
            If the sample cannot be tokenized.
        InputError
            If the task has no losses of tokens.
        """

    @abstractmethod
    def make_sample(self, dataset: Dataset, given: str, target: str) -> tuple[Any, int]:
        """Return a new sample in words, as `Dataset.load` returns samples, and its given label.

        Raises
        ------
        SampleError
            If it is empty.
        InputError
            If these data cannot have such a sample.
        """
