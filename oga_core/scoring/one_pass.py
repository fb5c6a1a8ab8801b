"""One pass over samples: encoding them, and their losses and gradients by the closed form or the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from oga_core.containment import reading
from oga_core.data import Dataset, Part, SampleError, Unreadable
from oga_core.errors import InputError
from oga_core.gradients import (
    HEAD,
    GradientBatch,
    PerSampleGradients,
    captured_features,
    find_head,
    head_gradients,
    in_batches,
    joined,
    out_of_memory,
    unit_rows,
)
from oga_core.models import Classifier
from oga_core.models.classifier import find_logits, refusing
from oga_core.scoring.parts import Parts, Shard, identity
from oga_core.scoring.scored_samples import ScoredSamples

BATCH = 64
LOOKED_AT = 8
"""Samples that the head is searched with, and the model is probed with."""

SHARD, SHARD_SECONDS = 4096, 20.0
"""Samples and time after which a shard is closed, and is not done again if the process is killed."""
WINDOW = 1024
"""Samples that are put in the order of their lengths, where those of a batch are filled up to the longest."""
NOT_FINITE = "the model's output is not finite"
TOO_LARGE = "needs more memory than there is"


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
                encoded.append(classifier.encoded(dataset.load(int(i))))
                kept.append(int(i))
        except SampleError:
            continue
    return kept, encoded


def found_head(classifier: Classifier, encoded: list[Any], name: str | None) -> tuple[str, nn.Linear]:
    """The layer that gives a classifier's logits, by running a few encoded samples; InputError as `find_head`."""
    some = classifier.collate(encoded[:LOOKED_AT])
    return find_head(classifier.module, classifier.logits, some, name or classifier.head)


class Pass(Protocol):
    """What is done with each batch of encoded samples; of a classifier `OnePass`, of a language model `AnswerPass`."""

    classifier: Any
    head: str | None
    notes: list[str]

    def score_batch(
        self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
    ) -> tuple[ScoredSamples, np.ndarray]:
        """Score a batch.

        Parameters
        ----------
        rows, labels
            Positions in the data and given labels, int64, shape ``(n,)``.
        ids
            Sample ids, str, shape ``(n,)``.
        encoded
            What `Classifier.encode` returned for each.

        Returns
        -------
        The samples, and which of them have a finite result, bool, shape ``(n,)``; of the others, vectors and norms may be 0.

        Raises
        ------
        InputError
            As `Classifier.logits`.
        """


class OnePass:
    """One pass over samples: their loss and gradient, by the closed form for the head, else by the engine.

    Attributes
    ----------
    head
        Name of the layer that gives the logits; None where none is found and the scope does not need one.
    notes
        What the user should know.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        outputs: np.ndarray,
        scope: str = HEAD,
        head: str | None = None,
        seed: int = 0,
    ) -> None:
        rows, encoded = encoded_samples(classifier, dataset, range(len(dataset)), LOOKED_AT)
        if not encoded:
            raise InputError("none of the samples can be read")
        self.classifier, self.outputs, self.scope = classifier, outputs, scope
        self.notes: list[str] = []
        self.head: str | None = None
        try:
            self.head, self._layer = found_head(classifier, encoded, head)
        except InputError:
            if scope == HEAD or head:
                raise
        if self.scope == HEAD:
            return
        self._engine = PerSampleGradients(
            classifier.module,
            self.scope,
            seed=seed,
            head=self.head,
            collate=classifier.collate,
            output=partial(find_logits, name=classifier.name),
        )
        self._engine.prepare(encoded, torch.from_numpy(outputs[dataset.labels[rows]]))
        values = sum(self._engine.parameters.values())
        self.notes = [f"scope {self.scope}: {len(self._engine.parameters)} parameters, {values:,} values", *self._engine.notes]

    def score_batch(
        self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
    ) -> tuple[ScoredSamples, np.ndarray]:
        """As `Pass.score_batch`."""
        targets = torch.from_numpy(self.outputs[labels])
        whole = None if self.scope == HEAD else self._beyond_head(encoded, targets)
        if whole is None:
            with captured_features(self._layer) as seen:
                logits = self.classifier.logits(self.classifier.collate(encoded))
            features: torch.Tensor | None = seen[-1]
        else:
            logits, features = whole.output, whole.features
        found = head_gradients(logits, torch.ones(len(rows), 1) if features is None else features, targets)
        finite = np.isfinite(found.residuals).all(1) & np.isfinite(found.features).all(1)
        vectors: dict[str, np.ndarray] = {}
        if features is not None:
            vectors |= split("features", "feature", found.features, finite)
        if whole is None:
            l1, l2 = found.l1, found.l2
            vectors |= split("residuals", "residual", found.residuals, finite)
        else:
            l1, l2, sketch = measured(whole)
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

        with refusing(self.classifier.name):
            return joined([found for _, found in in_batches(self._engine, range(len(encoded)), batch)])


def run_pass(
    each: Pass, dataset: Dataset, progress: Callable[[int, int], None], parts: Parts | None = None, name: str = "pass"
) -> tuple[ScoredSamples | None, list[Unreadable]]:
    """Run one pass over a data set.

    Parameters
    ----------
    progress
        Called with the number of samples done, and of all.
    parts, name
        Where closed shards are kept, and the name of those of this pass; a shard that was kept is not done again.

    Returns
    -------
    The samples that could be scored, in the order of the data (None: not one), and the others with their reasons.

    Raises
    ------
    InputError
        If a sample has changed since the run was begun, or the disk is too full for a shard.
    """
    total, start, order = len(dataset), 0, _order(each, dataset)
    shards = parts.shards(name) if parts else {}
    while start < total:
        if start not in shards:
            end = min((other for other in shards if other > start), default=total)
            shards[start] = _shard(each, dataset, order, start, end, progress, parts)
            if parts:
                parts.keep(name, start, shards[start], total)
        start = shards[start].stop
    done = [shards.pop(at) for at in sorted(shards)]
    failed = sorted((one for shard in done for one in shard.failed), key=lambda one: one.index)
    scored = [shard.samples for shard in done if shard.samples]
    done.clear()  # frees each shard's arrays as soon as they are joined
    samples = ScoredSamples.concat(scored) if scored else None
    if samples and each.classifier.length:
        samples = samples.take(np.argsort(samples.index))
    return samples, failed


def _order(each: Pass, dataset: Dataset) -> np.ndarray:
    """Rows in the order in which they are passed: as they come, or the longest texts first, which take the most memory."""
    if not each.classifier.length:
        return np.arange(len(dataset))
    return np.argsort([-_characters(dataset, i) for i in range(len(dataset))], kind="stable")


def _characters(dataset: Dataset, row: int) -> int:
    try:
        return len(dataset.load(row))
    except SampleError:
        return 0


class _Read(NamedTuple):
    """A sample, encoded, or the reason why it is not."""

    row: int
    sample_id: str
    encoded: Any
    reason: str


def _read(each: Pass, dataset: Dataset, rows: np.ndarray, parts: Parts | None) -> list[_Read]:
    """Some samples, the longest first where a batch is filled up to it."""
    rows_of = dataset.rows if isinstance(dataset, Part) else range(len(dataset))
    found = []
    for i in rows.tolist():
        encoded, reason = None, ""
        try:
            if dataset.labels[i] < 0:
                raise SampleError("has no label")
            encoded = each.classifier.encoded(dataset.load(i))
            sample_id = dataset.sample_id(i)
        except SampleError as error:
            reason = str(error)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            reason = TOO_LARGE
        if reason:
            sample_id = identity(dataset, i)
        if parts:
            parts.check(int(rows_of[i]), sample_id, str(dataset.sources[i]))
        found.append(_Read(i, sample_id, encoded, reason))
    length = each.classifier.length
    return sorted(found, key=lambda one: 0 if one.reason else -length(one.encoded)) if length else found


def _shard(
    each: Pass,
    dataset: Dataset,
    order: np.ndarray,
    first: int,
    end: int,
    progress: Callable[[int, int], None],
    parts: Parts | None,
) -> Shard:
    """Samples from a place in the order on, until the shard is large or took long.

    A batch has the same samples whatever shard it is in, for the last digits depend on them.
    """
    began, start = time.monotonic(), first
    window = WINDOW if each.classifier.length else BATCH
    at, read = -window, list[_Read]()
    failed: list[Unreadable] = []
    done: list[ScoredSamples] = []
    while start < end and start - first < SHARD and time.monotonic() - began < SHARD_SECONDS:
        if start >= at + window:
            at = start - start % window
            with reading():
                read = _read(each, dataset, order[at : at + window], parts)
        stop = min(start + BATCH, end)
        some = read[start - at : stop - at]
        failed += [Unreadable(one.row, str(dataset.sources[one.row]), one.reason) for one in some if one.reason]
        good = [one for one in some if not one.reason]
        if good:
            rows, ids = np.array([one.row for one in good]), np.array([one.sample_id for one in good])
            for part, bad in _halved(each, rows, ids, [one.encoded for one in good], dataset.labels[rows]):
                failed += [Unreadable(r, str(dataset.sources[r]), reason) for r, reason in bad]
                if part:
                    done.append(part)
        start = stop
        progress(start, len(dataset))
    return Shard(start, ScoredSamples.concat(done) if done else None, failed)


def _halved(
    each: Pass, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
) -> Iterator[tuple[ScoredSamples | None, list[tuple[int, str]]]]:
    """The samples of a batch, and its rows that could not be scored with their reasons; in halves where memory runs out."""
    try:
        found = each.score_batch(rows, ids, encoded, labels)
    except (RuntimeError, MemoryError, InputError) as error:
        if not out_of_memory(error.__cause__ or error):
            raise
        found = None
    if found is not None:
        samples, finite = found
        yield samples.take(finite), [(int(r), NOT_FINITE) for r in rows[~finite]]
    elif len(rows) == 1:
        yield None, [(int(rows[0]), TOO_LARGE)]
    else:  # outside of ``except``: the error holds what was computed
        for half in (slice(len(rows) // 2), slice(len(rows) // 2, None)):
            yield from _halved(each, rows[half], ids[half], encoded[half], labels[half])


def measured(found: GradientBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L1 norms, L2 norms and sketches that the engine gave, float64; shapes ``(n,)``, ``(n,)`` and ``(n, width)``."""
    assert found.l1 is not None
    assert found.l2 is not None
    assert found.sketch is not None
    return found.l1, found.l2, found.sketch.astype(np.float64)


def split_sketches(sketch: np.ndarray, l2: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """Sketches as unit vectors, with the norms of the gradients: a sketch has that length only up to chance."""
    return {**split("sketches", "sketch", sketch, finite), "sketch_norms": np.where(finite, l2, 0).astype(np.float32)}


def split(plural: str, singular: str, vectors: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of unit vectors and norms; those of rows that are not finite are zero."""
    units, norms = unit_rows(np.where(finite[:, None], vectors, 0))
    return {plural: units, f"{singular}_norms": norms}
