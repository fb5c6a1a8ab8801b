"""The one form in which every reader hands over its samples."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from oga_core.data.search import texts, with_words
from oga_core.errors import InputError, one_line
from oga_core.limits import CLASSES
from oga_core.task import Task, task_of

Kind = Literal["image", "text", "features", "prompts"]
IN_WORDS = ("text", "prompts")
"""Kinds whose samples are read as words."""
SEARCHES = 8
"""Answers that are kept."""


def in_order(names: set[str]) -> list[str]:
    """Class names sorted: by value where all are whole numbers, else as text."""
    if all(n.removeprefix("-").isdecimal() and n.isascii() and len(n) < 1000 for n in names):
        return sorted(names, key=lambda n: (int(n), n))
    return sorted(names)


def check_number_of_classes(source: str, classes: int) -> None:
    """InputError where the data have more classes than the limit."""
    if classes > CLASSES.value:
        raise InputError(f"{source} has {classes:,} classes; {CLASSES}")


@dataclass(frozen=True)
class Unreadable:
    """A sample that was given but could not be read, with the reason (one line, for people)."""

    index: int
    source: str
    reason: str


class SampleError(Exception):
    """One sample cannot be decoded. The run continues without it and lists the reason."""

    def __init__(self, reason: object = "") -> None:
        super().__init__(one_line(reason))


def identify(digest: hashlib._Hash, label: str) -> str:
    """Return the id of a sample, 32 hex digits: ``digest``, the SHA-256 of its content, continued with its given label's name."""
    digest.update(b"\0label\0" + label.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


class Dataset(ABC):
    """Labelled samples in the order of their source, read one at a time.

    Attributes
    ----------
    kind
        ``"image"``, ``"text"``, ``"features"``, or ``"prompts"`` for prompts with their answers.
    class_names
        Names of the classes; a given label is a position in this list.
    labels
        Given labels, int64, shape ``(n,)``; -1 where the source gives none.
    sources
        Where each sample came from, for people and exports: file name in the folder, ``row 17``, …
    notes
        What the reader noticed and the user should know (skipped files, encodings, …), one line each.
    origin
        Source and options for `oga_core.data.open_dataset`, with which another process can read the same samples; None
        for samples that are only in this process.
    """

    kind: Kind
    class_names: list[str]
    labels: np.ndarray
    sources: Sequence[str]
    notes: list[str]
    origin: tuple[str, dict[str, Any]] | None = None

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The bytes that the sample's identity is taken from: stored file, UTF-8 text, or array bytes with shape and dtype."""

    @abstractmethod
    def load(self, index: int) -> Any:
        """The decoded sample: RGB ``PIL.Image``, ``str`` (of prompts `tables.Answered`), or float32 array of shape ``(d,)``.

        Raises
        ------
        SampleError
            If this sample cannot be decoded.
        """

    def conversions(self, content: bytes) -> list[str]:
        """Changes made to a sample when it is decoded, by its `content`, as words that follow a number of samples."""
        return []

    def original(self, index: int) -> dict[str, str]:
        """The sample as its source has it, by column, for exports."""
        return {"source": str(self.sources[index]), "label": self.label_name(index)}

    @property
    def task(self) -> Task:
        """The task that a model is trained for on these data."""
        return task_of(self.kind)

    @property
    def label_column(self) -> str:
        """The column of `original` that holds the given label."""
        return "label"

    def save(self, folder: Path) -> tuple[str, dict[str, Any]]:
        """Write the samples where another process can open them; returns the new `origin`.

        Raises
        ------
        InputError
            If this kind of data set cannot be written.
        """
        raise InputError(f"a {type(self).__name__} lives in this process only; use oga_core.from_arrays or a file to keep it")

    def __len__(self) -> int:
        return len(self.labels)

    def label_name(self, index: int) -> str:
        label = int(self.labels[index])
        return self.class_names[label] if label >= 0 else ""

    def sample_id(self, index: int) -> str:
        """Identity of a sample: hash of its content and given label, never of its position (32 hex digits)."""
        return identify(hashlib.sha256(self.content(index)), self.label_name(index))

    def holds(self, index: int, sample_id: str) -> bool:
        """Whether a position still has the sample of this identity; not so where it is gone or cannot be read."""
        try:
            return index < len(self) and self.sample_id(index) == sample_id
        except SampleError:
            return False

    def thumbnail(self, index: int, size: int = 160) -> Image.Image:
        """The image no larger than ``size`` pixels; small ones are enlarged smoothly: people recognise them better so.

        Raises
        ------
        SampleError
            If the sample cannot be decoded.
        TypeError
            If the data set does not hold images.
        """
        if self.kind != "image":
            raise TypeError(f"a {self.kind} sample has no thumbnail")
        image: Image.Image = self.load(index)
        scale = size / max(image.size)
        if scale >= 2:
            factor = int(scale)
            return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
        image.thumbnail((size, size))
        return image

    def text(self, index: int) -> str:
        """The sample in words, for display: its text, or the first values of its features."""
        sample = self.load(index)
        if isinstance(sample, str):
            return str(sample)
        if self.kind == "features":
            values = ", ".join(f"{v:.4g}" for v in sample[:32])
            return f"[{values}{', …' if len(sample) > 32 else ''}]"
        return str(self.sources[index])

    def words(self, index: int) -> tuple[str, ...]:
        """The parts of `text` that are shown apart: a prompt and its answer, else one.

        Raises
        ------
        SampleError
            If the sample cannot be decoded.
        """
        return (self.text(index),)

    def search(self, words: str) -> np.ndarray:
        """Which samples have every one of some words in their text or source, in capitals or not, bool, shape ``(n,)``."""
        found = self._found.get(words)
        if found is None:
            while len(self._found) >= SEARCHES:
                self._found.pop(next(iter(self._found)), None)
            found = self._found[words] = with_words(self._searched, words)
        return found.copy()

    @cached_property
    def _found(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _searched(self) -> list[pa.Array]:
        return [texts(self.sources)]
