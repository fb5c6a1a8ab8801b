"""Texts with labels in CSV, TSV, JSONL or parquet tables. Every value stays the text it is: "NA" and "007" too."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oga_core.data.arrays import Arrays, RowNames
from oga_core.data.dataset import Dataset, Kind, SampleError, check_number_of_classes, in_order
from oga_core.data.formulas import original_text
from oga_core.data.search import texts
from oga_core.errors import InputError, one_line
from oga_core.limits import CELL_BYTES, CELLS, TABLE_BYTES

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "y", "intent", "topic", "sentiment")
PAIRS = (("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence"))
TEXT_COLUMNS = ("text", "sentence", "content", "document", "question", "title", "review", "comment", "body", "message")
STATUS = "oga_status"
"""Column by which cleaned data that were exported from here are known."""
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
    """Texts joined by a line break, for models that take one; ``parts`` are the texts themselves, for those that take two."""

    parts: tuple[str, ...]

    def __new__(cls, joined: str, parts: tuple[str, ...]) -> TextPair:
        pair = super().__new__(cls, joined)
        pair.parts = parts
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
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".parquet":
        columns = _read_parquet(path, notes)
    else:
        text = _decode(path, notes)
        if suffix in (".jsonl", ".ndjson"):
            columns = _read_json_lines(text, path.name)
        else:
            columns = _as_exported(_read_csv(text, path.name, suffix), notes)
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
        return _noted(PromptTable(columns, asked, _group_column(columns, label, asked, name), name), notes)
    label = _label_column(columns, label, name)
    chosen = _input_columns(columns, inputs, label, name, notes)
    return _noted(TextTable(columns, chosen, label, name) if chosen else FeatureTable(columns, label, name), notes)


def _noted(dataset: Dataset, notes: list[str]) -> Dataset:
    """With what was noticed while the file was read before its own notes."""
    dataset.notes[:0] = notes
    return dataset


def _decode(path: Path, notes: list[str]) -> str:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as handle:
            data = handle.read(TABLE_BYTES.value + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read: {one_line(error)}") from error
    if len(data) > TABLE_BYTES.value:
        raise InputError(f"{path.name} holds too much text: {TABLE_BYTES}; or write it as parquet")
    encoding = "utf-8-sig"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in data[:100_000]:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise InputError(f"{path.name}, line {line}: a NUL byte; a text table has none")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise InputError(f"{path.name} begins as UTF-16 but is not ({error.reason}); save it as UTF-8") from error
        line = data.count(b"\n", 0, error.start) + 1
        notes.append(f"not UTF-8 (line {line}): read as Latin-1; save it as UTF-8 if letters look wrong")
        return data.decode("latin-1")
    if encoding == "utf-16":
        notes.append("read as UTF-16")
    return text


def _read_csv(text: str, name: str, suffix: str) -> dict[str, list[str]]:
    delimiter = "\t" if suffix == ".tsv" else _delimiter(text)
    csv.field_size_limit(CELL_BYTES.value)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    header: list[str] | None = None
    before = 0
    try:
        for row in reader:
            if header is None:
                header = _header(row, name)
            elif row:
                if len(row) != len(header):
                    raise InputError(f"{name}, line {before + 1}: {len(row)} cells where the header has {len(header)}")
                rows.append(row)
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{name}, line {before + 1}: {error} (an open quote?)") from error
    if header is None:
        raise InputError(f"{name} is empty")
    if not rows:
        raise InputError(f"{name} has a header but no rows")
    return {column: list(values) for column, values in zip(header, zip(*rows, strict=True), strict=True)}


def _as_exported(columns: dict[str, list[str]], notes: list[str]) -> dict[str, list[str]]:
    """The originals of the texts in an export of cleaned data, where a formula has an apostrophe before it."""
    if STATUS not in columns:
        return columns
    originals = {original_text(column): [original_text(v) for v in values] for column, values in columns.items()}
    changed = sum(a != b for before, after in zip(columns.values(), originals.values()) for a, b in zip(before, after))
    if changed:
        notes.append(f"an export of OGA: {changed:,} cells lost the apostrophe that it had put before a formula")
    return originals


def _delimiter(text: str) -> str:
    first = re.split("[\r\n]", re.sub('"[^"]*"', "", text[:100_000]), maxsplit=1)[0]
    return max(",;\t", key=first.count)


def _header(row: list[str], name: str) -> list[str]:
    names = [c.strip() for c in row]
    for i, column in enumerate(names):
        if not column and i == 0 and len(names) > 1:
            names[i] = "index"  # how pandas writes an unnamed index
        elif not column:
            raise InputError(f"{name}, line 1: column {i + 1} has no name")
    twice = [c for c, n in Counter(names).items() if n > 1]
    if twice:
        raise InputError(f"{name}, line 1: the column {twice[0]!r} is there twice")
    return names


def _read_json_lines(text: str, name: str) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    rows = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(
                line, parse_constant=_refuse_constant, parse_float=str, parse_int=str, object_pairs_hook=_unique_pairs
            )
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: not a JSON object ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: {type(row).__name__} where an object is needed")
        new = row.keys() - columns.keys()
        check_cells(f"{name}, line {number}", rows + 1, len(columns) + len(new))
        for column in new:
            columns[column] = [""] * rows
        for column, values in columns.items():
            values.append(_cell(row.get(column), column, f"{name}, line {number}"))
        rows += 1
    if not rows:
        raise InputError(f"{name} has no rows")
    return columns


def check_cells(where: str, rows: int, columns: int) -> None:
    """A few bytes can stand for many cells: a line with a new key is a new column, a run of equal values one value."""
    if rows * columns > CELLS.value:
        raise InputError(f"{where}: {rows:,} rows of {columns:,} columns; {CELLS}")


def _refuse_constant(value: str) -> Any:
    raise ValueError(f"{value} is not JSON")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key is there twice")
    return row


def _cell(value: Any, column: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise InputError(f"{where}: {column!r} holds a nested value; plain texts and numbers are needed")
    return value if isinstance(value, str) else str(value)


def _read_parquet(path: Path, notes: list[str]) -> dict[str, list[str]]:
    try:
        file = pq.ParquetFile(path)
        declared = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if declared > TABLE_BYTES.value:
            raise InputError(f"{path.name} unpacks to {declared:,} bytes; {TABLE_BYTES}")
        check_cells(path.name, file.metadata.num_rows, file.metadata.num_columns)
        table = file.read()
        if table.num_rows != file.metadata.num_rows:  # it reads what there is and says nothing
            raise InputError(f"{path.name} declares {file.metadata.num_rows:,} rows but holds {table.num_rows:,}; write it again")
        return plain_columns(table, path.name, notes)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path.name} is not a readable parquet file: {one_line(error)}") from error


def plain_columns(table: pa.Table, name: str, notes: list[str]) -> dict[str, list[str]]:
    """The columns of plain texts and numbers, as text; which were left out is noted.

    Raises
    ------
    InputError
        If there are none, there are no rows, or a name is there twice. Arrow's own for a table that is damaged.
    """
    table.validate(full=True)
    if len(set(table.column_names)) != len(table.column_names):
        raise InputError(f"{name}: a column name is there twice")
    columns: dict[str, list[str]] = {}
    for column_name in table.column_names:
        column = table.column(column_name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not pa.types.is_nested(column.type) and not _is_binary(column.type):
            columns[column_name] = [_cell(v, column_name, name) for v in column.to_pylist()]
    if not columns or not table.num_rows:
        raise InputError(f"{name} has no rows of plain texts and numbers")
    if left_out := [column for column in table.column_names if column not in columns]:
        notes.append(f"columns of lists, records or bytes were left out: {', '.join(map(one_line, left_out[:5]))}")
    return columns


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_one(kind) for is_one in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    )


def _label_column(columns: dict[str, list[str]], asked: str | None, name: str) -> str:
    if asked is not None:
        _check_columns(columns, [asked], name)
        return asked
    lowered = {c.lower(): c for c in reversed(columns)}
    for usual in LABEL_COLUMNS:
        if usual in lowered:
            return lowered[usual]
    raise InputError(f"{name}: no label column among {_listed(columns)}; name it (--label)")


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
        raise InputError(f"{name} has no column {missing[0]!r}; it has: {_listed(columns)}")


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


def _listed(columns: dict[str, list[str]]) -> str:
    return ", ".join(repr(c) for c in list(columns)[:20])
