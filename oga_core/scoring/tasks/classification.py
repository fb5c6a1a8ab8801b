"""Classification: losses and gradients on given labels, and what the model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from oga_core.data import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.gradients import (
    HEAD,
    GradientBatch,
    PerSampleGradients,
    capture_features,
    head_gradients,
    in_batches,
    is_out_of_memory,
    join_batches,
)
from oga_core.measured import TokenLosses
from oga_core.models import Classifier, label_indices
from oga_core.models.classifier import find_logits, refuse_unfit_samples, run
from oga_core.scoring.encoding import PROBED, encode_samples, search_head
from oga_core.scoring.scored_samples import ScoredSamples
from oga_core.scoring.tasks.table import identify
from oga_core.scoring.tasks.task_scoring import TaskScoring
from oga_core.scoring.tasks.vectors import norms_and_sketches, split_sketches, split_vectors

RUN_TWICE = 64
"""Samples with which it is tried whether a model is deterministic."""


class ClassificationScoring(TaskScoring):
    """As `TaskScoring`."""

    timed_samples = 64

    def make_pass(
        self, model: Classifier, dataset: Dataset, scope: str = HEAD, head: str | None = None, seed: int = 0
    ) -> ClassificationPass:
        """As `TaskScoring.make_pass`."""
        return ClassificationPass(model, dataset, scope, head, seed)

    def head_name(self, model: Classifier, encoded: list[Any]) -> str | None:
        """As `TaskScoring.head_name`."""
        return search_head(model, encoded)[0]

    def note_nondeterminism(self, model: Classifier, dataset: Dataset) -> list[str]:
        """Run the first `RUN_TWICE` samples that can be read twice, and compare the logits."""
        _, encoded = encode_samples(model, dataset, range(len(dataset)), RUN_TWICE)
        both = _run_twice(model, encoded)
        if both is None:
            return []
        first, second = both
        differ = int((~torch.isclose(first, second, rtol=1e-4, atol=1e-6, equal_nan=True)).any(1).sum())
        if not differ:
            return []
        most = float((first - second).abs().nan_to_num().max())
        return [
            f"the model is not deterministic: of {len(first)} samples that were run twice {differ} had other outputs, by up to "
            f"{most:.2g}; another scoring gives other scores"
        ]

    def make_table(
        self, model: Classifier, dataset: Dataset, samples: ScoredSamples, scores: dict[str, np.ndarray]
    ) -> pd.DataFrame:
        """As `TaskScoring.make_table`."""
        assert samples.predicted is not None
        assert samples.best_other is not None
        name_of = np.array(model.class_names or dataset.class_names, dtype=object)
        given = np.array(dataset.class_names, dtype=object)[dataset.labels[samples.index]]
        predicted = name_of[samples.predicted]
        # A sample cannot be relabelled to itself, nor to a class that only the model has.
        second = (predicted == given) | ~np.isin(samples.predicted, label_indices(model, dataset))
        return pd.DataFrame(
            {
                **identify(dataset, samples),
                "label": given,
                "predicted": predicted,
                "loss": samples.loss,
                "confidence": np.exp(-samples.loss),
                **scores,
                "suggested_label": np.where(second, name_of[samples.best_other], predicted),
                "suggested_label_source": np.where(second, "model's second choice", "model prediction"),
            }
        )

    def sample_loss(self, model: Classifier, dataset: Dataset, index: int, encoded: Any) -> Tensor:
        """Cross-entropy on the given label."""
        logits = find_logits(run(model.module, model.collate([encoded])), model.name)
        target = torch.from_numpy(label_indices(model, dataset)[dataset.labels[[index]]])
        return functional.cross_entropy(logits.double(), target)

    def token_losses(self, model: Classifier, sample: Any) -> TokenLosses:
        """Refuse: a classifier has none."""
        raise InputError(f"model {model.name} is a classifier, which has no losses of tokens")

    def make_sample(self, dataset: Dataset, given: str, target: str) -> tuple[Any, int]:
        """A text and the name of its class."""
        if len(getattr(dataset, "inputs", ())) > 1:
            raise InputError("these data are pairs of texts: a test sample must be one of the run's")
        if target not in dataset.class_names:
            raise InputError(f"{target!r} is not a class of these data; there are: {', '.join(dataset.class_names[:20])}")
        if not given.strip():
            raise SampleError("the text is empty")
        return given, dataset.class_names.index(target)


class ClassificationPass:
    """Losses and gradients on the given label: in closed form for the head, else by the engine.

    Attributes
    ----------
    head
        Name of the layer that gives the logits; None where none is found and the scope does not need one.
    notes
        What the user should know.
    """

    def __init__(
        self,
        model: Classifier,
        dataset: Dataset,
        scope: str = HEAD,
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        rows, encoded = encode_samples(model, dataset, range(len(dataset)), PROBED)
        if not encoded:
            raise InputError("none of the samples can be read")
        self.model, self.outputs, self.scope = model, label_indices(model, dataset), scope
        self.notes: list[str] = []
        self.head: str | None = None
        try:
            self.head, self._layer = search_head(model, encoded, head)
        except InputError:
            if scope == HEAD or head:
                raise
        if self.scope == HEAD:
            return
        self._engine = PerSampleGradients(
            model.module,
            self.scope,
            seed=seed,
            head=self.head,
            collate=model.collate,
            output=partial(find_logits, name=model.name),
        )
        self._engine.prepare(encoded, torch.from_numpy(self.outputs[dataset.labels[rows]]))
        values = sum(self._engine.parameters.values())
        self.notes = [f"scope {self.scope}: {len(self._engine.parameters)} tensors, {values:,} parameters", *self._engine.notes]

    def score_batch(
        self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
    ) -> tuple[ScoredSamples, np.ndarray]:
        """As `Pass.score_batch`."""
        targets = torch.from_numpy(self.outputs[labels])
        whole = None if self.scope == HEAD else self._beyond_head(encoded, targets)
        if whole is None:
            with capture_features(self._layer) as seen:
                logits = self.model.logits(self.model.collate(encoded))
            features: torch.Tensor | None = seen[-1]
        else:
            logits, features = whole.output, whole.features
        found = head_gradients(logits, torch.ones(len(rows), 1) if features is None else features, targets)
        finite = np.isfinite(found.residuals).all(1) & np.isfinite(found.features).all(1)
        vectors: dict[str, np.ndarray] = {}
        if features is not None:
            vectors |= split_vectors("features", "feature", found.features, finite)
        if whole is None:
            l1, l2 = found.l1, found.l2
            vectors |= split_vectors("residuals", "residual", found.residuals, finite)
        else:
            l1, l2, sketch = norms_and_sketches(whole)
            finite &= np.isfinite(sketch).all(1) & np.isfinite(l2)
            vectors |= split_sketches(sketch, l2, finite)
        others = torch.full_like(logits, -torch.inf)
        others[:, self.outputs] = logits[:, self.outputs]
        others[torch.arange(len(rows)), targets] = -torch.inf
        samples = ScoredSamples(
            index=rows,
            sample_id=ids,
            targets=targets.numpy(),
            loss=found.losses,
            l1=l1,
            l2=l2,
            logits=logits.numpy(),
            predicted=logits.argmax(1).numpy(),
            best_other=others.argmax(1).numpy(),
            **vectors,
        )
        return samples, finite & np.isfinite(found.losses)

    def _beyond_head(self, encoded: list[Any], targets: torch.Tensor) -> GradientBatch:
        """By the engine, which has logits and the head's features from the same pass; InputError as `Classifier.logits`."""

        def batch(some: Sequence[int]) -> tuple[Any, torch.Tensor]:
            return [encoded[i] for i in some], targets[list(some)]

        with refuse_unfit_samples(self.model.name):
            return join_batches([found for _, found in in_batches(self._engine, range(len(encoded)), batch)])


def _run_twice(model: Classifier, encoded: list[Any]) -> tuple[Tensor, Tensor] | None:
    """Logits of encoded samples, and once more; of half of them where memory does not suffice, None of none."""
    if not encoded:
        return None
    try:
        batch = model.collate(encoded)
        return model.logits(batch), model.logits(batch)
    except (RuntimeError, MemoryError, InputError) as error:
        if not is_out_of_memory(error.__cause__ or error):
            raise
    return _run_twice(model, encoded[: len(encoded) // 2])
