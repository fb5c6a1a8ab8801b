"""Files of tables for tests, and what is read from them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from oga_core.data import open_dataset
from oga_core.data.tables import TextTable
from tests.data import opened

Rows = list[tuple[str, str]]


def write_csv(path: Path, rows: Rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([("text", "label"), *rows])


def write_gz(path: Path, rows: Rows) -> None:
    write_csv(path.with_suffix(""), rows)
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


def write_jsonl(path: Path, rows: Rows) -> None:
    lines = [json.dumps({"text": t, "label": g}, ensure_ascii=i % 2 == 0) for i, (t, g) in enumerate(rows)]
    path.write_bytes("\n".join(lines).encode())


def write_parquet(path: Path, rows: Rows) -> None:
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(path, index=False)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "csv": write_csv,
    "tsv": write_csv,
    "csv.gz": write_gz,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def text_file(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / name


def read(path: Path, **options: str) -> TextTable:
    dataset = open_dataset(path, **options)
    assert isinstance(dataset, TextTable)
    return dataset


def refusal(path: Path, **options: str) -> str:
    """What is said of a table that is refused; its file is named."""
    said = opened.refusal(path, **options)
    assert path.name in said
    return said
