"""Saved state of a scoring that is not done: its starters, and the closed shards of its passes, each with its hash.

A scoring that was killed and is started again takes what is there and whole, and does the rest. The result is, byte for byte,
that of one that nothing has broken.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout

from oga_core.data import Dataset, SampleError, Unreadable
from oga_core.data.inventory import Inventory
from oga_core.errors import InputError
from oga_core.files import PRIVATE_FILE, PRIVATE_FOLDER, remove_unfinished, save_array
from oga_core.models import Classifier, TrainedModel, load_model, save_weights
from oga_core.runs import Run
from oga_core.runs.run import SAVED_STATE
from oga_core.scoring.scored_samples import ScoredSamples

FORMAT = 2
VERSIONS, IDS, WEIGHTS = f"{SAVED_STATE}/versions.json", f"{SAVED_STATE}/sample_ids.npy", f"{SAVED_STATE}/weights.txt"
RESERVE = 16 << 20
"""Bytes of the disk that scoring leaves free: decisions need them."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def identity(dataset: Dataset, row: int) -> str:
    """The id of a sample, empty where it cannot be read."""
    try:
        return dataset.sample_id(row)
    except SampleError:
        return ""


class Shard(NamedTuple):
    """Some consecutive samples of a pass: where the next shard begins, those that were scored (None: no one), the others."""

    stop: int
    samples: ScoredSamples | None
    failed: list[Unreadable]


class SavedState:
    """The saved state of a run that is being scored, in its folder ``parts``.

    Parameters
    ----------
    run
        The run, whose settings stay as they are.
    dataset
        Its data, which must stay as they are, too.
    inventory
        Of these data as they are now.

    Raises
    ------
    InputError
        If the data are no longer those that the run was begun with.
    """

    def __init__(self, run: Run, dataset: Dataset, inventory: Inventory) -> None:
        self.run, self.inventory, self._ids = run, inventory, inventory.sample_ids
        for folder in (run.path, run.path / SAVED_STATE):
            remove_unfinished(folder)
        if not run.intact(VERSIONS) or json.loads((run.path / VERSIONS).read_text("utf-8")) != _versions():
            self.remove()  # another version may compute other last digits
        (run.path / SAVED_STATE).mkdir(PRIVATE_FOLDER, exist_ok=True)
        if run.intact(IDS):
            self._compare(np.load(run.path / IDS), dataset)
        else:
            self.add(IDS, partial(save_array, self._ids), self._ids.nbytes)
            self.add(VERSIONS, lambda path: path.write_text(json.dumps(_versions()), "utf-8"))

    def _compare(self, before: np.ndarray, dataset: Dataset) -> None:
        if len(before) != len(self._ids):
            raise InputError(
                f"the data have changed since run {self.run.id} was begun: there were {len(before):,} samples, now "
                f"there are {len(self._ids):,}; score them anew"
            )
        for row in np.flatnonzero(before != self._ids)[:1]:
            self._changed(str(dataset.sources[int(row)]))

    def check(self, row: int, sample_id: str, source: str) -> None:
        """InputError if a sample is no longer the one that was there when the run was begun."""
        if self._ids[row] != sample_id.encode():
            self._changed(source)

    def _changed(self, source: str) -> None:
        raise InputError(f"{source} has changed since run {self.run.id} was begun; score the data anew")

    def only_of(self, classifier: Classifier) -> None:
        """Forget the shards of a given model where its weights are no longer the same."""
        digest = hashlib.sha256()
        for name, values in classifier.module.state_dict().items():
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        if not self.run.intact(WEIGHTS) or (self.run.path / WEIGHTS).read_text("ascii") != digest.hexdigest():
            self.run.remove_files([name for name in self.run.file_names() if name.startswith(f"{SAVED_STATE}/pass")])
            self.add(WEIGHTS, lambda path: path.write_text(digest.hexdigest(), "ascii"))

    def starter(self, file: str, dataset: Dataset, fit: Callable[[], TrainedModel]) -> tuple[Classifier, dict[str, Any]]:
        """A starter that was kept, else a fitted one; read from its file either way, so that both compute the same.

        Parameters
        ----------
        file
            Where its weights are kept in the run's folder.
        dataset
            What it was fitted to.

        Returns
        -------
        The starter, and of its training ``epochs`` and ``accuracy``.
        """
        about = f"{SAVED_STATE}/{Path(file).stem}.json"
        if not (self.run.intact(about) and self.run.intact(file)):
            trained = fit()
            facts = {"epochs": trained.epochs, "accuracy": trained.accuracy}
            self.add(about, lambda path: path.write_text(json.dumps(facts), "utf-8"))
            self.add(file, partial(save_weights, trained.classifier), 4 * trained.classifier.parameters)
        return load_model(None, self.run.path / file, dataset), json.loads((self.run.path / about).read_text("utf-8"))

    def shards(self, name: str) -> dict[int, Shard]:
        """The whole shards of a pass, by where they begin; one whose hash has changed is not among them."""
        found: dict[int, Shard] = {}
        for file in self.run.file_names():
            if file.startswith(f"{SAVED_STATE}/{name}-") and file.endswith(".npz") and self.run.intact(file):
                start, stop = map(int, Path(file).stem.removeprefix(f"{name}-").split("-"))
                with np.load(self.run.path / file, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}
                failed = [Unreadable(*one) for one in json.loads(arrays.pop("failed").tobytes())]
                found[start] = Shard(stop, ScoredSamples(**arrays) if arrays else None, failed)
        return found

    def keep(self, name: str, start: int, shard: Shard, total: int) -> None:
        """Write a closed shard.

        Parameters
        ----------
        total
            Samples of the pass: the error names how much they need where the disk is full.
        """
        failed = np.frombuffer(json.dumps([[f.index, f.source, f.reason] for f in shard.failed]).encode(), np.uint8)
        arrays = shard.samples.arrays() if shard.samples else {}
        size = sum(values.nbytes for values in arrays.values()) + failed.nbytes
        rest = size * (2 * total - start) // (shard.stop - start)  # the shards to come, and the files that all are joined in
        self.add(f"{SAVED_STATE}/{name}-{start}-{shard.stop}.npz", lambda path: _save(path, arrays, failed), size, rest)

    def add(self, name: str, write: Callable[[Path], object], size: int = 0, rest: int = 0) -> None:
        """Write a file of some bytes, after which about ``rest`` more are to come; InputError where the disk is too full."""
        with reserve_disk(self.run, size, rest):
            self.run.add_file(name, write)

    def remove(self) -> None:
        """Remove all that was saved."""
        self.run.remove_files([name for name in self.run.file_names() if name.startswith(f"{SAVED_STATE}/")])
        shutil.rmtree(self.run.path / SAVED_STATE, ignore_errors=True)


@contextmanager
def reserve_disk(run: Run, size: int, rest: int = 0) -> Iterator[None]:
    """While open, files of some bytes are written into a run's folder, and about ``rest`` later.

    Raises
    ------
    InputError
        If the disk is full, or would be so full that decisions could not be saved; the message names how much is needed.
    """
    if shutil.disk_usage(run.path).free < size + RESERVE:
        raise _full(run, max(size, rest))
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "errno", None) in FULL or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise _full(run, max(size, rest)) from error
        raise


def _full(run: Run, needed: int) -> InputError:
    free = shutil.disk_usage(run.path).free
    return InputError(
        f"the disk of {run.path} is too full: {_megabytes(free)} are free, and this run needs about "
        f"{_megabytes(needed + RESERVE)}; free some, then resume (Continue on the page, or oga resume {run.id}): "
        "what is done is kept"
    )


def _megabytes(size: int) -> str:
    return f"{-(-size // (1 << 20)):,} MB"


@contextmanager
def lock_run(run: Run) -> Iterator[None]:
    """While open, no other process scores this run; InputError where one does already, or nothing can be saved."""
    run.workspace.check_writable()
    lock = FileLock(run.path / "score.lock", mode=PRIVATE_FILE)
    try:
        lock.acquire(blocking=False)  # the system gives it back, however this process ends
    except Timeout as error:
        raise InputError(f"run {run.id} is being scored by another process") from error
    try:
        yield
    finally:
        lock.release()


def _versions() -> dict[str, Any]:
    return {"format": FORMAT, **{name: version(name) for name in ("oga-core", "torch", "numpy")}}


def _save(path: Path, arrays: dict[str, np.ndarray], failed: np.ndarray) -> None:
    with open(path, "wb") as handle:
        np.savez(handle, failed=failed, **arrays)  # type: ignore[arg-type]
