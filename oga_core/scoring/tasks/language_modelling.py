"""Language modelling: losses and gradients of answers, given their prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from oga_core.data import Dataset, SampleError
from oga_core.data.tables import Answered
from oga_core.errors import InputError
from oga_core.gradients import HEAD, GradientBatch, NextToken, PerSampleGradients, in_batches, join_batches
from oga_core.measured import TokenLosses
from oga_core.models import Classifier, LanguageModel
from oga_core.models.classifier import refuse_unfit_samples, run
from oga_core.models.language_model import token_logits, token_losses
from oga_core.scoring.encoding import PROBED, encode_samples
from oga_core.scoring.scored_samples import ScoredSamples
from oga_core.scoring.tasks.table import identify
from oga_core.scoring.tasks.task_scoring import TaskScoring
from oga_core.scoring.tasks.vectors import norms_and_sketches, split_sketches


class LanguageModelScoring(TaskScoring):
    """As `TaskScoring`."""

    timed_samples = 8  # each has a logit for every token of the vocabulary at every position

    def make_pass(
        self, model: Classifier, dataset: Dataset, scope: str = HEAD, head: str | None = None, seed: int = 0
    ) -> AnswerPass:
        """As `TaskScoring.make_pass`."""
        return AnswerPass(_causal(model), dataset, scope, head, seed)

    def head_name(self, model: Classifier, encoded: list[Any]) -> str | None:
        """The output layer, where it can be trained alone."""
        return model.head

    def note_nondeterminism(self, model: Classifier, dataset: Dataset) -> list[str]:
        """Nothing: the probe of the gradients refuses such a model."""
        return []

    def make_table(
        self, model: Classifier, dataset: Dataset, samples: ScoredSamples, scores: dict[str, np.ndarray]
    ) -> pd.DataFrame:
        """As `TaskScoring.make_table`; the labels are the groups."""
        groups = np.array(dataset.class_names, dtype=object)[dataset.labels[samples.index]]
        return pd.DataFrame({**identify(dataset, samples), "label": groups, "loss": samples.loss, **scores})

    def sample_loss(self, model: Classifier, dataset: Dataset, index: int, encoded: Any) -> Tensor:
        """Mean cross-entropy on the tokens of the answer."""
        batch, targets = _causal(model).batch([encoded])
        return NextToken()(token_logits(run(model.module, batch)).double(), targets).sum()

    def token_losses(self, model: Classifier, sample: Any) -> TokenLosses:
        """As `oga_core.models.language_model.token_losses`."""
        return token_losses(_causal(model), sample)

    def make_sample(self, dataset: Dataset, given: str, target: str) -> tuple[Any, int]:
        """A prompt and its answer, of no group."""
        if not target.strip():
            raise SampleError("the answer is empty")
        return Answered(given, target), 0


def _causal(model: Classifier) -> LanguageModel:
    assert isinstance(model, LanguageModel)
    return model


def _make_engine(model: LanguageModel, scope: str, seed: int, head: str | None = None) -> PerSampleGradients:
    """Make the engine for the values of each answer in a run: norms, and the sketch, which depends on scope and seed.

    Parameters
    ----------
    scope, seed, head
        As `oga_core.score` takes them.

    Raises
    ------
    InputError
        For a scope without parameters.
    """
    head = head or model.head
    if scope == HEAD and head is None:
        raise InputError(
            "scope 'head' needs an output layer that is trained and has a weight of its own; that of this model is "
            "frozen, or tied to its embeddings: take lora, all, or a pattern over parameter names"
        )
    names = f"{head}.weight" if scope == HEAD else scope
    return PerSampleGradients(model.module, names, loss=NextToken(), seed=seed, output=token_logits)


def sketch_answers(engine: PerSampleGradients, model: LanguageModel, encoded: list[Any]) -> GradientBatch:
    """Norms, sketches and losses of encoded samples; the outputs, which would fill the memory, are left out.

    InputError as `Classifier.logits`.
    """
    found = in_batches(engine, range(len(encoded)), lambda some: model.batch([encoded[i] for i in some]))
    with refuse_unfit_samples(model.name):
        return join_batches([replace(batch, output=batch.output[:, :0, :0].clone(), features=None) for _, batch in found])


class AnswerPass:
    """Losses and gradients of the answers, given their prompts.

    Attributes
    ----------
    engine
        What computes the gradients, probed with the first samples.
    head
        None: the gradient is known by its sketch, for every scope.
    notes
        What the user should know.
    """

    head: str | None = None

    def __init__(self, model: LanguageModel, dataset: Dataset, scope: str, head: str | None = None, seed: int = 0) -> None:
        encoded = encode_samples(model, dataset, range(len(dataset)), PROBED)[1]
        if not encoded:
            raise InputError("none of the samples can be read")
        self.model: LanguageModel = model
        self.engine = _make_engine(model, scope, seed, head)
        self.engine.prepare(*model.batch(encoded))
        values = sum(self.engine.parameters.values())
        self.notes = [f"scope {scope}: {len(self.engine.parameters)} tensors, {values:,} parameters", *self.engine.notes]

    def score_batch(
        self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
    ) -> tuple[ScoredSamples, np.ndarray]:
        """As `Pass.score_batch`."""
        found = sketch_answers(self.engine, self.model, encoded)
        l1, l2, sketch = norms_and_sketches(found)
        finite = np.isfinite(sketch).all(1) & np.isfinite(l2) & np.isfinite(found.losses)
        samples = ScoredSamples(
            index=rows,
            sample_id=ids,
            targets=labels,
            loss=found.losses,
            l1=l1,
            l2=l2,
            **split_sketches(sketch, l2, finite),
        )
        return samples, finite
