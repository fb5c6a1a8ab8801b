"""One pass over a data set, in shards that are kept: each sample is read, encoded and scored once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from oga_core.containment import bound_reading
from oga_core.data import Dataset, SampleError, Subset, Unreadable
from oga_core.errors import InputError
from oga_core.gradients import is_out_of_memory
from oga_core.models import Classifier
from oga_core.scoring.saved_state import SavedState, Shard, identity
from oga_core.scoring.scored_samples import ScoredSamples

BATCH = 64
SHARD, SHARD_SECONDS = 4096, 20.0
"""Samples and time after which a shard is closed, and is not done again if the process is killed."""
WINDOW = 1024
"""Samples that are put in the order of their lengths, where those of a batch are padded to the longest."""
NOT_FINITE = "the model's output is not finite"
TOO_LARGE = "needs more memory than there is"


class Pass(Protocol):
    """A pass, which scores each batch of encoded samples; each task has its own in `oga_core.scoring.tasks`.

    Attributes
    ----------
    model
        Encodes the samples.
    head
        Name of the layer that gives the logits; None where none was found or none is needed.
    notes
        For the user, a line each.
    """

    head: str | None
    notes: list[str]

    @property
    def model(self) -> Classifier: ...

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


def run_pass(
    each: Pass,
    dataset: Dataset,
    progress: Callable[[int, int], None],
    saved: SavedState | None = None,
    name: str = "pass",
    *,
    sizes: np.ndarray | None = None,
) -> tuple[ScoredSamples | None, list[Unreadable]]:
    """Run one pass over a data set.

    Parameters
    ----------
    progress
        Called with the number of samples done, and of all.
    saved, name
        Where closed shards are kept, and the name of those of this pass; a shard that was kept is not done again.
    sizes
        Bytes of each sample (`Inventory.sizes`), int64, shape ``(n,)``: of texts the longest come first.

    Returns
    -------
    The samples that could be scored, in the order of the data (None: not one), and the others with their reasons.

    Raises
    ------
    InputError
        If a sample has changed since the run was begun, or the disk is too full for a shard.
    """
    total, start, order = len(dataset), 0, np.arange(len(dataset))
    if sizes is not None and each.model.length:  # the longest take the most memory
        order = np.argsort(-sizes, kind="stable")
    shards = saved.shards(name) if saved else {}
    while start < total:
        if start not in shards:
            end = min((other for other in shards if other > start), default=total)
            shards[start] = _shard(each, dataset, order, start, end, progress, saved)
            if saved:
                saved.keep(name, start, shards[start], total)
        start = shards[start].stop
    done = [shards.pop(at) for at in sorted(shards)]
    failed = sorted((one for shard in done for one in shard.failed), key=lambda one: one.index)
    scored = [shard.samples for shard in done if shard.samples]
    done.clear()  # frees each shard's arrays as soon as they are joined
    samples = ScoredSamples.concat(scored) if scored else None
    if samples and each.model.length:
        samples = samples.take(np.argsort(samples.index))
    return samples, failed


class _Read(NamedTuple):
    """A sample, encoded, or the reason why it is not."""

    row: int
    sample_id: str
    encoded: Any
    reason: str


def _read(each: Pass, dataset: Dataset, rows: np.ndarray, saved: SavedState | None) -> list[_Read]:
    """Some samples, the longest first where a batch is padded to it."""
    rows_of = dataset.rows if isinstance(dataset, Subset) else range(len(dataset))
    found = []
    for i in rows.tolist():
        encoded, reason = None, ""
        try:
            if dataset.labels[i] < 0:
                raise SampleError("has no label")
            encoded = each.model.encoded(dataset.load(i))
            sample_id = dataset.sample_id(i)
        except SampleError as error:
            reason = str(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = TOO_LARGE
        if reason:
            sample_id = identity(dataset, i)
        if saved:
            saved.check(int(rows_of[i]), sample_id, str(dataset.sources[i]))
        found.append(_Read(i, sample_id, encoded, reason))
    length = each.model.length
    return sorted(found, key=lambda one: 0 if one.reason else -length(one.encoded)) if length else found


def _shard(
    each: Pass,
    dataset: Dataset,
    order: np.ndarray,
    first: int,
    end: int,
    progress: Callable[[int, int], None],
    saved: SavedState | None,
) -> Shard:
    """Samples from a place in the order on, until the shard is large or took long.

    A batch has the same samples in any shard, for the last digits depend on them.
    """
    began, start = time.monotonic(), first
    window = WINDOW if each.model.length else BATCH
    at, read = -window, list[_Read]()
    failed: list[Unreadable] = []
    done: list[ScoredSamples] = []
    while start < end and start - first < SHARD and time.monotonic() - began < SHARD_SECONDS:
        if start >= at + window:
            at = start - start % window
            with bound_reading():
                read = _read(each, dataset, order[at : at + window], saved)
        stop = min(start + BATCH, end)
        some = read[start - at : stop - at]
        failed += [Unreadable(one.row, str(dataset.sources[one.row]), one.reason) for one in some if one.reason]
        good = [one for one in some if not one.reason]
        if good:
            rows, ids = np.array([one.row for one in good]), np.array([one.sample_id for one in good])
            for scored, bad in _halve(each, rows, ids, [one.encoded for one in good], dataset.labels[rows]):
                failed += [Unreadable(r, str(dataset.sources[r]), reason) for r, reason in bad]
                if scored:
                    done.append(scored)
        start = stop
        progress(start, len(dataset))
    return Shard(start, ScoredSamples.concat(done) if done else None, failed)


def _halve(
    each: Pass, rows: np.ndarray, ids: np.ndarray, encoded: list[Any], labels: np.ndarray
) -> Iterator[tuple[ScoredSamples | None, list[tuple[int, str]]]]:
    """The samples of a batch, and its rows that could not be scored with their reasons; in halves where memory runs out."""
    try:
        found = each.score_batch(rows, ids, encoded, labels)
    except (RuntimeError, MemoryError, InputError) as error:
        if not is_out_of_memory(error.__cause__ or error):
            raise
        found = None
    if found is not None:
        samples, finite = found
        yield samples.take(finite), [(int(r), NOT_FINITE) for r in rows[~finite]]
    elif len(rows) == 1:
        yield None, [(int(rows[0]), TOO_LARGE)]
    else:  # outside of ``except``: the error holds what was computed
        for half in (slice(len(rows) // 2), slice(len(rows) // 2, None)):
            yield from _halve(each, rows[half], ids[half], encoded[half], labels[half])
