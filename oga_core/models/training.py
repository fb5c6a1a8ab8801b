"""Fitting a starter model: seeded, briefly, so that it still disagrees with labels that do not fit their samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oga_core.data.dataset import Dataset, SampleError, Unreadable
from oga_core.errors import InputError
from oga_core.models import inputs
from oga_core.models.architectures import STARTERS, build, check_architecture, kind_of
from oga_core.models.classifier import Classifier, find_logits, run
from oga_core.progress import Progress, silent
from oga_core.threads import threads_for

HELD_OUT = 10
"""One sample in so many is held out."""
CACHE_BYTES = 1 << 30
"""Encoded samples up to this size stay in memory; larger sets are read again in each epoch."""
REPORT_SECONDS = 0.1
KEEP = 0.5
"""Share of a text's n-grams seen in a step: a rare one alone should not be enough to learn a wrong label by heart."""
MAX_BATCH = 256
FEWEST_STEPS, MOST_EPOCHS = 100, 50
"""Small sets are seen more often, so that the model learns anything at all."""
AfterEpoch = Callable[[int, Classifier], None]
"""``after_epoch(epoch, classifier)``, counted from 1; the classifier is in eval mode and is trained further afterwards."""


@dataclass(frozen=True)
class Recipe:
    """How an architecture is fitted: AdamW, one cycle of the learning rate.

    Attributes
    ----------
    epochs
        Passes over the data: fewer (at least 3) where that would come to more than ``most_seen`` samples.
    batch
        Samples in a step; more in large sets.
    rate, decay, dropout
        Largest learning rate, weight decay, and dropout before the head.
    """

    epochs: int
    batch: int
    rate: float
    decay: float
    dropout: float = 0.0
    most_seen: int = 1_000_000


RECIPES = {
    "small_resnet": Recipe(epochs=16, batch=64, rate=6e-3, decay=5e-2, most_seen=160_000),
    "text_ngrams": Recipe(epochs=5, batch=32, rate=5e-3, decay=1e-2, dropout=0.7),
    "feature_mlp": Recipe(epochs=5, batch=64, rate=3e-3, decay=1e-2, dropout=0.5),
}
OTHER = Recipe(epochs=10, batch=32, rate=1e-3, decay=5e-2)
"""For torchvision's architectures, from random weights."""


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training.

    Attributes
    ----------
    classifier
        The fitted model.
    accuracy
        Share of the held-out samples whose given label it predicts; None if too few samples were there to hold any out.
    held_out
        Positions of the held-out samples in the data, int64.
    epochs
        Epochs that were trained.
    skipped
        Samples that could not be read or have no label.
    """

    classifier: Classifier
    accuracy: float | None
    held_out: np.ndarray
    epochs: int
    skipped: list[Unreadable]


def starter_for(dataset: Dataset) -> str:
    """The starter architecture that suits the kind of data; InputError where there is none."""
    if dataset.task.no_starter:
        raise InputError(dataset.task.no_starter)
    return next(name for name, kind in STARTERS.items() if kind == dataset.kind)


def train(
    dataset: Dataset,
    arch: str | None = None,
    *,
    seed: int = 0,
    epochs: int | None = None,
    hold_out: bool = True,
    after_epoch: AfterEpoch | None = None,
    progress: Progress = silent,
) -> TrainedModel:
    """Fit a model to the given labels.

    Parameters
    ----------
    dataset
        The data; one sample in ten, spread over the classes, is held out.
    arch
        An architecture; by default the starter for this kind of data.
    seed
        Of the weights, the order, the augmentation and the held-out share. The caller's random state is left alone.
    epochs
        Passes over the data; by default as many as `schedule` gives.
    hold_out
        Whether any samples are held out; without, all are learned from.
    after_epoch
        Called after each epoch; what it does leaves the training as it is, unless it changes the weights.
    progress
        Told ``training epoch e of E`` with the steps done and to do, several times a second.

    Raises
    ------
    InputError
        If the architecture does not take such data, or fewer than two classes can be read.

    Examples
    --------
    >>> trained = oga.train(dataset, epochs=2)
    >>> trained.classifier.name, trained.epochs
    ('feature_mlp', 2)
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"{epochs} epochs: at least one is needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = make_untrained(dataset, arch)
        recipe = RECIPES.get(classifier.name, OTHER)
        samples = _Samples(dataset, classifier, _every(progress))
        labels = dataset.labels[samples.rows]
        if len(np.unique(labels)) < 2:
            raise InputError(f"{len(samples.rows)} samples can be read, of {len(np.unique(labels))} class; two are needed")
        rng = np.random.default_rng(seed)
        held = _hold_out(labels, rng) if hold_out else np.empty(0, np.int64)
        fit = np.setdiff1d(np.arange(len(labels)), held)
        steps, usual = schedule(classifier.name, len(fit))
        total = epochs or usual
        _fit(classifier, samples, torch.from_numpy(labels), fit, recipe, steps, total, rng, after_epoch, _every(progress))
        accuracy = _accuracy(classifier, samples, labels, held) if len(held) else None
    return TrainedModel(classifier, accuracy, samples.rows[held], total, samples.skipped)


def make_untrained(dataset: Dataset, arch: str | None = None) -> Classifier:
    """The model that `train` begins with, its weights drawn from torch's random state.

    Raises
    ------
    InputError
        If the architecture is unknown or does not take such data, or no sample can be read.
    """
    name = check_architecture(arch or starter_for(dataset))
    if kind_of(name) != dataset.kind:
        raise InputError(f"{name} takes {kind_of(name)} data, and these are {dataset.kind}")
    recipe = RECIPES.get(name, OTHER)
    spec = inputs.spec_for(name, dataset) | ({"dropout": recipe.dropout} if recipe.dropout else {})
    encode, collate = inputs.encoder_for(name, spec)
    module = build(name, len(dataset.class_names), spec)
    head = "head" if name in STARTERS else None
    return Classifier(name, module, list(dataset.class_names), encode, collate, head=head, spec=spec)


def schedule(name: str, n: int) -> tuple[int, int]:
    """Steps an epoch, and epochs, by which an architecture is fitted to n samples."""
    recipe = RECIPES.get(name, OTHER)
    steps = max(1, n // min(max(recipe.batch, n // 200), MAX_BATCH))
    usual = min(recipe.epochs, max(3, recipe.most_seen // max(1, n)))
    return steps, max(usual, min(MOST_EPOCHS, -(-FEWEST_STEPS // steps)))


def _hold_out(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every tenth sample of a random order sorted by class, sorted."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return np.sort(by_class[HELD_OUT // 2 :: HELD_OUT])


def _every(progress: Progress) -> Progress:
    """The same progress, passed on a few times a second."""
    last = [0.0]

    def report(stage: str, done: int, total: int) -> None:
        if done >= total or time.monotonic() - last[0] >= REPORT_SECONDS:
            last[0] = time.monotonic()
            progress(stage, done, total)

    return report


class _Samples:
    """The readable samples encoded: in memory while they are small, else read again when they are asked for.

    Attributes
    ----------
    rows
        Positions in the data of the samples that can be read and have a label, int64.
    skipped
        The others.
    """

    def __init__(self, dataset: Dataset, classifier: Classifier, progress: Progress) -> None:
        self.dataset, self.encode, self.collate = dataset, classifier.encode, classifier.collate
        self.skipped: list[Unreadable] = []
        self.encoded: Tensor | list[Any] | None = []
        rows, size = [], 0
        for index in range(len(dataset)):
            progress("reading samples", index + 1, len(dataset))
            try:
                if dataset.labels[index] < 0:
                    raise SampleError("has no label")
                sample = self.encode(dataset.load(index))
            except SampleError as error:
                self.skipped.append(Unreadable(index, str(dataset.sources[index]), str(error)))
                continue
            rows.append(index)
            size += sample.nbytes + 100
            if size > CACHE_BYTES:
                self.encoded = None
            elif isinstance(self.encoded, list):
                self.encoded.append(sample)
        self.rows = np.array(rows, np.int64)
        if isinstance(self.encoded, list) and self.encoded and dataset.kind != "text":
            self.encoded = torch.stack(self.encoded)

    def stacked(self, positions: np.ndarray) -> Any:
        """Encoded samples: a tensor with one row each, or a list."""
        if self.encoded is None:
            samples = [self.encode(self.dataset.load(int(self.rows[p]))) for p in positions]
            return samples if self.dataset.kind == "text" else torch.stack(samples)
        if isinstance(self.encoded, Tensor):
            return self.encoded[torch.from_numpy(positions)]
        return [self.encoded[p] for p in positions]

    def batches(self, positions: np.ndarray, batch: int) -> Iterator[Any]:
        """Module inputs for the positions, in their order."""
        for start in range(0, len(positions), batch):
            yield self.collate(list(self.stacked(positions[start : start + batch])))


def _fit(
    classifier: Classifier,
    samples: _Samples,
    labels: Tensor,
    fit: np.ndarray,
    recipe: Recipe,
    steps: int,
    epochs: int,
    rng: np.random.Generator,
    after_epoch: AfterEpoch | None,
    progress: Progress,
) -> None:
    module = classifier.module
    if classifier.name == "feature_mlp":
        values = samples.stacked(fit[: inputs.LOOKED_AT * 100]).double()
        spread = values.std(0, correction=0)
        module.mean.copy_(values.mean(0))  # type: ignore[operator]
        module.std.copy_(torch.where(spread > 1e-12, spread, 1.0))  # type: ignore[operator]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    decayed = [p for p in module.parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": recipe.decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, fused=True)  # texts train in a quarter of the time
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=max(5, steps * epochs + 1), pct_start=0.25)
    flip = classifier.name == "small_resnet" and _may_flip(samples, fit)
    layout = torch.channels_last if classifier.name == "small_resnet" else torch.contiguous_format  # a quarter faster
    module.to(memory_format=layout).train()
    largest = _largest_product(classifier, next(samples.batches(fit, -(-len(fit) // steps))))
    for epoch in range(epochs):
        with threads_for(largest):
            for step, positions in enumerate(np.array_split(rng.permutation(fit), steps)):
                progress(f"training epoch {epoch + 1} of {epochs}", epoch * steps + step, epochs * steps)
                stacked = samples.stacked(positions)
                if classifier.name == "small_resnet":
                    stacked = _augment(stacked, flip)
                if isinstance(stacked, list):
                    stacked = [ids[torch.rand(len(ids)) < KEEP] for ids in stacked]
                batch = classifier.collate(list(stacked))
                if layout is torch.channels_last:
                    batch = batch.to(memory_format=layout)
                logits = find_logits(run(module, batch), classifier.name)
                loss = F.cross_entropy(logits, labels[positions])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                cycle.step()
        if after_epoch is not None:
            module.eval()
            with torch.random.fork_rng(devices=[]):
                after_epoch(epoch + 1, classifier)
            module.train()
    progress(f"training epoch {epochs} of {epochs}", epochs * steps, epochs * steps)
    module.to(memory_format=torch.contiguous_format).eval()


def _largest_product(classifier: Classifier, batch: Any) -> int:
    """Multiplications of the layer that has the most of them, for a batch."""
    found = [0]

    def seen(layer: nn.Module, given: object, output: Tensor) -> None:
        found.append(output.numel() * layer.weight[0].numel())  # type: ignore[index]

    hooks = [m.register_forward_hook(seen) for m in classifier.module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = classifier.module.training
    classifier.module.eval()
    classifier.logits(batch)
    classifier.module.train(training)
    for hook in hooks:
        hook.remove()
    return max(found)


def _may_flip(samples: _Samples, fit: np.ndarray) -> bool:
    """Whether a mirror image means the same: photographs in colour, not writing."""
    if all(len(name) == 1 for name in samples.dataset.class_names):
        return False
    some = samples.stacked(fit[:100])
    return not torch.equal(some[:, 0], some[:, 2])


def _augment(images: Tensor, flip: bool) -> Tensor:
    """Shift each image by up to an eighth of its side; mirror half of them where asked."""
    n, _, height, width = images.shape
    most = max(1, width // 8)
    padded = F.pad(images, (most, most, most, most))
    down, right = torch.randint(0, 2 * most + 1, (2, n))
    rows = (torch.arange(height) + down[:, None])[:, :, None]
    columns = torch.arange(width) + right[:, None]
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows, columns[:, None, :]].permute(0, 3, 1, 2)


def _accuracy(classifier: Classifier, samples: _Samples, labels: np.ndarray, held: np.ndarray) -> float:
    predicted = [classifier.logits(batch).argmax(1) for batch in samples.batches(held, 256)]
    return float((torch.cat(predicted).numpy() == labels[held]).mean())
