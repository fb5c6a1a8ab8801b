"""A data set of which nothing is opened in this process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, NamedTuple, get_args

import numpy as np
from PIL import Image

from oga_core.data import Dataset, SampleError, locate
from oga_core.data.dataset import Kind
from oga_core.errors import InputError
from oga_core.limits import LIMITS
from oga_core.sandbox.client import NoAnswer, SandboxProcess, take_spare

TRIES = 2
"""A question that has ended the process so often is not asked again."""
DEADLY = 4096
"""Such questions that are remembered, by their hashes: the latest."""
BLOCK = 256
"""Originals that are requested at once: a request for one requests all."""
MOST = 4
"""Processes at once for images in files, which take long to decode; other data are kept in memory, by one."""


class Excerpt(NamedTuple):
    """The beginning of a text, and how many characters the text has."""

    text: str
    length: int


class SandboxedDataset(Dataset):
    """A data set that a process of its own opens, with bounds on its memory and time; where it dies, the next question starts
    another.

    Parameters
    ----------
    source, options
        As `Dataset.origin` has them.
    use_spare
        Whether to take the process that `start_spare` started.

    Raises
    ------
    InputError
        If the data cannot be opened, or the process dies of them. So does `search`.
    SampleError
        From all methods that read one sample: also if the process dies of it.
    """

    def __init__(self, source: str, options: dict[str, str], use_spare: bool = False) -> None:
        self.origin = (source, options)
        self.name = Path(source).name
        self._deaths: Counter[int] = Counter()
        self._free: list[SandboxProcess] = []
        self._places, self._more = Semaphore(1), 0
        self._originals: tuple[int, list[dict[str, str]]] = (-1, [])
        self._first = take_spare() if use_spare else None
        facts, labels = self.ask("facts"), self.ask("labels")
        try:
            self.kind, self._label = facts["kind"], str(facts["label_column"])
            self.class_names, self.notes = [str(n) for n in facts["class_names"]], [str(n) for n in facts["notes"]]
            self.labels = labels
            if self.kind not in get_args(Kind) or labels.ndim != 1 or labels.dtype != np.int64:
                raise ValueError(self.kind)
            if len(labels) and not -1 <= labels.min() <= labels.max() < len(self.class_names):
                raise ValueError("labels that are no classes")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{self.name}: the sandbox process answered what makes no sense") from error
        in_files = self.kind == "image" and (source.endswith(".zip") or Path(source).is_dir())
        self._more = min(MOST, os.cpu_count() or 1) - 1 if in_files else 0

    @cached_property
    def sources(self) -> Sequence[str]:  # type: ignore[override]
        return self.ask("sources")

    @property
    def label_column(self) -> str:
        return self._label

    def content(self, index: int) -> bytes:
        return bytes(self._of_sample("content", index))

    def load(self, index: int) -> Any:
        return self._of_sample("load", index)

    def thumbnail(self, index: int, size: int = 160) -> Image.Image:
        more, self._more = self._more, 0
        if more:  # who asks for one asks for many
            Thread(target=self._start, args=(more,), daemon=True).start()
        image: Image.Image = self._of_sample("thumbnail", index, size)
        return image

    def text(self, index: int) -> str:
        return str(self._of_sample("text", index))

    def words(self, index: int) -> tuple[str, ...]:
        return tuple(str(word) for word in self._of_sample("words", index))

    def excerpts(self, samples: Sequence[tuple[int, str]], most: int) -> list[list[Excerpt] | None]:
        """Return the beginnings of samples in words, by part as `words` has them; None where the data no longer hold a sample.

        Parameters
        ----------
        samples
            Position and id of each.
        most
            Characters of a part.

        Raises
        ------
        InputError
            As `search`.
        """
        asked = tuple((int(index), str(sample_id)) for index, sample_id in samples)
        found = self.ask("excerpts", asked, most)
        return [None if one is None else [Excerpt(str(text), int(length)) for text, length in one] for one in found]

    def sample_id(self, index: int) -> str:
        return str(self._of_sample("sample_id", index))

    def holds(self, index: int, sample_id: str) -> bool:
        return bool(self._of_sample("holds", index, sample_id))

    def original(self, index: int) -> dict[str, str]:
        start = index - index % BLOCK
        block = self._originals
        if block[0] != start:
            block = self._originals = start, [dict(row) for row in self.ask("originals", start, start + BLOCK)]
        return dict(block[1][index - start])

    def search(self, words: str) -> np.ndarray:
        found: np.ndarray = self.ask("search", words)
        return found

    def ask(self, name: str, *given: Any) -> Any:
        """Return the answer of an operation of `oga_core.sandbox.server`; InputError where there is none."""
        try:
            return self._answer(name, *given)
        except NoAnswer as lost:
            raise InputError(f"{self.name}: the sandbox process {lost}") from lost

    def _of_sample(self, name: str, index: int, *given: Any) -> Any:
        try:
            return self._answer(name, int(index), *given)
        except NoAnswer as lost:
            raise SampleError(f"{self._source(index)}: the sandbox process {lost}") from lost
        except InputError as error:  # the data cannot be opened any more
            raise SampleError(str(error)) from error

    def _source(self, index: int) -> str:
        """Of a sample, for people."""
        try:
            return f"{self.name}, {self._answer('source', int(index))}"
        except (NoAnswer, InputError, SampleError, IndexError):
            return f"{self.name}, sample {index}"

    def _answer(self, *asked: Any) -> Any:
        with self._places:
            if self._deaths[hash(asked)] >= TRIES:
                raise NoAnswer(f"has died of it {TRIES} times and is not asked again until the dashboard is started anew")
            try:
                process = self._opened()
                try:
                    return process.ask(*asked)
                finally:
                    if process.free:
                        self._free.append(process)
            except NoAnswer:
                self._remember_death(hash(asked))
                raise

    def _remember_death(self, question: int) -> None:
        self._deaths[question] = self._deaths.pop(question, 0) + 1
        with suppress(StopIteration, KeyError, RuntimeError):  # another thread has removed it
            while len(self._deaths) > DEADLY:
                del self._deaths[next(iter(self._deaths))]

    def _opened(self) -> SandboxProcess:
        """A process that has opened the data and does nothing now."""
        with suppress(IndexError):
            while True:
                if (process := self._free.pop()).free:
                    return process
        process, self._first = self._first or SandboxProcess(), None
        return self._open(process)

    def _open(self, process: SandboxProcess) -> SandboxProcess:
        process.ask("open", *(self.origin or ()), [f"{name}={limit.value}" for name, limit in LIMITS.items()])
        return process

    def _start(self, more: int) -> None:
        """Start further processes, while nobody waits for them."""
        with suppress(NoAnswer, InputError):
            for _ in range(more):
                self._free.append(self._open(SandboxProcess()))
                self._places.release()


def open_sandboxed(
    source: str | Path, *, inputs: str | None = None, label: str | None = None, use_spare: bool = False
) -> SandboxedDataset:
    """Open a data set as `oga_core.open_dataset` does, in a process of its own; ``use_spare`` as in `SandboxedDataset`.

    Raises
    ------
    InputError
        As there; and if the process dies of the data, or needs more memory or time than it may have.
    """
    return SandboxedDataset(
        locate(source), {key: value for key, value in (("inputs", inputs), ("label", label)) if value}, use_spare
    )
