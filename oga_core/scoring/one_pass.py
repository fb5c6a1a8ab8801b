"""One pass over samples: encoding them, and their losses and gradients by the closed form or the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from oga_core.data import Dataset, Part, SampleError, Unreadable
from oga_core.errors import InputError
from oga_core.gradients import (
    HEAD,
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
from oga_core.models.classifier import find_logits
from oga_core.scoring.parts import Parts, Shard, identity

BATCH = 64
LOOKED_AT = 8
"""Samples that the head is searched with, and the model is probed with."""

SHARD, SHARD_SECONDS = 4096, 20.0
"""Samples and time after which a shard is closed, and is not done again if the process is killed."""
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
        self, classifier: Classifier, dataset: Dataset, outputs: np.ndarray, scope: str = HEAD, head: str | None = None,
        seed: int = 0,
    ) -> None:  # fmt: skip
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
            classifier.module, self.scope, seed=seed, collate=classifier.collate,
            output=partial(find_logits, name=classifier.name),
        )  # fmt: skip
        self._engine.prepare(encoded, torch.from_numpy(outputs[dataset.labels[rows]]))
        values = sum(self._engine.parameters.values())
        self.notes = [f"scope {self.scope}: {len(self._engine.parameters)} parameters, {values:,} values", *self._engine.notes]

    def __call__(self, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Columns and factors of a batch, a row each; ``finite`` says which are to be believed."""
        targets = torch.from_numpy(self.outputs[labels])
        out: dict[str, np.ndarray] = {"index": rows, "sample_id": ids}
        finite = np.ones(len(rows), bool)
        if self.head is not None:
            with captured_features(self._layer) as seen:
                logits = self.classifier.logits(self.classifier.collate(encoded))
            found = head_gradients(logits, seen[-1], targets)
            out |= {"l1": found.l1, "l2": found.l2}
            finite &= np.isfinite(found.residuals).all(1) & np.isfinite(found.features).all(1)
            out |= _split("features", "feature", found.features, finite)
        if self.scope == HEAD:
            out |= _split("residuals", "residual", found.residuals, finite)
        else:
            batches = [b for _, b in in_batches(self._engine, range(len(encoded)), lambda some: (
                [encoded[i] for i in some], targets[list(some)]))]  # fmt: skip
            whole = joined(batches)
            logits = whole.output
            assert whole.l1 is not None
            assert whole.l2 is not None
            assert whole.sketch is not None
            found = head_gradients(logits, torch.ones(len(rows), 1), targets)
            finite &= np.isfinite(whole.sketch).all(1) & np.isfinite(whole.l2)
            out |= {"l1": whole.l1, "l2": whole.l2, **_split("sketches", "sketch", whole.sketch.astype(np.float64), finite)}
            # A sketch has the gradient's length up to chance; the gradient's own is known.
            out["sketch_norms"] = np.where(finite, whole.l2, 0).astype(np.float32)
        others = torch.full_like(logits, -torch.inf)
        others[:, self.outputs] = logits[:, self.outputs]
        others[torch.arange(len(rows)), targets] = -torch.inf
        return out | {
            "finite": finite & np.isfinite(found.losses), "predicted": logits.argmax(1).numpy(), "loss": found.losses,
            "best_other": others.argmax(1).numpy(), "logits": logits.numpy(), "targets": targets.numpy(),
        }  # fmt: skip


def passed(
    each: OnePass, dataset: Dataset, progress: Callable[[int, int], None], parts: Parts | None = None, name: str = "pass"
) -> tuple[dict[str, np.ndarray], list[Unreadable]]:
    """One pass over a data set: the columns of the samples that could be scored, and the others with their reasons.

    Parameters
    ----------
    parts, name
        Where closed shards are kept, and what those of this pass are called; one that is there is not done again.

    Raises
    ------
    InputError
        If a sample has changed since the run was begun, or the disk has no room for a shard.
    """
    total, start = len(dataset), 0
    shards = parts.shards(name) if parts else {}
    while start < total:
        if start not in shards:
            end = min((other for other in shards if other > start), default=total)
            shards[start] = _shard(each, dataset, start, end, progress, parts)
            if parts:
                parts.keep(name, start, shards[start], total)
        start = shards[start].stop
    done = [shards.pop(at) for at in sorted(shards)]
    columns = [shard.columns for shard in done if shard.columns]
    whole = {column: np.concatenate([c[column] for c in columns]) for column in columns[0]} if columns else {}
    return whole, [one for shard in done for one in shard.failed]


def _shard(
    each: OnePass, dataset: Dataset, first: int, end: int, progress: Callable[[int, int], None], parts: Parts | None
) -> Shard:
    """Samples from the first on, until the shard is large or took long.

    A batch has the same samples whatever shard it is in, for the last digits depend on them.
    """
    began, start = time.monotonic(), first
    rows_of = dataset.rows if isinstance(dataset, Part) else range(len(dataset))
    failed: list[Unreadable] = []
    done: list[dict[str, np.ndarray]] = []
    while start < end and start - first < SHARD and time.monotonic() - began < SHARD_SECONDS:
        rows, batch, ids = [], [], []
        for i in range(start, min(start + BATCH, end)):
            source = str(dataset.sources[i])
            try:
                sample_id = ""
                if dataset.labels[i] < 0:
                    raise SampleError("has no label")
                encoded = each.classifier.encoded(dataset.load(i))
                sample_id = dataset.sample_id(i)
            except SampleError as error:
                failed.append(Unreadable(i, source, str(error)))
                sample_id = identity(dataset, i)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                failed.append(Unreadable(i, source, TOO_LARGE))
                sample_id = identity(dataset, i)
            else:
                batch.append(encoded)
                ids.append(sample_id)
                rows.append(i)
            if parts:
                parts.check(int(rows_of[i]), sample_id, source)
        if rows:
            for part, bad in _halved(each, np.array(rows), np.array(ids), batch, dataset.labels[rows]):
                failed += [Unreadable(r, str(dataset.sources[r]), reason) for r, reason in bad]
                if part:
                    done.append(part)
        start = min(start + BATCH, end)
        progress(start, len(dataset))
    failed.sort(key=lambda one: one.index)
    return Shard(start, {name: np.concatenate([p[name] for p in done]) for name in done[0]} if done else {}, failed)


def _halved(
    each: OnePass, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
) -> Iterator[tuple[dict[str, np.ndarray], list[tuple[int, str]]]]:
    """The columns of a batch, and its rows that could not be scored with their reasons; in halves where memory runs out."""
    try:
        part = each(rows, ids, encoded, labels)
    except (RuntimeError, MemoryError, InputError) as error:
        if not out_of_memory(error.__cause__ or error):
            raise
        part = None
    if part is not None:
        bad = ~part.pop("finite")
        yield {name: values[~bad] for name, values in part.items()}, [(int(r), NOT_FINITE) for r in rows[bad]]
    elif len(rows) == 1:
        yield {}, [(int(rows[0]), TOO_LARGE)]
    else:  # outside of ``except``: the error holds what was computed
        for half in (slice(len(rows) // 2), slice(len(rows) // 2, None)):
            yield from _halved(each, rows[half], ids[half], encoded[half], labels[half])


def _split(plural: str, singular: str, vectors: np.ndarray, finite: np.ndarray) -> dict[str, np.ndarray]:
    units, norms = unit_rows(np.where(finite[:, None], vectors, 0))
    return {plural: units, f"{singular}_norms": norms}
