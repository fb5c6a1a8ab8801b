"""One writer a format."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pandas as pd

from oga_core.data.formulas import neutral_text
from oga_core.errors import InputError
from oga_core.export.lists import rows
from oga_core.export.record import remember
from oga_core.files import write_whole
from oga_core.runs import Run

_HIGH_CONTROL = re.compile("[\x7f-\x9f]")


def _csv_value(value: object) -> object:
    return neutral_text(value) if isinstance(value, str) else value


def _csv(frame: pd.DataFrame) -> bytes:
    neutral = frame.map(_csv_value)
    neutral.columns = pd.Index([_csv_value(c) for c in frame.columns])
    # Every text in quotes: a lone carriage return would go without them.
    return neutral.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).encode()


def _jsonl(frame: pd.DataFrame) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in frame.to_dict("records")]
    text = _HIGH_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", "".join(lines))  # json escapes those below U+0020 itself
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate as the escape that JSON has for it


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMATS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def render(frame: pd.DataFrame, fmt: str) -> bytes:
    """The rows in a format: ``csv`` (formulas and control characters encoded, see `neutral_text`), ``jsonl`` or ``parquet``, both
    exact.

    Raises
    ------
    InputError
        For an unknown format, or a text that the format cannot hold.
    """
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}; there are: {', '.join(FORMATS)}")
    try:
        return FORMATS[fmt](frame)
    except UnicodeEncodeError as error:
        raise InputError(f"{fmt} cannot hold half a character ({error.object[error.start]!a}); jsonl can") from error


def export(run: Run, what: str, fmt: str, out: str | Path, *, detector: str | None = None, budget: float | None = None) -> int:
    """Write an export whole or not at all; returns the number of rows.

    Raises
    ------
    InputError
        As `rows` and `render` do, or if the file cannot be written.

    Examples
    --------
    >>> _ = oga.decide(run, run.flag("l1", 3), "remove", reviewer="Ann")
    >>> oga.export(run, "removed", "csv", "removed.csv")
    3
    >>> oga.export(run, "cleaned", "parquet", "cleaned.parquet")
    57
    """
    frame = rows(run, what, detector=detector, budget=budget)
    data = render(frame, fmt)
    path = Path(out)
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {out}: it is not a file")
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    try:
        if not run.workspace.read_only:
            remember(run, what, fmt, len(frame), str(path.resolve()))
    except OSError as error:
        raise InputError(f"{out} is written, but run {run.id} cannot keep a record of it: {error.strerror}") from error
    return len(frame)
