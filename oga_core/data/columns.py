"""Files of tables as columns of text: CSV, TSV, JSONL, parquet. Every value stays the text it is: "NA" and "007" too."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from oga_core.data.formulas import original_text
from oga_core.errors import InputError, one_line
from oga_core.limits import CELL_BYTES, CELLS, TABLE_BYTES

STATUS = "oga_status"
"""Column by which cleaned data that were exported from here are known."""

BINARY = {
    b"PK\3\4": "an Excel workbook or a zip, not a text table; save the sheet as CSV, or the table as parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, not a text table; save the sheet as CSV",
    b"PAR1": "a parquet file; give it the ending .parquet",
    b"\x1f\x8b": "packed by gzip; give it the ending .gz",
    b"%PDF": "a PDF document, not a text table",
    b"SQLite format 3\0": "an SQLite database, not a text table; save the table as CSV",
}
"""Beginnings of files that are no text tables, and what the files are."""


def read_columns(path: Path, notes: list[str]) -> dict[str, list[str]]:
    """The columns of a table (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``; the text formats also as ``.gz``), all of one length.

    Parameters
    ----------
    notes
        What is noticed is added.

    Raises
    ------
    InputError
        For damaged or ambiguous tables; the message names the line.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".parquet":
        return _read_parquet(path, notes)
    text = _decode(path, notes)
    if suffix in (".jsonl", ".ndjson"):
        return _read_json_lines(text, path.name)
    return _as_exported(_read_csv(text, path.name, suffix, notes), notes)


def _decode(path: Path, notes: list[str]) -> str:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as handle:
            data = handle.read(TABLE_BYTES.value + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read: {one_line(error)}") from error
    if len(data) > TABLE_BYTES.value:
        raise InputError(f"{path.name} holds too much text: {TABLE_BYTES}; or write it as parquet")
    if binary := next((what for start, what in BINARY.items() if data.startswith(start)), None):
        raise InputError(f"{path.name} is {binary}")
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
        text, read_as = _decode_western(data)
        notes.append(f"not UTF-8 (line {line}): read as {read_as}; save it as UTF-8 if letters look wrong")
        return text
    if encoding == "utf-16":
        notes.append("read as UTF-16")
    return text


def _decode_western(data: bytes) -> tuple[str, str]:
    """Return the text in Windows' Western encoding, or where it has no such bytes in Latin-1; and the encoding."""
    try:
        return data.decode("cp1252"), "Windows-1252 (cp1252)"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "Latin-1"


def _read_csv(text: str, name: str, suffix: str, notes: list[str]) -> dict[str, list[str]]:
    if declared := re.match("sep=([^\r\n])(?=[\r\n])", text):  # a line for Excel; the line break stays, for the numbers of lines
        text = text[declared.end() :]
    delimiter = declared[1] if declared else "\t" if suffix == ".tsv" else _delimiter(text)
    first = text.lstrip("\r\n").splitlines()[:1]
    blanks = bool(first) and delimiter != "\t" and 0 < first[0].count(delimiter) == first[0].count(f"{delimiter} ")
    if blanks:
        notes.append("blanks after a delimiter were left out")
    try:
        return _parse_csv(text, name, notes, delimiter=delimiter, strict=True, skipinitialspace=blanks)
    except _NotParsed as error:
        if delimiter != "\t":
            raise
        try:
            columns = _parse_csv(text, name, notes, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        except InputError:
            raise error from None
        notes.append("quotation marks were read as ordinary characters: the cells are not quoted as in a CSV file")
        return columns


class _NotParsed(InputError):
    """The quotes of a text table do not fit together."""


def _parse_csv(text: str, name: str, notes: list[str], **dialect: Any) -> dict[str, list[str]]:
    csv.field_size_limit(CELL_BYTES.value)
    reader = csv.reader(io.StringIO(text, newline=""), **dialect)
    rows: list[list[str]] = []
    header: list[str] | None = None
    before = unnamed = 0
    try:
        for row in reader:
            if header is None:
                if row:
                    unnamed = 0 if STATUS in row else _count_unnamed_at_end(row)
                    header = _header(row[: len(row) - unnamed], name)
            elif row:
                if len(row) != len(header) + unnamed:
                    raise InputError(f"{name}, line {before + 1}: {len(row)} cells where the header has {len(header) + unnamed}")
                if "".join(row[len(header) :]).strip():
                    raise InputError(f"{name}, line {before + 1}: a cell in a column that has no name in the header")
                rows.append(row)
            before = reader.line_num
    except csv.Error as error:
        raise _NotParsed(f"{name}, line {before + 1}: {error} (an open quote?)") from error
    if header is None:
        raise InputError(f"{name} is empty")
    if not rows:
        raise InputError(f"{name} has a header but no rows")
    if unnamed:
        notes.append(f"{unnamed:,} columns at the end have no name and no value; they were left out")
    return {column: list(values) for column, values in zip(header, zip(*rows, strict=True), strict=False)}


def _count_unnamed_at_end(row: list[str]) -> int:
    filled = [i for i, column in enumerate(row) if column.strip()]
    return len(row) - 1 - filled[-1] if filled else 0


def _as_exported(columns: dict[str, list[str]], notes: list[str]) -> dict[str, list[str]]:
    """Return the originals of the texts in an export of cleaned data, where formulas and control characters are encoded."""
    if STATUS not in columns:
        return columns
    originals = {original_text(column): [original_text(v) for v in values] for column, values in columns.items()}
    changed = sum(a != b for before, after in zip(columns.values(), originals.values()) for a, b in zip(before, after))
    if changed:
        notes.append(f"an export of OGA: {changed:,} cells that it had encoded (formulas, control characters) were decoded")
    return originals


def _delimiter(text: str) -> str:
    first = re.split("[\r\n]", re.sub('"[^"]*"', "", text[:100_000]), maxsplit=1)[0]
    return max(",;\t|", key=first.count)


def _header(row: list[str], name: str) -> list[str]:
    exported = STATUS in row  # from here: every name is as it was, also an empty one
    names = row if exported else [c.strip() for c in row]
    for i, column in enumerate([] if exported else names):
        if not column and i == 0 and len(names) > 1:
            names[i] = "index"  # how pandas writes an unnamed index
        elif not column:
            raise InputError(f"{name}, line 1: column {i + 1} has no name")
    twice = [c for c, n in Counter(names).items() if n > 1]
    if twice:
        raise InputError(f"{name}, line 1: duplicate column {twice[0]!r}")
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
        new = [column for column in row if column not in columns]  # in the order of the file, not of a set
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
    """A few bytes can hold many cells: a line with a new key is a new column, a run of equal values is stored as one value."""
    if rows * columns > CELLS.value:
        raise InputError(f"{where}: {rows:,} rows of {columns:,} columns; {CELLS}")


def _refuse_constant(value: str) -> Any:
    raise ValueError(f"{value} is not JSON")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("duplicate key")
    return row


def _cell(value: Any, column: str, where: str) -> str:
    if value is None or value != value:  # pandas writes a missing number as NaN
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
        If there are none, there are no rows, or a column name is duplicate. Arrow's own for a table that is damaged.
    """
    table.validate(full=True)
    if len(set(table.column_names)) != len(table.column_names):
        raise InputError(f"{name}: duplicate column name")
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
