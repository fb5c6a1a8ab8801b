"""What is asked of a model about one sample: where its gradient is long, its tokens' losses, the gradient of a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from oga_core.data import Dataset, SampleError
from oga_core.data.tables import Answered
from oga_core.errors import InputError
from oga_core.gradients import NextToken, parameters_in
from oga_core.measured import CHARACTERS, SampleGradient, TokenLosses
from oga_core.models import Classifier, LanguageModel, label_indices, load_model
from oga_core.models.classifier import find_logits, run
from oga_core.models.language_model import token_logits, token_losses as losses_of_tokens
from oga_core.scoring.answers import AnswerPass
from oga_core.scoring.one_pass import OnePass, Pass

Load = Callable[[str | None, Path | None, Dataset], Classifier]


def squared_norms(dataset: Dataset, index: int, scope: str, model: str | None, weights: Path | None) -> dict[str, float]:
    """‖∂ℓ/∂θ‖² of one sample for each parameter in a scope, by name.

    Parameters
    ----------
    index
        Position in the data.
    scope
        As `oga_core.score` takes it.
    model, weights
        As `load_model` takes them.

    Raises
    ------
    InputError
        If the model cannot be opened, or the sample not be read.
    """
    classifier = load_model(model, weights, dataset)
    parameters = parameters_in(classifier.module, scope, classifier.head)
    try:
        encoded = classifier.encoded(dataset.load(index))
    except SampleError as error:
        raise InputError(f"{dataset.sources[index]} cannot be read: {error}") from error
    if isinstance(classifier, LanguageModel):
        batch, targets = classifier.batch([encoded])
        loss = NextToken()(token_logits(run(classifier.module, batch)).double(), targets).sum()
    else:
        logits = find_logits(run(classifier.module, classifier.collate([encoded])), classifier.name)
        loss = functional.cross_entropy(logits.double(), _target(classifier, dataset, index))
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: 0.0 if grad is None else float(grad.double().square().sum()) for name, grad in zip(parameters, found)}


def _target(classifier: Classifier, dataset: Dataset, index: int) -> torch.Tensor:
    """The given label as its position in the logits, int64, shape ``(1,)``."""
    return torch.from_numpy(label_indices(classifier, dataset)[dataset.labels[[index]]])


def token_losses(dataset: Dataset, index: int, model: str | None, weights: Path | None, load: Load = load_model) -> TokenLosses:
    """The losses of the tokens of one sample.

    Parameters
    ----------
    index
        Position in the data.
    model, weights, load
        What `load_model` takes, and that itself or what keeps the model for the next sample.

    Raises
    ------
    InputError
        If the model cannot be opened or is no language model, or the sample cannot be read.
    """
    found = load(model, weights, dataset)
    if not isinstance(found, LanguageModel):
        raise InputError(f"model {found.name} is a classifier, which has no losses of tokens")
    try:
        return losses_of_tokens(found, dataset.load(index))
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
    """The gradient of a new sample, in the space of the sketches of a run.

    Parameters
    ----------
    dataset
        The run's data, with whose first samples the model is probed.
    prompt, answer, scope, seed, head
        As `influence_of` and `oga_core.score` take them.
    model, weights, load
        What `load_model` takes, and that itself or what keeps the model for the next sample.

    Raises
    ------
    InputError
        If the model cannot be opened, or the sample is none that it can read.
    """
    for words in (prompt, answer):
        if len(words) > CHARACTERS:
            raise InputError(f"the test prompt or its answer has {len(words):,} characters; at most {CHARACTERS:,} are taken")
    classifier = load(model, weights, dataset)
    each: Pass
    sample: str
    if isinstance(classifier, LanguageModel):
        sample, label = Answered(prompt, answer), 0
        each = AnswerPass(classifier, dataset, scope, seed, head)
    else:
        if len(getattr(dataset, "inputs", ())) > 1:
            raise InputError("these data are pairs of texts: a test sample must be one of the run's")
        if answer not in dataset.class_names:
            raise InputError(f"{answer!r} is not a class of these data; there are: {', '.join(dataset.class_names[:20])}")
        sample, label = prompt, dataset.class_names.index(answer)
        each = OnePass(classifier, dataset, label_indices(classifier, dataset), scope, head, seed)
    try:
        if not (answer if isinstance(sample, Answered) else prompt).strip():
            raise SampleError(f"the {'answer' if isinstance(sample, Answered) else 'text'} is empty")
        encoded = classifier.encoded(sample)
    except SampleError as error:
        raise InputError(f"the test sample cannot be read: {error}") from error
    found, finite = each.score_batch(np.zeros(1, np.int64), np.array([""]), [encoded], np.array([label]))
    if not finite[0]:
        raise InputError("the model's output for the test sample is not finite")
    factors = found.factors()
    return SampleGradient(factors.residuals[0], factors.features[0], float(found.l2[0]), float(found.loss[0]))
