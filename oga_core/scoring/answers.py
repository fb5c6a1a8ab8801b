"""One pass over prompts with their answers: the loss of each answer and its gradient by a language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.gradients import HEAD, GradientBatch, NextToken, PerSampleGradients, in_batches, joined
from oga_core.models import LanguageModel
from oga_core.models.classifier import refusing
from oga_core.models.language_model import token_logits
from oga_core.scoring.one_pass import LOOKED_AT, encoded_samples, measured, split_sketches
from oga_core.scoring.scored_samples import ScoredSamples


def answer_gradients(model: LanguageModel, scope: str, seed: int, head: str | None = None) -> PerSampleGradients:
    """What a run computes of each answer: norms, and the sketch, which depends on scope and seed.

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


def sketched(engine: PerSampleGradients, model: LanguageModel, encoded: list[Any]) -> GradientBatch:
    """Norms, sketches and losses of encoded samples; the outputs, which would fill the memory, are left out.

    InputError as `Classifier.logits`.
    """
    found = in_batches(engine, range(len(encoded)), lambda some: model.batch([encoded[i] for i in some]))
    with refusing(model.name):
        return joined([replace(part, output=part.output[:, :0, :0].clone(), features=None) for _, part in found])


class AnswerPass:
    """As `OnePass`, with the loss of the answer in the place of that of a label.

    Attributes
    ----------
    engine
        What computes the gradients, probed with the first samples.
    head
        None: the gradient is known by its sketch, whatever the scope.
    notes
        What the user should know.
    """

    head: str | None = None

    def __init__(self, model: LanguageModel, dataset: Dataset, scope: str, seed: int = 0, head: str | None = None) -> None:
        encoded = encoded_samples(model, dataset, range(len(dataset)), LOOKED_AT)[1]
        if not encoded:
            raise InputError("none of the samples can be read")
        self.classifier: LanguageModel = model
        self.engine = answer_gradients(model, scope, seed, head)
        self.engine.prepare(*model.batch(encoded))
        values = sum(self.engine.parameters.values())
        self.notes = [f"scope {scope}: {len(self.engine.parameters)} parameters, {values:,} values", *self.engine.notes]

    def score_batch(
        self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
    ) -> tuple[ScoredSamples, np.ndarray]:
        """As `Pass.score_batch`."""
        found = sketched(self.engine, self.classifier, encoded)
        l1, l2, sketch = measured(found)
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
