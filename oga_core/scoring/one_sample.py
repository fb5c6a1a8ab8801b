"""Questions about one sample: its gradient by parameter, the losses of its tokens, the gradient of a new one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from oga_core.data import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.gradients import parameters_in
from oga_core.measured import CHARACTERS, SampleGradient, TokenLosses
from oga_core.models import Classifier, load_model
from oga_core.scoring.tasks import scoring_of


class OpenedModel:
    """A model with its data, opened in this process when it is first asked.

    Parameters
    ----------
    dataset
        The data.
    model, weights
        As `load_model` takes them.
    """

    def __init__(self, dataset: Dataset, model: str | None, weights: Path | None) -> None:
        self.dataset = dataset
        self._arguments = model, weights

    @cached_property
    def _model(self) -> Classifier:
        return load_model(*self._arguments, self.dataset)

    def squared_norms(self, index: int, scope: str) -> dict[str, float]:
        """Return ‖∂ℓ/∂θ‖² of one sample for each parameter in a scope, by name.

        Parameters
        ----------
        index
            Position in the data.
        scope
            As `oga_core.score` takes it.

        Raises
        ------
        InputError
            If the model cannot be opened, or the sample not be read.
        """
        model = self._model
        parameters = parameters_in(model.module, scope, model.head)
        try:
            encoded = model.encoded(self.dataset.load(index))
        except SampleError as error:
            raise InputError(f"{self.dataset.sources[index]} cannot be read: {error}") from error
        loss = scoring_of(model.task).sample_loss(model, self.dataset, index, encoded)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return {name: 0.0 if grad is None else float(grad.double().square().sum()) for name, grad in zip(parameters, found)}

    def token_losses(self, index: int) -> TokenLosses:
        """Return the losses of the tokens of one sample.

        Parameters
        ----------
        index
            Position in the data.

        Raises
        ------
        InputError
            If the model cannot be opened or its task has no losses of tokens, or the sample cannot be read.
        """
        try:
            return scoring_of(self._model.task).token_losses(self._model, self.dataset.load(index))
        except SampleError as error:
            raise InputError(f"{self.dataset.sources[index]} cannot be read: {error}") from error

    def gradient(self, given: str, target: str, scope: str, seed: int, head: str | None) -> SampleGradient:
        """Return the gradient of a new sample, in the space of the sketches of a run.

        Parameters
        ----------
        given, target
            A prompt and its answer; for a classifier a text and the name of its class.
        scope, seed, head
            As `oga_core.score` takes them.

        Raises
        ------
        InputError
            If the model cannot be opened, or the sample is none that it can read.
        """
        for words in (given, target):
            if len(words) > CHARACTERS:
                raise InputError(f"the test prompt or its answer has {len(words):,} characters; at most {CHARACTERS:,} are taken")
        model = self._model
        task = scoring_of(model.task)
        try:
            sample, label = task.make_sample(self.dataset, given, target)
            encoded = model.encoded(sample)
        except SampleError as error:
            raise InputError(f"the test sample cannot be read: {error}") from error
        each = task.make_pass(model, self.dataset, scope, head, seed)
        found, finite = each.score_batch(np.zeros(1, np.int64), np.array([""]), [encoded], np.array([label]))
        if not finite[0]:
            raise InputError("the model's output for the test sample is not finite")
        factors = found.factors()
        return SampleGradient(factors.residuals[0], factors.features[0], float(found.l2[0]), float(found.loss[0]))
