"""Damaged tables: what is wrong is named with its line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.opened import ids
from tests.data.table_files import read, refusal, text_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,x,1\nb,y,2\n", "line 2: 3 cells where the header has 2"),
        ('text,label\n"two\nlines",x\nb\n', "line 4: 1 cells where the header has 2"),
        ("text,label\n\n\na,x,\n", "line 4: 3 cells"),
        ('text,label\na,x\n"b,y\nc,z\n', "line 3: unexpected end of data (an open quote?)"),
        ('text,label\na,x\n"b"c,y\n', "line 3: ',' expected after '\"' (an open quote?)"),
        ("text,label,text\na,x,b\n", "line 1: duplicate column 'text'"),
        ("text, text ,label\na,x,b\n", "line 1: duplicate column 'text'"),
        ("text,,label\na,x,b\n", "line 1: column 2 has no name"),
        ("text,label\na,x\nb\0,y\n", "line 3: a NUL byte"),
        ("PK\3\4xl/workbook.xml", "is an Excel workbook or a zip, not a text table; save the sheet as CSV"),
        ("PAR1...PAR1", "is a parquet file; give it the ending .parquet"),
        ("%PDF-1.7", "is a PDF document"),
        ("text,label\n", "has a header but no rows"),
        ("", "is empty"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(text_file(tmp_path, text))


def test_one_cell_too_many_in_every_row_shifts_no_columns_though_pandas_would(tmp_path: Path) -> None:
    path = text_file(tmp_path, "text,label\n" + "good,pos,extra\nbad,neg,extra\n" * 5)
    assert pd.read_csv(path)["text"].tolist() == ["pos", "neg"] * 5
    assert "line 2: 3 cells where the header has 2" in refusal(path)


def test_a_cell_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_CELL_BYTES", "100")
    assert len(read(text_file(tmp_path, f"text,label\n{'a' * 100},x\nb,y\n"))) == 2
    assert "line 2: field larger than field limit (100)" in refusal(text_file(tmp_path, f"text,label\n{'a' * 101},x\nb,y\n"))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.csv.gz"])
def test_a_table_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OGA_LIMIT_TABLE_BYTES", "1000")
    data = b"text,label\n" + b"a,x\n" * 1000
    path = text_file(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    assert "; or write it as parquet" in refusal(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b", "label": "y"', "not a JSON object"),
        ('{"text": "b", "label": NaN}', "NaN is not JSON"),
        ('{"text": "b", "label": -Infinity}', "-Infinity is not JSON"),
        ('{"text": "b", "label": ["y"]}', "'label' holds a nested value"),
        ('{"text": {"a": 1}, "label": "y"}', "'text' holds a nested value"),
        ('{"text": "b", "label": "y", "label": "z"}', "duplicate key"),
        ('["b", "y"]', "list where an object is needed"),
        ("7", "where an object is needed"),
        ('{"text": ' + "[" * 100_000, "not a JSON object"),
        ('{"text": "b"} {"text": "c"}', "not a JSON object"),
    ],
)
def test_a_bad_line_of_jsonl_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    found = refusal(text_file(tmp_path, '{"text": "a", "label": "x"}\n\n' + line + "\n", "t.jsonl"))
    assert found.startswith("t.jsonl, line 3: ")
    assert message in found


def test_keys_that_come_late_or_are_missing_are_empty_cells(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": "x"}', '{"label": "y", "note": "n", "text": "b"}', '{"text": "c"}']
    dataset = read(text_file(tmp_path, "\r\n".join(lines), "t.ndjson"))
    assert dataset.columns == {"text": ["a", "b", "c"], "label": ["x", "y", ""], "note": ["", "n", ""]}
    assert dataset.labels.tolist() == [0, 1, -1]


def test_half_a_surrogate_pair_is_kept_in_a_text_and_refused_in_a_label(tmp_path: Path) -> None:
    good = '{"text": "\\ud800", "label": "x"}\n{"text": "b", "label": "y"}'
    dataset = read(text_file(tmp_path, good, "t.jsonl"))
    assert dataset.load(0) == "\ud800"
    assert len(set(ids(dataset))) == 2
    bad = '{"text": "a", "label": "x"}\n{"text": "b", "label": "\\udfff"}'
    assert r"row 1: the label '\udfff' is no valid text" in refusal(text_file(tmp_path, bad, "t.jsonl"))


def test_nul_in_json_is_kept(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, '{"text": "a\\u0000b", "label": "x\\u0000"}\n{"text": "b", "label": "x"}', "t.jsonl"))
    assert (dataset.load(0), dataset.class_names) == ("a\0b", ["x", "x\0"])


def test_an_empty_jsonl_has_no_rows(tmp_path: Path) -> None:
    assert "has no rows" in refusal(text_file(tmp_path, "\n \n", "t.jsonl"))


# Damaged containers


def test_a_damaged_gz_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + b"".join(b"%d,%d\n" % (i * i, i % 2) for i in range(3000)))
    assert "cannot be read" in refusal(text_file(tmp_path, whole[:-20], "t.csv.gz"))
    assert "cannot be read: Not a gzipped file" in refusal(text_file(tmp_path, b"text,label\na,x\nb,y\n", "t.csv.gz"))
    for at in range(20, len(whole), len(whole) // 12):
        assert "cannot be read" in refusal(
            text_file(tmp_path, whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :], "t.csv.gz")
        )
    assert len(read(text_file(tmp_path, whole, "T.CSV.GZ"))) == 3000


def parquet_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_damaged_parquet_is_refused(tmp_path: Path) -> None:
    whole = parquet_bytes(pa.table({"text": [f"text {i}" for i in range(300)], "label": ["x", "y", "z"] * 100}))
    for share in (0, 0.01, 0.3, 0.6, 0.99):
        assert "not a readable parquet" in refusal(text_file(tmp_path, whole[: int(len(whole) * share)], "t.parquet"))
    for data in (b"text,label\na,x\n", b"PAR1" + b"\0" * 100 + b"PAR1", whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        assert "not a readable parquet" in refusal(text_file(tmp_path, data, "t.parquet"))
    spoilt = whole.replace(b"text 299", b"\xff\xfe\xfd\xfc 299")
    assert "Invalid UTF8" in refusal(text_file(tmp_path, spoilt, "t.parquet"))
    assert "not a readable parquet" in refusal(text_file(tmp_path, whole.replace(b"label", b"labe\xff"), "t.parquet"))


def test_parquet_values_that_python_cannot_hold_are_refused(tmp_path: Path) -> None:
    when = pa.array([10**17, 0], pa.timestamp("ms"))
    data = parquet_bytes(pa.table({"text": ["a", "b"], "label": ["x", "y"], "when": when}))
    assert "not a readable parquet" in refusal(text_file(tmp_path, data, "t.parquet"))


def test_a_parquet_without_usable_columns_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    twice = pa.table([["a", "b"], ["c", "d"], ["x", "y"]], names=["text", "text", "label"])
    assert "duplicate column name" in refusal(text_file(tmp_path, parquet_bytes(twice), "t.parquet"))
    nested = pa.table({"text": [["a"], ["b"]]})
    assert "no rows of plain texts" in refusal(text_file(tmp_path, parquet_bytes(nested), "t.parquet"))
    empty = pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    assert "no rows of plain texts" in refusal(text_file(tmp_path, parquet_bytes(empty), "t.parquet"))


def test_a_parquet_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_TABLE_BYTES", "1000000")
    texts = [f"{i:06d}" * 20 for i in range(10_000)]
    pq.write_table(pa.table({"text": texts, "label": ["x", "y"] * 5000}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 1_000_000
    assert "unpacks to" in refusal(tmp_path / "t.parquet")
