"""Data sets in the rows of tables: texts and pairs of them, prompts with answers, features."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oga_core.data.arrays import Arrays, RowNames
from oga_core.data.columns import STATUS, read_columns
from oga_core.data.dataset import Dataset, Kind, SampleError, check_number_of_classes, in_order
from oga_core.data.search import texts
from oga_core.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "y", "intent", "topic", "sentiment")
PAIRS = (("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence"))
TEXT_COLUMNS = ("text", "sentence", "content", "document", "question", "title", "review", "comment", "body", "message")
NEVER_INPUTS = ("clean_label", "true_label", "id", "index", STATUS)
PROMPTS = (("prompt", "answer"), ("prompt", "completion"), ("prompt", "response"))
ANSWERED = ">"
"""Between the columns of prompt and answer, where they are named."""
GROUP_COLUMNS = (*LABEL_COLUMNS, "variation", "kind", "task")
UNGROUPED = "no group"
"""Label of prompts and answers that are of no group."""


class Table(Dataset):
    """A data set whose samples are the rows of a table; its columns stay as they were written, for exports."""

    columns: dict[str, list[str]]
    _label: str

    def original(self, index: int) -> dict[str, str]:
        return {name: values[index] for name, values in self.columns.items()}

    @property
    def label_column(self) -> str:
        return self._label


class TextPair(str):
    """Texts joined by a line break, for models that take one; ``texts`` are the texts themselves, for those that take two."""

    texts: tuple[str, ...]

    def __new__(cls, joined: str, texts: tuple[str, ...]) -> TextPair:
        pair = super().__new__(cls, joined)
        pair.texts = texts
        return pair


class Answered(str):
    """A prompt and its answer, joined by a line break; the loss of a language model is taken on the answer."""

    prompt: str
    answer: str

    def __new__(cls, prompt: str, answer: str) -> Answered:
        made = super().__new__(cls, f"{prompt}\n{answer}")
        made.prompt, made.answer = prompt, answer
        return made


class TextTable(Table):
    """A text, or a pair of texts, with a label in each row.

    Parameters
    ----------
    columns
        All columns of the source by name, as text; all of the same length.
    inputs
        The column of the text, or the two columns of a pair (joined by a line break).
    label
        The column of the given label; an empty cell is a missing label.

    Raises
    ------
    InputError
        Without rows, or with fewer than two classes.
    """

    kind: Kind = "text"

    def __init__(self, columns: dict[str, list[str]], inputs: Sequence[str], label: str, name: str = "the table") -> None:
        self.columns, self.inputs, self._label = columns, list(inputs), label
        given = columns[label]
        if not given:
            raise InputError(f"{name} has no rows")
        self._classify(given, label, name)
        if len(self.class_names) < 2:
            only = f" ({self.class_names[0]!r})" if self.class_names else ""
            raise InputError(f"{name}: column {label!r} has {len(self.class_names)} class{only}; at least two are needed")

    def _classify(self, given: list[str], label: str, name: str) -> None:
        """The classes, and each sample's label and source, from the values of the label column."""
        self.class_names = in_order({g for g in given if g})
        check_number_of_classes(name, len(self.class_names))
        if (wrong := next((c for c in self.class_names if re.search("[\ud800-\udfff]", c)), None)) is not None:
            raise InputError(f"{name}, row {given.index(wrong)}: the label {wrong!r} is no valid text (half of a surrogate pair)")
        position = {c: i for i, c in enumerate(self.class_names)}
        self.labels = np.array([position.get(g, -1) for g in given], np.int64)
        self.sources = RowNames(len(given))
        self.notes = []
        if len(self.class_names) > max(1000, len(given) // 2):
            self.notes.append(f"column {label!r} has {len(self.class_names):,} different values: is it the label?")

    def content(self, index: int) -> bytes:
        return self._text(index).encode("utf-8", "surrogatepass")

    def load(self, index: int) -> str:
        text = self._text(index)
        if not text.strip():
            raise SampleError("the text is empty")
        return TextPair(text, tuple(self.columns[c][index] for c in self.inputs)) if len(self.inputs) > 1 else text

    def text(self, index: int) -> str:
        return self._text(index)

    def _text(self, index: int) -> str:
        return "\n".join(self.columns[c][index] for c in self.inputs)

    @cached_property
    def _searched(self) -> list[pa.Array]:
        return [*(texts(self.columns[c]) for c in self.inputs), texts(self.sources)]

    def save(self, folder: Path) -> tuple[str, dict[str, Any]]:
        path = folder / "samples.parquet"
        try:
            table = pa.table({k: pa.array(v, pa.large_string()) for k, v in self.columns.items()})
        except UnicodeEncodeError as error:
            raise InputError(f"a text cannot be written: {error}") from error
        pq.write_table(table, path)
        return str(path), self._options

    @property
    def _options(self) -> dict[str, Any]:
        """With which `open_table` finds the same columns again."""
        return {"inputs": ",".join(self.inputs), "label": self._label}


class PromptTable(TextTable):
    """A prompt and its answer in each row, for language models; a group takes the place of the given label.

    Parameters
    ----------
    columns
        All columns of the source by name, as text; all of the same length.
    inputs
        The columns of prompt and answer.
    label
        The column of the group; None where all samples are of one. An empty cell is a group of its own.

    Raises
    ------
    InputError
        Without rows.
    """

    kind = "prompts"

    def __init__(
        self, columns: dict[str, list[str]], inputs: Sequence[str], label: str | None = None, name: str = "the table"
    ) -> None:
        self.columns, self.inputs, self._label = columns, list(inputs), label or ""
        rows = len(columns[inputs[0]])
        if not rows:
            raise InputError(f"{name} has no rows")
        groups = [group or UNGROUPED for group in columns[label]] if label else [UNGROUPED] * rows
        self._classify(groups, label or "", name)

    def content(self, index: int) -> bytes:
        prompt, answer = (self.columns[c][index] for c in self.inputs)
        return f"{len(prompt)} {prompt}{answer}".encode("utf-8", "surrogatepass")  # where one ends and the other begins counts

    def load(self, index: int) -> str:
        prompt, answer = (self.columns[c][index] for c in self.inputs)
        if not answer.strip():
            raise SampleError("the answer is empty")
        return Answered(prompt, answer)

    def words(self, index: int) -> tuple[str, ...]:
        sample = self.load(index)
        assert isinstance(sample, Answered)
        return sample.prompt, sample.answer

    @property
    def _options(self) -> dict[str, Any]:
        return {"inputs": ANSWERED.join(self.inputs), **({"label": self._label} if self._label else {})}


def open_table(path: Path, inputs: str | None = None, label: str | None = None) -> Dataset:
    """Read a table (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``; the text formats also as ``.gz``).

    Parameters
    ----------
    inputs
        Text column, or two of them as ``"a,b"``, or prompt and answer as ``"a>b"``; found by the usual names where not given.
        Where all columns but the label hold numbers the rows are features.
    label
        Label column; found by the usual names where not given. Prompts and answers may do without.

    Raises
    ------
    InputError
        For damaged or ambiguous tables; the message names the line.
    """
    notes: list[str] = []
    columns = read_columns(path, notes)
    return of_columns(columns, inputs, label, path.name, notes)


def of_columns(columns: dict[str, list[str]], inputs: str | None, label: str | None, name: str, notes: list[str]) -> Dataset:
    """The data set in some columns, all of one length: prompts with answers, texts, or features.

    Parameters
    ----------
    inputs, label
        As `open_table` takes them.
    name
        Of their source, for messages.
    notes
        What was noticed while they were read.

    Raises
    ------
    InputError
        As `open_table`.
    """
    if asked := _prompt_columns(columns, inputs, name):
        return _add_notes(PromptTable(columns, asked, _group_column(columns, label, asked, name), name), notes)
    label = _label_column(columns, label, name)
    chosen = _input_columns(columns, inputs, label, name, notes)
    return _add_notes(TextTable(columns, chosen, label, name) if chosen else FeatureTable(columns, label, name), notes)


def _add_notes(dataset: Dataset, notes: list[str]) -> Dataset:
    """With what was noticed while the file was read before its own notes."""
    dataset.notes[:0] = notes
    return dataset


def _label_column(columns: dict[str, list[str]], asked: str | None, name: str) -> str:
    if asked is not None:
        _check_columns(columns, [asked], name)
        return asked
    lowered = {c.lower(): c for c in reversed(columns)}
    for usual in LABEL_COLUMNS:
        if usual in lowered:
            return lowered[usual]
    raise InputError(f"{name}: no label column among {_list_names(columns)}; name it (--label)")


def _prompt_columns(columns: dict[str, list[str]], asked: str | None, name: str) -> list[str]:
    """The columns of prompt and answer; none where these are no prompts."""
    if asked is not None:
        chosen = [c.strip() for c in asked.split(ANSWERED)]
        if asked in columns or len(chosen) != 2:
            return []
        _check_columns(columns, chosen, name)
        return chosen
    lowered = {c.lower(): c for c in reversed(columns)}
    return next(([lowered[c] for c in pair] for pair in PROMPTS if all(c in lowered for c in pair)), [])


def _group_column(columns: dict[str, list[str]], asked: str | None, inputs: list[str], name: str) -> str | None:
    """The column of the group, where there is one."""
    if asked is not None:
        _check_columns(columns, [asked], name)
        if asked in inputs:
            raise InputError(f"{name}: {asked!r} cannot be both the text and the label")
        return asked
    lowered = {c.lower(): c for c in reversed(columns) if c not in inputs}
    return next((lowered[usual] for usual in GROUP_COLUMNS if usual in lowered), None)


def _check_columns(columns: dict[str, list[str]], wanted: list[str], name: str) -> None:
    if missing := [c for c in wanted if c not in columns]:
        raise InputError(f"{name} has no column {missing[0]!r}; it has: {_list_names(columns)}")


def _input_columns(columns: dict[str, list[str]], asked: str | None, label: str, name: str, notes: list[str]) -> list[str]:
    """The text columns; none where the other columns are numbers."""
    if asked is not None:
        chosen = [asked] if asked in columns else [c.strip() for c in asked.split(",")]
        _check_columns(columns, chosen, name)
        if label in chosen:
            raise InputError(f"{name}: {label!r} cannot be both the text and the label")
        return chosen
    free = [c for c in columns if c != label and c.lower() not in NEVER_INPUTS]
    if not free:
        raise InputError(f"{name} has no column besides the label; a text column is needed")
    lowered = {c.lower(): c for c in reversed(free)}
    for pair in PAIRS:
        if all(c in lowered for c in pair):
            return [lowered[c] for c in pair]
    for usual in TEXT_COLUMNS:
        if usual in lowered:
            return [lowered[usual]]
    if all(_numeric(columns[c]) for c in free):
        return []
    longest = max(free, key=lambda c: sum(map(len, columns[c])))
    if len(free) > 1:
        notes.append(f"the text was taken from column {longest!r}, the longest; name another if that is wrong")
    return [longest]


def _numeric(values: list[str]) -> bool:
    try:
        for value in values:
            float(value or "nan")
            if "_" in value or not value.isascii():  # numbers for Python only
                return False
    except ValueError:
        return False
    return True


class FeatureTable(Table, Arrays):
    """Numbers with a label in each row.

    Parameters
    ----------
    columns
        All columns of the source by name, as text; all of the same length. Those but the label and ids are the features.
    label
        The column of the given label; an empty cell is a missing label.

    Raises
    ------
    InputError
        With fewer than two classes.
    """

    def __init__(self, columns: dict[str, list[str]], label: str, name: str = "the table") -> None:
        names = [c for c in columns if c != label and c.lower() not in NEVER_INPUTS]
        given = columns[label]
        found = in_order({g for g in given if g})
        check_number_of_classes(name, len(found))
        if len(found) < 2:
            raise InputError(f"{name}: column {label!r} has {len(found)} class(es); at least two are needed")
        values = np.array([[float(v or "nan") for v in columns[c]] for c in names], np.float64).T
        super().__init__(values, np.array(given, dtype=object), found)
        self.columns, self._label = columns, label
        self.notes.append(f"the rows are features: {len(names)} numeric columns")


def _list_names(columns: dict[str, list[str]]) -> str:
    return ", ".join(repr(c) for c in list(columns)[:20])
