"""Questions about one sample: its gradient by parameter, the losses of its tokens, the gradient of a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from oga_core.data import Dataset, SampleError
from oga_core.errors import InputError
from oga_core.gradients import parameters_in
from oga_core.measured import CHARACTERS, SampleGradient, TokenLosses
from oga_core.models import Classifier, load_model
from oga_core.scoring.tasks import scoring_of

Load = Callable[[str | None, Path | None, Dataset], Classifier]


def squared_norms(
    dataset: Dataset, index: int, scope: str, model: str | None, weights: Path | None, load: Load = load_model
) -> dict[str, float]:
    """Return ‖∂ℓ/∂θ‖² of one sample for each parameter in a scope, by name.

    Parameters
    ----------
    index
        Position in the data.
    scope
        As `oga_core.score` takes it.
    model, weights, load
        What `load_model` takes, and that itself or a function that caches the model.

    Raises
    ------
    InputError
        If the model cannot be opened, or the sample not be read.
    """
    classifier = load(model, weights, dataset)
    parameters = parameters_in(classifier.module, scope, classifier.head)
    try:
        encoded = classifier.encoded(dataset.load(index))
    except SampleError as error:
        raise InputError(f"{dataset.sources[index]} cannot be read: {error}") from error
    loss = scoring_of(classifier.task).sample_loss(classifier, dataset, index, encoded)
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: 0.0 if grad is None else float(grad.double().square().sum()) for name, grad in zip(parameters, found)}


def token_losses(dataset: Dataset, index: int, model: str | None, weights: Path | None, load: Load = load_model) -> TokenLosses:
    """Return the losses of the tokens of one sample.

    Parameters
    ----------
    index, model, weights, load
        As `squared_norms` takes them.

    Raises
    ------
    InputError
        If the model cannot be opened or is no language model, or the sample cannot be read.
    """
    found = load(model, weights, dataset)
    try:
        return scoring_of(found.task).token_losses(found, dataset.load(index))
    except SampleError as error:
        raise InputError(f"{dataset.sources[index]} cannot be read: {error}") from error


def gradient_of(
    dataset: Dataset,
    prompt: str,
    answer: str,
    scope: str,
    seed: int,
    head: str | None,
    model: str | None,
    weights: Path | None,
    load: Load = load_model,
) -> SampleGradient:
    """Return the gradient of a new sample, in the space of the sketches of a run.

    Parameters
    ----------
    dataset
        The run's data, with whose first samples the model is probed.
    prompt, answer, scope, seed, head
        As `influence_of` and `oga_core.score` take them.
    model, weights, load
        As `squared_norms` takes them.

    Raises
    ------
    InputError
        If the model cannot be opened, or the sample is none that it can read.
    """
    for words in (prompt, answer):
        if len(words) > CHARACTERS:
            raise InputError(f"the test prompt or its answer has {len(words):,} characters; at most {CHARACTERS:,} are taken")
    classifier = load(model, weights, dataset)
    task = scoring_of(classifier.task)
    try:
        sample, label = task.make_sample(dataset, prompt, answer)
        encoded = classifier.encoded(sample)
    except SampleError as error:
        raise InputError(f"the test sample cannot be read: {error}") from error
    each = task.make_pass(classifier, dataset, scope, head, seed)
    found, finite = each.score_batch(np.zeros(1, np.int64), np.array([""]), [encoded], np.array([label]))
    if not finite[0]:
        raise InputError("the model's output for the test sample is not finite")
    factors = found.factors()
    return SampleGradient(factors.residuals[0], factors.features[0], float(found.l2[0]), float(found.loss[0]))
