"""Tables of text and of features: every value stays the text it was, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings, strategies as st

from oga_core.data import SampleError, open_dataset
from oga_core.data.dataset import in_order
from tests.data.opened import ids
from tests.data.table_files import WRITERS, Rows, read, refusal, text_file, write_csv

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
        "half": ["0.5", "", "1.0"],
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


# Encodings and delimiters


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "read as UTF-16"),
        ("latin-1", "not UTF-8 (line 3): read as Windows-1252 (cp1252)"),
    ],
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


def test_western_letters_of_windows_are_read_and_what_windows_has_not_is_latin_1(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, "text,label\ncafé – “quote” €5,x\nb,y\n".encode("cp1252")))
    assert dataset.load(0) == "café – “quote” €5"
    dataset = read(text_file(tmp_path, b"text,label\n\xe9\x81,x\nb,y\n"))
    assert dataset.load(0) == "é\x81"
    assert dataset.notes[0].startswith("not UTF-8 (line 2): read as Latin-1;")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_the_header_is_that_of_the_table(tmp_path: Path, delimiter: str) -> None:
    dataset = read(text_file(tmp_path, f"text{delimiter}label\na b{delimiter}x\n'c'{delimiter}y\n"))
    assert dataset.columns == {"text": ["a b", "'c'"], "label": ["x", "y"]}
    assert dataset.notes == []


@pytest.mark.parametrize("delimiter", [",", ";", ":", "^"])
def test_a_line_that_names_the_delimiter_for_excel_is_followed(tmp_path: Path, delimiter: str) -> None:
    dataset = read(text_file(tmp_path, f"sep={delimiter}\r\ntext{delimiter}label\r\na{delimiter}x\r\nb{delimiter}y\r\n"))
    assert dataset.columns == {"text": ["a", "b"], "label": ["x", "y"]}
    bad = text_file(tmp_path, f"sep={delimiter}\ntext{delimiter}label\na\n")
    assert "line 3: 1 cells where the header has 2" in refusal(bad)


def test_blanks_after_delimiters_belong_to_no_cell_and_are_noted(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, 'text, label, n\n"a, b", x, 1\n c , y, 2\n'))
    assert dataset.columns == {"text": ["a, b", "c "], "label": ["x", "y"], "n": ["1", "2"]}
    assert dataset.notes == ["blanks after a delimiter were left out"]
    assert read(text_file(tmp_path, "text,label\na, x\nb,y\n")).class_names == [" x", "y"]


def test_quotation_marks_in_a_tsv_that_quote_nothing_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, 'text\tlabel\n"Great" film\tx\nan 8" disk\ty\n"all"\tx\n', "t.tsv"))
    assert dataset.columns["text"] == ['"Great" film', 'an 8" disk', '"all"']
    assert "quotation marks were read as ordinary characters" in dataset.notes[0]
    assert read(text_file(tmp_path, 'text\tlabel\n"a\tb"\tx\nc\ty\n', "t.tsv")).load(0) == "a\tb"


def test_columns_at_the_end_without_name_and_value_are_left_out_and_noted(tmp_path: Path) -> None:
    dataset = read(text_file(tmp_path, "text,label,,,\na,x,,,\nb,y,, ,\n"))
    assert dataset.columns == {"text": ["a", "b"], "label": ["x", "y"]}
    assert dataset.notes == ["3 columns at the end have no name and no value; they were left out"]
    assert "line 3: a cell in a column that has no name" in refusal(text_file(tmp_path, "text,label,,\na,x,,\nb,y,,more\n"))


@given(names=st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=12, unique=True))
def test_columns_of_json_lines_come_in_the_order_in_which_they_first_appear(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    half = len(names) // 2
    rows = [
        {"text": "a", "label": "x"},
        dict.fromkeys(names[half:], "1"),
        {"label": "y", "text": "b"} | dict.fromkeys(names, "2"),
    ]
    path = text_file(tmp_path_factory.mktemp("json"), "\n".join(map(json.dumps, rows)), "t.jsonl")
    assert list(read(path, inputs="text", label="label").columns) == ["text", "label", *names[half:], *names[:half]]


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
