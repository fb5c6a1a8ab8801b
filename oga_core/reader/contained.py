"""The server's side: a data set of which nothing is opened in this process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Lock, Semaphore, Thread
from typing import Any

import numpy as np
from PIL import Image

from oga_core.children import spawn
from oga_core.data import Dataset, SampleError, located
from oga_core.errors import InputError, one_line
from oga_core.gradients import NAMED
from oga_core.limits import LIMITS, READER_BYTES, READER_SECONDS
from oga_core.measured import Estimate, SampleGradient, TokenLosses
from oga_core.reader import wire

PATIENCE, GRACE = 3, 60
"""An answer is waited for, by the clock, so many times as long as the processor time it may take, and so many seconds more."""
TRIES = 2
"""A question that has ended the process so often is not asked again."""
DEADLY = 4096
"""Such questions that are remembered, by their hashes: the latest."""
BLOCK = 256
"""Originals that are fetched at once: who asks for one asks for all."""
MOST = 4
"""Processes at once for images in files, which take long to decode; other data are kept in memory, by one."""


@dataclass(frozen=True)
class Outlook:
    """What a run on some data would be.

    Attributes
    ----------
    model
        Its name.
    notes
        What was noticed on loading it.
    mapping
        For each class of the data: its name, the position in the model's output, and the model's name for it. Empty for a
        starter model, which is made for these classes.
    costs
        What each scope would take.
    """

    model: str
    notes: list[str]
    mapping: list[tuple[str, int, str]]
    costs: dict[str, Estimate]


class _Lost(Exception):
    """There is no answer; the message says what the process did."""


class _Process:
    """A process that reads; it ends with this object, and with this process."""

    def __init__(self) -> None:
        self.asked = False
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(PATIENCE * READER_SECONDS.value + GRACE)
        # -P: a folder "oga_core" where the user stands must not be taken for ours.
        command = [sys.executable, "-P", "-m", "oga_core.reader.process"]
        # Arrow's own allocators set a gigabyte aside at their start.
        waiting = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
        environment = {"OMP_WAIT_POLICY": waiting, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        try:
            if sys.platform == "win32":  # where a socket is no file that a process could inherit
                self.child = spawn(command, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert self.child.stdout is not None
                assert self.child.stdin is not None
                wire.bridge(theirs, self.child.stdout, self.child.stdin)
            else:
                with theirs:
                    self.child = spawn(command, environment, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        except OSError as error:
            raise _Lost(f"could not be started: {error.strerror}") from error

    @property
    def free(self) -> bool:
        """Whether it lives and owes no answer: who waited for one may have been interrupted."""
        return self.connection.fileno() >= 0 and not self.asked and self.child.poll() is None

    def ask(self, name: str, *given: Any) -> Any:
        """The answer; _Lost if there is none, else what the reader of the data raised."""
        self.send(name, *given)
        return self.answer()

    def send(self, name: str, *given: Any) -> None:
        self.asked = True
        with suppress(OSError):  # it has died: there will be no answer
            wire.send(self.connection, [name, given])

    def answer(self) -> Any:
        """The answer to the first of the questions that has had none; errors as `ask`."""
        try:
            head, body = wire.receive(self.connection)
            self.asked = False
            if head["is"] != "error":
                return wire.unpacked(head, body)
            kind, told, memory = str(head["kind"]), str(head["told"]), bool(head["memory"])
        except TimeoutError:
            self.end()
            raise _Lost(f"gave no answer and was ended: {READER_SECONDS}") from None
        except (EOFError, OSError):
            raise _Lost(_how(self.end())) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.end()
            raise _Lost(f"answered what makes no sense and was ended: {one_line(error)[:100]}") from error
        if memory:
            self.end()  # what else it would refuse now, nobody knows
            raise _Lost(f"ran out of memory: {READER_BYTES}")
        kinds = {"InputError": InputError, "SampleError": SampleError, "TypeError": TypeError, "IndexError": IndexError}
        raise kinds.get(kind, RuntimeError)(told)

    def end(self) -> int:
        """End it; returns its exit code, negative for a signal."""
        self.connection.close()
        try:
            return self.child.wait(1)  # it has ended, or does now that nobody asks
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def __del__(self) -> None:
        self.connection.close()
        if hasattr(self, "child"):
            self.child.kill()
            self.child.wait()


_ready: list[_Process] = []
_ready_lock = Lock()


def get_ready() -> None:
    """Start a process for data that will soon be opened with ``ready``: `Contained.outlook` takes seconds less then."""
    with _ready_lock, suppress(_Lost):
        if not _ready:
            _ready.append(_Process())
            _ready[0].send("get_ready")


@cache
def architectures() -> tuple[str, ...]:
    """The names that `oga_core.models.architectures` has, asked of a process that may import what lists them.

    Raises
    ------
    InputError
        If it dies.
    """
    try:
        return tuple(str(name) for name in _Process().ask("architectures"))
    except _Lost as lost:
        raise InputError(f"the architectures cannot be listed: the process that does it {lost}") from lost


def _taken() -> _Process | None:
    """The process that is ready, or will be soon."""
    with _ready_lock:
        process = _ready.pop() if _ready else None
    if process is not None:
        with suppress(_Lost, RuntimeError):
            process.answer()
            return process
    return None


def _how(code: int) -> str:
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return f"took too long: {READER_SECONDS}"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}, perhaps for its memory: {READER_BYTES}"
    return f"ended with code {code}"


class Contained(Dataset):
    """A data set that a process of its own reads, with bounds on its memory and time; where it dies, the next question starts
    another.

    Parameters
    ----------
    source, options
        As `Dataset.origin` has them.
    ready
        Whether to take the process that `get_ready` has started.

    Raises
    ------
    InputError
        If the data cannot be opened, or the process dies of them. So does `search`.
    SampleError
        From whatever reads one sample: also if the process dies of it.
    """

    def __init__(self, source: str, options: dict[str, str], ready: bool = False) -> None:
        self.origin = (source, options)
        self._name = Path(source).name
        self._deaths: Counter[int] = Counter()
        self._free: list[_Process] = []
        self._places, self._more = Semaphore(1), 0
        self._originals: tuple[int, list[dict[str, str]]] = (-1, [])
        self._first = _taken() if ready else None
        facts, labels = self._about_all("facts"), self._about_all("labels")
        try:
            self.kind, self._label = facts["kind"], str(facts["label_column"])
            self.class_names, self.notes = [str(n) for n in facts["class_names"]], [str(n) for n in facts["notes"]]
            self.labels = labels
            if self.kind not in ("image", "text", "features", "prompts") or labels.ndim != 1 or labels.dtype != np.int64:
                raise ValueError(self.kind)
            if len(labels) and not -1 <= labels.min() <= labels.max() < len(self.class_names):
                raise ValueError("labels that are no classes")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{self._name}: the process that reads it answered what makes no sense") from error
        in_files = self.kind == "image" and (source.endswith(".zip") or Path(source).is_dir())
        self._more = min(MOST, os.cpu_count() or 1) - 1 if in_files else 0

    @cached_property
    def sources(self) -> Sequence[str]:  # type: ignore[override]
        return self._about_all("sources")

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

    def beginnings(self, samples: Sequence[tuple[int, str]], most: int) -> list[tuple[str, int] | None]:
        """The first characters of samples in words, and how many each has; None where the data no longer hold it.

        Parameters
        ----------
        samples
            Position and identity of each.
        most
            Characters.
        """
        asked = tuple((int(index), str(sample_id)) for index, sample_id in samples)
        found = self._about_all("beginnings", asked, most)
        return [None if one is None else (str(one[0]), int(one[1])) for one in found]

    def answers(self, samples: Sequence[tuple[int, str]], most: int) -> list[tuple[str, str, int, int] | None]:
        """The first characters of prompts and of their answers, and how many each has; None where the data no longer hold it.

        Parameters
        ----------
        samples, most
            As `beginnings` takes them.
        """
        asked = tuple((int(index), str(sample_id)) for index, sample_id in samples)
        found = self._about_all("answers", asked, most)
        return [None if one is None else (str(one[0]), str(one[1]), int(one[2]), int(one[3])) for one in found]

    def sample_id(self, index: int) -> str:
        return str(self._of_sample("sample_id", index))

    def holds(self, index: int, sample_id: str) -> bool:
        return bool(self._of_sample("holds", index, sample_id))

    def original(self, index: int) -> dict[str, str]:
        start = index - index % BLOCK
        block = self._originals
        if block[0] != start:
            block = self._originals = start, [dict(row) for row in self._about_all("originals", start, start + BLOCK)]
        return dict(block[1][index - start])

    def search(self, words: str) -> np.ndarray:
        found: np.ndarray = self._about_all("search", words)
        return found

    def outlook(
        self, model: str | None, weights: Path | None, scopes: Sequence[str] | None = None, folds: int | None = None
    ) -> Outlook:
        """What a run with a model would be: the weights are opened, and a few samples timed.

        Parameters
        ----------
        model, weights
            As `oga_core.load_model` takes them; without weights, the starter model that suits the data.
        scopes, folds
            As `oga_core.scoring.estimate` takes them.

        Raises
        ------
        InputError
            If data, model and scopes do not fit one another.
        """
        found = self._about_all("outlook", model, str(weights) if weights else None, tuple(scopes or NAMED), folds)
        costs = {str(scope): Estimate(*cost) for scope, cost in found["costs"].items()}
        return Outlook(str(found["model"]), list(found["notes"]), [tuple(row) for row in found["mapping"]], costs)

    def squared_norms(self, index: int, scope: str, model: str | None, weights: Path | None) -> dict[str, float]:
        """The gradient of one sample by parameter, as `oga_core.scoring.one_sample.squared_norms`."""
        found = self._about_all("squared_norms", int(index), scope, model, str(weights) if weights else None)
        return {str(name): float(square) for name, square in found.items()}

    def token_losses(self, index: int, model: str | None, weights: Path | None) -> TokenLosses:
        """The losses of a sample's tokens, as `oga_core.scoring.one_sample.token_losses`."""
        return TokenLosses.from_dict(self._about_all("token_losses", int(index), model, str(weights) if weights else None))

    def gradient_of(
        self, prompt: str, answer: str, scope: str, seed: int, head: str | None, model: str | None, weights: Path | None
    ) -> SampleGradient:
        """The gradient of a new sample, as `oga_core.scoring.one_sample.gradient_of`."""
        given = (prompt, answer, scope, seed, head, model, str(weights) if weights else None)
        found = self._about_all("gradient_of", *given)
        try:
            return SampleGradient.from_dict(found)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self._name}: the process that reads it answered what makes no sense") from error

    def _about_all(self, name: str, *given: Any) -> Any:
        try:
            return self._answer(name, *given)
        except _Lost as lost:
            raise InputError(f"{self._name}: the process that reads it {lost}") from lost

    def _of_sample(self, name: str, index: int, *given: Any) -> Any:
        try:
            return self._answer(name, int(index), *given)
        except _Lost as lost:
            raise SampleError(f"{self._source(index)}: the process that reads it {lost}") from lost
        except InputError as error:  # the data cannot be opened any more
            raise SampleError(str(error)) from error

    def _source(self, index: int) -> str:
        """Of a sample, for people."""
        try:
            return f"{self._name}, {self._answer('source', int(index))}"
        except (_Lost, InputError, SampleError, IndexError):
            return f"{self._name}, sample {index}"

    def _answer(self, *asked: Any) -> Any:
        with self._places:
            if self._deaths[hash(asked)] >= TRIES:
                raise _Lost(f"has died of it {TRIES} times and is not asked again until the dashboard is started anew")
            try:
                process = self._opened()
                try:
                    return process.ask(*asked)
                finally:
                    if process.free:
                        self._free.append(process)
            except _Lost:
                self._remember_death(hash(asked))
                raise

    def _remember_death(self, question: int) -> None:
        self._deaths[question] = self._deaths.pop(question, 0) + 1
        with suppress(StopIteration, KeyError, RuntimeError):  # another thread has removed it
            while len(self._deaths) > DEADLY:
                del self._deaths[next(iter(self._deaths))]

    def _opened(self) -> _Process:
        """A process that has opened the data and does nothing now."""
        with suppress(IndexError):
            while True:
                if (process := self._free.pop()).free:
                    return process
        process, self._first = self._first or _Process(), None
        return self._open(process)

    def _open(self, process: _Process) -> _Process:
        process.ask("open", *(self.origin or ()), [f"{name}={limit.value}" for name, limit in LIMITS.items()])
        return process

    def _start(self, more: int) -> None:
        """Start further processes, while nobody waits for them."""
        with suppress(_Lost, InputError):
            for _ in range(more):
                self._free.append(self._open(_Process()))
                self._places.release()


def open_contained(source: str | Path, *, inputs: str | None = None, label: str | None = None, ready: bool = False) -> Contained:
    """Open a data set as `oga_core.open_dataset` does, in a process of its own; ``ready`` as in `Contained`.

    Raises
    ------
    InputError
        As there; and if the process dies of the data, or needs more memory or time than it may have.
    """
    return Contained(located(source), {key: value for key, value in (("inputs", inputs), ("label", label)) if value}, ready)
