"""Tables of text and of features: every value stays the text it was, and what is wrong is named with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings, strategies as st

from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.data.dataset import in_order
from oga_core.data.tables import TextTable
from oga_core.errors import InputError

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
    with pytest.raises(InputError) as caught:
        open_dataset(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.sample_id(i) for i in range(len(dataset))]


# Every value stays the text it was

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROWS = st.lists(st.tuples(CELL, CELL), min_size=2, max_size=12).filter(lambda rows: len({g for _, g in rows if g}) > 1)
NASTY = [
    ("NA", "null"),
    ("null", "None"),
    ("007", "7"),
    ("1e5", "100000"),
    ("True", "true"),
    ("=HYPERLINK(1)", "-1"),
    ("a\rb\r\nc\nd", "\r"),
    ('"', '""'),
    (" lead", "trail "),
    ("\ufeffbom", "\u2028"),
    ("![x](http://x)", "<b>"),
    ("", "a,b;c\td"),
    ("\x85\x1c", "nan"),
    ("x" * 200_000, "NaN"),
]


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
@example(rows=NASTY)
def test_every_cell_stays_the_text_it_was(tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: Rows) -> None:
    path = tmp_path_factory.mktemp("cells") / f"t.{suffix}"
    WRITERS[suffix](path, rows)
    dataset = read(path)
    assert dataset.notes == []
    assert [dataset.text(i) for i in range(len(dataset))] == [t for t, _ in rows]
    assert [dataset.label_name(i) for i in range(len(dataset))] == [g for _, g in rows]
    assert [dataset.original(i) for i in range(len(dataset))] == [{"text": t, "label": g} for t, g in rows]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, data=st.data())
def test_ids_do_not_depend_on_order_or_format(tmp_path_factory: pytest.TempPathFactory, rows: Rows, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("ids")
    write_csv(folder / "a.csv", rows)
    before = dict(zip(rows, ids(read(folder / "a.csv")), strict=True))
    for suffix in ("tsv", "jsonl", "parquet"):
        shuffled = data.draw(st.permutations(rows))
        WRITERS[suffix](folder / f"b.{suffix}", shuffled)
        assert ids(read(folder / f"b.{suffix}")) == [before[row] for row in shuffled]
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize("suffix", WRITERS)
def test_words_that_other_readers_take_for_nothing_are_classes(tmp_path: Path, suffix: str) -> None:
    labels = ["NA", "null", "None", "nan", "007", "1e5", "True", ""]
    WRITERS[suffix](tmp_path / f"t.{suffix}", [(f"text {i}", g) for i, g in enumerate(labels)])
    dataset = read(tmp_path / f"t.{suffix}")
    assert dataset.class_names == sorted(labels[:-1])
    assert [dataset.label_name(i) for i in range(8)] == labels
    assert dataset.labels[-1] == -1
    assert dataset.load(7) == "text 7"


def test_numbers_in_json_keep_their_spelling(tmp_path: Path) -> None:
    texts, labels = ["-0", "1.0", "9" * 5000, ""], ["1e5", "1.50", "true", ""]
    lines = [f'{{"text": {t or "null"}, "label": {g or "null"}}}' for t, g in zip(texts, labels)]
    dataset = read(text_file(tmp_path, "\n".join(lines), "t.jsonl"), inputs="text")
    assert dataset.columns == {"text": texts, "label": labels}


def test_parquet_types_become_text_and_nothing_is_guessed(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", None, "NA"]).dictionary_encode(),
            "label": pa.array([7, 10, -1], pa.int8()),
            "flag": [True, False, None],
            "nothing": pa.nulls(3),
            "half": pa.array([0.5, float("nan"), 1], pa.float64()),
            "picture": pa.array([b"\xff"] * 3),
            "large": pa.array([b"\xff"] * 3, pa.large_binary()),
            "fixed": pa.array([b"\xff"] * 3, pa.binary(1)),
            "list": [[1], [2], []],
            "struct": [{"a": 1}] * 3,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    dataset = read(tmp_path / "t.parquet")
    assert dataset.class_names == ["-1", "7", "10"]
    assert dataset.columns == {
        "text": ["a", "", "NA"],
        "label": ["7", "10", "-1"],
        "flag": ["true", "false", ""],
        "nothing": ["", "", ""],
        "half": ["0.5", "nan", "1.0"],
    }


def test_whole_numbers_are_in_order_of_value_and_anything_else_in_order_of_text() -> None:
    assert in_order({"10", "9", "-1", "007", "7"}) == ["-1", "007", "7", "9", "10"]
    assert in_order({"10", "9", "x"}) == ["10", "9", "x"]
    assert in_order({"10", "9", "٣"}) == ["10", "9", "٣"]
    assert in_order({"1" * 5000, "2"}) == ["1" * 5000, "2"]


# Which columns


@pytest.mark.parametrize("header", ["sentence", "Content", "TITLE", "unheard of"])
def test_the_text_is_found_by_its_name_or_by_being_the_only_other_column(tmp_path: Path, header: str) -> None:
    dataset = read(text_file(tmp_path, f"id,{header},Label\n1,hi,x\n2,ho,y\n"))
    assert (dataset.inputs, dataset.label_column, dataset.notes) == ([header], "Label", [])
    assert dataset.load(1) == "ho"


def test_the_longest_column_is_a_guess_that_is_said(tmp_path: Path) -> None:
    path = text_file(tmp_path, "who,said,label\nann,a long sentence,x\nbob,another one,y\n")
    assert read(path).inputs == ["said"]
    assert "taken from column 'said', the longest" in read(path).notes[0]
    assert read(path, inputs="who").notes == []
    assert read(path, inputs="who").load(0) == "ann"


@pytest.mark.parametrize("pair", ["text_a,text_b", "sentence1,sentence2", "premise,hypothesis", "question,sentence"])
def test_a_pair_of_texts_is_joined_by_a_line_break(tmp_path: Path, pair: str) -> None:
    dataset = read(text_file(tmp_path, f"index,{pair},label\n0,one,two,x\n1,three,four,y\n"))
    assert dataset.load(0) == "one\ntwo"
    assert dataset.inputs == pair.split(",")
    assert dataset.original(0)["index"] == "0"


def test_columns_are_taken_as_they_are_named(tmp_path: Path) -> None:
    path = text_file(tmp_path, 'text,label,"a,b",stars\nt1,x,c1,5\nt2,y,c2,1\n')
    assert read(path, inputs="a,b").load(0) == "c1"
    assert read(path, inputs="text, stars", label="label").load(1) == "t2\n1"
    assert read(path, label="stars").class_names == ["1", "5"]
    assert "no column 'size'; it has: 'text', 'label', 'a,b', 'stars'" in refusal(path, inputs="size")
    assert "no column 'size'" in refusal(path, label="size")
    assert "'label' cannot be both the text and the label" in refusal(path, inputs="text,label")


def test_the_truth_of_an_example_is_never_read_as_its_text(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, "clean_label,note,label\nx,hi,x\nverylongname,ho,y\n"))
    assert dataset.inputs == ["note"]


def test_a_table_without_label_or_text_column_is_refused(tmp_path: Path) -> None:
    assert "no label column among 'a', 'b'; name it (--label)" in refusal(text_file(tmp_path, "a,b\n1,2\n"))
    assert "no column besides the label" in refusal(text_file(tmp_path, "id,label\n1,x\n2,y\n"))


def test_too_few_classes_and_far_too_many_are_said(tmp_path: Path) -> None:
    assert "column 'label' has 1 class ('x'); at least two" in refusal(text_file(tmp_path, "text,label\na,x\nb,x\n"))
    assert "column 'label' has 0 class; at least two" in refusal(text_file(tmp_path, "text,label\na,\nb,\n"))
    many = "text,label\n" + "".join(f"a,{i}\n" for i in range(1001))
    assert "1,001 different values: is it the label?" in read(text_file(tmp_path, many)).notes[0]


# What is wrong is named with its line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,x,1\nb,y,2\n", "line 2: 3 cells where the header has 2"),
        ('text,label\n"two\nlines",x\nb\n', "line 4: 1 cells where the header has 2"),
        ("text,label\n\n\na,x,\n", "line 4: 3 cells"),
        ('text,label\na,x\n"b,y\nc,z\n', "line 3: unexpected end of data (an open quote?)"),
        ('text,label\na,x\n"b"c,y\n', "line 3: ',' expected after '\"' (an open quote?)"),
        ("text,label,text\na,x,b\n", "line 1: the column 'text' is there twice"),
        ("text, text ,label\na,x,b\n", "line 1: the column 'text' is there twice"),
        ("text,,label\na,x,b\n", "line 1: column 2 has no name"),
        ("text,label\na,x\nb\0,y\n", "line 3: a NUL byte"),
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
        ('{"text": "b", "label": "y", "label": "z"}', "a key is there twice"),
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


# Encodings and delimiters


@pytest.mark.parametrize(
    ("encoding", "note"),
    [("utf-8", None), ("utf-8-sig", None), ("utf-16", "read as UTF-16"), ("latin-1", "not UTF-8 (line 3): read as Latin-1")],
)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "text,label\nplain,x\ncafé,é\n"),
        ("t.csv.gz", "text,label\nplain,x\ncafé,é\n"),
        ("t.tsv", "text\tlabel\nplain\tx\ncafé\té\n"),
        ("t.jsonl", '\n{"text": "plain", "label": "x"}\n{"text": "café", "label": "é"}\n'),
    ],
)
def test_encodings_are_found_and_said(tmp_path: Path, encoding: str, note: str | None, name: str, text: str) -> None:
    data = text.encode(encoding)
    dataset = read(text_file(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name))
    assert dataset.columns == {"text": ["plain", "café"], "label": ["x", "é"]}
    assert [n.partition(";")[0] for n in dataset.notes] == ([note] if note else [])


def test_big_endian_utf16_is_read_and_half_a_character_refused(tmp_path: Path) -> None:
    data = "\ufefftext,label\né,x\nb,y\n".encode("utf-16-be")
    assert read(text_file(tmp_path, data)).load(0) == "é"
    assert "begins as UTF-16 but is not" in refusal(text_file(tmp_path, data[:-1]))
    assert "a NUL byte" in refusal(text_file(tmp_path, data[2:]))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_line_ends_and_delimiters_are_found(tmp_path: Path, end: str, delimiter: str) -> None:
    others = ",;\t".replace(delimiter, "") * 9
    rows = [("text", "label"), (f'"a{delimiter}{others}"', "x"), (others, "y"), ("", "x")]
    dataset = read(text_file(tmp_path, "".join(delimiter.join(row) + end for row in rows)))
    assert dataset.columns == {"text": [f"a{delimiter}{others}", others, ""], "label": ["x", "y", "x"]}


def test_delimiters_inside_a_quoted_name_do_not_count(tmp_path: Path) -> None:
    assert list(read(text_file(tmp_path, '"a; b; c",label\nhi,x\nho,y\n')).columns) == ["a; b; c", "label"]


def test_the_unnamed_first_column_of_pandas_is_its_index(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}).to_csv(tmp_path / "t.csv")
    assert read(tmp_path / "t.csv").columns == {"index": ["0", "1"], "text": ["a", "b"], "label": ["x", "y"]}


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
    assert "a column name is there twice" in refusal(text_file(tmp_path, parquet_bytes(twice), "t.parquet"))
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


# Features


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table_of_numbers_is_features(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    frame = pd.DataFrame(values.astype(float), columns=["a", "b", "c"]).assign(id=range(20), y=["dog", "cat"] * 10)
    path = tmp_path / f"t.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    dataset = open_dataset(path)
    assert (dataset.kind, dataset.class_names) == ("features", ["cat", "dog"])
    assert dataset.labels.tolist() == [1, 0] * 10
    assert dataset.notes == ["the rows are features: 3 numeric columns"]
    loaded = np.stack([dataset.load(i) for i in range(20)])
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, values)


def test_a_feature_that_is_missing_is_one_sample_not_read(tmp_path: Path) -> None:
    dataset = open_dataset(text_file(tmp_path, "a,b,label\n1,2,x\n3,,y\ninf,4,x\n5,6,\n"))
    assert dataset.load(0).tolist() == [1, 2]
    for i in (1, 2):
        with pytest.raises(SampleError, match="a feature is not a finite number"):
            dataset.load(i)
    assert (dataset.load(3).tolist(), dataset.labels[3]) == ([5, 6], -1)


def test_classes_of_features_are_the_texts_they_were(tmp_path: Path) -> None:
    dataset = open_dataset(text_file(tmp_path, "a,label\n1,10\n2,007\n3,9\n4,\n"))
    assert dataset.class_names == ["007", "9", "10"]
    assert dataset.labels.tolist() == [2, 0, 1, -1]
    dataset = open_dataset(text_file(tmp_path, '{"a": 1, "label": "x\\u0000"}\n{"a": 2, "label": "x"}', "t.jsonl"))
    assert [dataset.label_name(i) for i in range(2)] == ["x\0", "x"]
    assert "1 class(es)" in refusal(text_file(tmp_path, "a,label\n1,x\n2,x\n"))


def test_numbers_in_a_column_called_text_are_text(tmp_path: Path) -> None:
    assert read(text_file(tmp_path, "text,label\n1,x\n2,y\n")).load(0) == "1"


# Real data


@pytest.mark.parametrize(
    "name",
    [
        "newsclass_hausa/train.csv",
        "newsclass_yoruba/train.csv",
        "sst2/train.csv.gz",
        "sst2/test.csv",
        "mrpc/train.csv",
        "banking77/train.csv",
        "sms_spam/sms.csv",
        "trec/test.csv",
        "qnli_dev/dev.csv",
        "newsgroups20_test/test.csv.gz",
    ],
)
def test_real_tables_are_what_pandas_reads(test_data: Path, name: str) -> None:
    frame = pd.read_csv(test_data / name, keep_default_na=False, dtype=str)
    dataset = read(test_data / name)
    assert dataset.columns == {c: frame[c].tolist() for c in frame}
    assert [dataset.label_name(i) for i in range(len(dataset))] == frame["label"].tolist()
    assert dataset.inputs == (["text_a", "text_b"] if "text_a" in frame else ["text"])
    assert set(dataset.class_names) == set(frame["label"])
    assert dataset.notes == []
    if "text_a" in frame:
        assert dataset.load(5) == frame["text_a"][5] + "\n" + frame["text_b"][5]
    if "clean_label" in frame:
        assert np.mean(frame["label"] != frame["clean_label"]) > 0.3


def test_a_real_table_without_a_known_label_column_asks_for_it(test_data: Path) -> None:
    path = test_data / "datainf" / "math_with_reason_test.csv"
    assert "no label column among 'text', 'variation', 'prompt'" in refusal(path, inputs="text")
    assert len(read(path, inputs="text", label="variation").class_names) == 10
