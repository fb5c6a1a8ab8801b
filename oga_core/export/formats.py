"""One writer a format."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd

from oga_core.errors import InputError
from oga_core.export.lists import rows
from oga_core.files import write_whole
from oga_core.runs import Run

_FORMULA = re.compile(r"^'*[=+\-@\t\r]")


def _csv_value(value: object) -> object:
    """Text that a spreadsheet would run as a formula, with an apostrophe before it."""
    return "'" + value if isinstance(value, str) and _FORMULA.match(value) else value


def read_csv_value(value: str) -> str:
    """The original of a text in an exported CSV."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value[1:]) else value


def _csv(frame: pd.DataFrame) -> bytes:
    neutral = frame.map(_csv_value)
    neutral.columns = pd.Index([_csv_value(c) for c in frame.columns])
    return neutral.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogatepass")


def _jsonl(frame: pd.DataFrame) -> bytes:
    return frame.to_json(orient="records", lines=True, force_ascii=False, double_precision=15).encode("utf-8", "surrogatepass")


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMATS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def render(frame: pd.DataFrame, fmt: str) -> bytes:
    """The rows in a format: ``csv`` (formulas neutralised, see `read_csv_value`), ``jsonl`` or ``parquet`` (both exact).

    Raises
    ------
    InputError
        For an unknown format.
    """
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[fmt](frame)


def export(run: Run, what: str, fmt: str, out: Path, *, detector: str | None = None, budget: float | None = None) -> int:
    """Write an export whole or not at all; returns the number of rows.

    Raises
    ------
    InputError
        As `rows` and `render` do, or if the file cannot be written.
    """
    frame = rows(run, what, detector=detector, budget=budget)
    data = render(frame, fmt)
    try:
        write_whole(out, lambda path: _write(path, data))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return len(frame)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
