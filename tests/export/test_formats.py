"""Every format gives back exactly what was put in, and no spreadsheet runs any of it."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import unicodedata
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings, strategies as st

from oga_core.data import open_dataset
from oga_core.data.columns import STATUS
from oga_core.data.formulas import original_text
from oga_core.errors import InputError
from oga_core.export import FORMATS, WHAT, export, render, rows
from oga_core.review import decide
from oga_core.runs import Run
from tests.export.awkward_table import ROWS

TEXTS = st.lists(st.text(), min_size=1, max_size=4)
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@sum(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
    "-",
    "=",
    "-1-1",
    "-1\n",
    "+49 170",
]


def read(data: bytes, fmt: str) -> pd.DataFrame:
    if fmt == "parquet":
        return pd.read_parquet(io.BytesIO(data))
    text = data.decode()
    if fmt == "jsonl":
        return pd.DataFrame([json.loads(line) for line in text.split("\n")[:-1]], dtype=object)
    header, *cells = ([original_text(v) for v in row] for row in csv.reader(io.StringIO(text, newline="")))
    return pd.DataFrame(cells, columns=header, dtype=object)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("what", WHAT)
def test_every_list_is_read_back_from_every_format_as_it_is(run: Run, tmp_path: Path, what: str, fmt: str) -> None:
    decide(run, run.table.iloc[:3], "remove", reviewer="=ann\r\n")
    decide(run, run.table.iloc[3:6], "relabel", reviewer="béa 😀", new_label="=cat")
    chosen = {"detector": "l1", "budget": 0.5} if what == "flags" else {}
    expected = rows(run, what, **chosen)  # type: ignore[arg-type]
    assert len(expected) == {"removed": 3, "relabelled": 3, "cleaned": len(ROWS) - 3, "flags": 5}[what]
    assert export(run, what, fmt, tmp_path / "out", **chosen) == len(expected)  # type: ignore[arg-type]
    found = read((tmp_path / "out").read_bytes(), fmt)
    assert list(found.columns) == list(expected.columns)
    for column in expected:
        values = found[column].tolist()
        if fmt == "csv" and expected[column].dtype.kind in "if":
            values = [expected[column].dtype.type(v) for v in values]
        assert values == expected[column].tolist()


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, name=st.text(min_size=1))
@example(texts=FORMULAS, name="=1+1")
@example(texts=["a\rb", "\r\n", '"', '""', "'", "''=", "'=", "\u202e", "\u2028\x85", "", " ", "NA", "a,b;c\td"], name="'")
def test_a_csv_gives_back_every_text(texts: list[str], name: str) -> None:
    found = read(render(pd.DataFrame({name: texts}), "csv"), "csv")
    assert found[name].tolist() == texts


@pytest.mark.parametrize("fmt", ["jsonl", "parquet"])
@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, name=st.text(min_size=1))
@example(texts=[*FORMULAS, "a\rb", "\r\n", '"', "\u202e", "\u2028\x85", "", "\0", "NA", "null"], name="=1+1")
def test_jsonl_and_parquet_give_back_every_text_without_any_change(fmt: str, texts: list[str], name: str) -> None:
    assert read(render(pd.DataFrame({name: texts}), fmt), fmt)[name].tolist() == texts


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
@pytest.mark.parametrize("fmt", FORMATS)
def test_scores_keep_all_their_digits(fmt: str, numbers: list[float]) -> None:
    found = read(render(pd.DataFrame({"l1": numbers}), fmt), fmt)["l1"]
    assert [float(v) for v in found] == numbers


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_in_a_csv_is_neutral_in_cells_and_headers(text: str) -> None:
    cells = list(csv.reader(io.StringIO(render(pd.DataFrame({text: [text]}), "csv").decode(), newline="")))
    assert cells == [["'" + text], ["'" + text]]


@pytest.mark.parametrize("text", ["-1", "+3.5", "-.5", "-1e-5", "1", "a=b", "x-y", "'a", "", " 1"])
def test_a_number_and_a_harmless_text_stay_as_they_are_in_a_csv(text: str) -> None:
    cells = list(csv.reader(io.StringIO(render(pd.DataFrame({"a": [text]}), "csv").decode(), newline="")))
    assert cells == [["a"], [text]]


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
@settings(max_examples=100, deadline=None)
@given(text=st.text())
@example("\x1b]0;title\x07\x9b2J\x7f\x00\x85")
def test_no_character_that_a_terminal_obeys_is_written_in_cells_and_headers(fmt: str, text: str) -> None:
    with suppress(InputError):  # half a character
        written = render(pd.DataFrame({text or "a": [text]}), fmt).decode()
        assert not {c for c in written if unicodedata.category(c) == "Cc"} - set("\t\r\n")


def awkward_rows(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    """Rows of three cells: two texts of which one is not blank, and one of two labels."""
    return st.lists(st.tuples(text, text.filter(str.strip)), min_size=2, max_size=5).map(
        lambda rows: [[first, second, "ab"[i % 2]] for i, (first, second) in enumerate(rows)]
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
EVIL = ["\x1b[31m", "'\\", "\xa0=1", "\u202e@x", "'\\\\x1b", "\x00", " =1 ", "\x85", "\ufeff+1", "-5", "'-5", "\x9b", "\\x1b", ""]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(TEXT, min_size=2, max_size=2, unique=True), cells=awkward_rows(TEXT), fmt=st.sampled_from(list(FORMATS)))
@example(names=["\x1b]0;x\x07", " =1 "], cells=[[e, f"{e}x", "ab"[i % 2]] for i, e in enumerate(EVIL)], fmt="csv")
@example(names=["", "'\\"], cells=[[e, f"x{e}", "ab"[i % 2]] for i, e in enumerate(EVIL)], fmt="csv")
@example(names=["\x85a", "\x7f"], cells=[[e, f"x{e}", "ab"[i % 2]] for i, e in enumerate(EVIL)], fmt="jsonl")
def test_an_exported_table_is_opened_with_every_cell_and_column_name_as_it_was(
    tmp_path: Path, names: list[str], cells: list[list[str]], fmt: str
) -> None:
    assume(not {"label", STATUS} & set(names))
    frame = pd.DataFrame([[*row, ""] for row in cells], columns=[*names, "label", STATUS], dtype=object)
    (path := tmp_path / f"out.{fmt}").write_bytes(render(frame, fmt))
    found = open_dataset(path, inputs=names[1], label="label")
    assert [found.original(i) for i in range(len(found))] == frame.to_dict("records")


def test_pandas_reads_the_csv_with_its_columns_and_rows(run: Run, tmp_path: Path) -> None:
    export(run, "cleaned", "csv", tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert [[original_text(v) for v in row[:4]] for row in found.to_numpy().tolist()] == ROWS


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_empty_list_has_its_columns_and_no_rows(run: Run, tmp_path: Path, fmt: str) -> None:
    assert export(run, "removed", fmt, tmp_path / "out") == 0
    data = (tmp_path / "out").read_bytes()
    assert len(read(data, fmt)) == 0
    assert (b"sample_id" in data) == (fmt != "jsonl")


def test_half_a_character_is_kept_by_jsonl_and_refused_by_the_others() -> None:
    frame = pd.DataFrame({"text": ["a\udc80b"]}, dtype=object)
    assert read(render(frame, "jsonl"), "jsonl")["text"].tolist() == ["a\udc80b"]
    for fmt in ("csv", "parquet"):
        with pytest.raises(InputError, match=rf"{fmt} cannot hold half a character \('\\udc80'\); jsonl can"):
            render(frame, fmt)


def test_an_unknown_format_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown format 'xlsx'; there are: csv, jsonl, parquet"):
        export(run, "removed", "xlsx", tmp_path / "out.xlsx")
    assert not (tmp_path / "out.xlsx").exists()


@pytest.mark.parametrize("out", ["no/folder/out.csv", "data.csv/out.csv", "workspace", "pipe"])
def test_where_nothing_can_be_written_is_said_in_one_line(run: Run, tmp_path: Path, out: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="cannot write") as caught:
        export(run, "removed", "csv", str(tmp_path / out))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def killed_before_the_rename(run: Run, out: Path) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    export(run, "cleaned", "csv", out)


def test_a_kill_while_exporting_leaves_the_old_file_whole(run: Run, tmp_path: Path) -> None:
    export(run, "cleaned", "csv", tmp_path / "out.csv")
    before = (tmp_path / "out.csv").read_bytes()
    decide(run, run.table.iloc[:3], "remove", reviewer="ann")
    child = multiprocessing.get_context("fork").Process(target=killed_before_the_rename, args=(run, tmp_path / "out.csv"))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "out.csv").read_bytes() == before
    export(run, "cleaned", "csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() != before
