"""Prompts with answers: how their columns are found, what is their identity, and that they are kept for exports."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from oga_core import Dataset, InputError, open_dataset
from oga_core.data import SampleError, from_prompts
from oga_core.data.tables import UNGROUPED, PromptTable

COLUMNS = {"prompt": ["a", "b", "c"], "answer": ["x", "y", ""], "kind": ["one", "two", ""]}


def written(tmp_path: Path, suffix: str = "csv", columns: dict[str, list[str]] = COLUMNS) -> Path:
    path, frame = tmp_path / f"t.{suffix}", pd.DataFrame(columns)
    if suffix == "parquet":
        frame.to_parquet(path, index=False)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    else:
        data = frame.to_csv(index=False, sep="\t" if suffix == "tsv" else ",").encode()
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    return path


def prompts(path: Path, **options: str) -> Dataset:
    dataset = open_dataset(path, **options)
    assert isinstance(dataset, PromptTable)
    assert dataset.kind == "prompts"
    return dataset


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "jsonl", "parquet"])
def test_a_table_of_prompts_and_answers_is_known_by_its_columns(tmp_path: Path, suffix: str) -> None:
    dataset = prompts(written(tmp_path, suffix))
    first = dataset.load(0)
    assert (first.prompt, first.answer, str(first), dataset.text(0)) == ("a", "x", "a\nx", "a\nx")
    assert [dataset.label_name(i) for i in range(3)] == ["one", "two", UNGROUPED]
    assert dataset.original(1) == {"prompt": "b", "answer": "y", "kind": "two"}
    with pytest.raises(SampleError, match="the answer is empty"):
        dataset.load(2)


def test_without_a_column_of_groups_all_are_of_one(tmp_path: Path) -> None:
    path = written(tmp_path, columns={"Prompt": ["a", "b"], "Response": ["x", "y"]})
    dataset = prompts(path)
    assert (dataset.class_names, dataset.labels.tolist(), dataset.label_column) == ([UNGROUPED], [0, 0], "")


def test_other_columns_are_named_with_an_arrowhead_between_them(tmp_path: Path) -> None:
    path = written(tmp_path, columns={"q": ["a", "b"], "a": ["x", "y"], "topic": ["t", "t"], "z": ["1", "2"]})
    assert prompts(path, inputs="q > a").load(1).answer == "y"
    assert prompts(path, inputs="q>a").class_names == ["t"]
    assert prompts(path, inputs="q>a", label="z").class_names == ["1", "2"]
    with pytest.raises(InputError, match="no column 'b'; it has: 'q', 'a', 'topic', 'z'"):
        open_dataset(path, inputs="q>b")
    with pytest.raises(InputError, match="'a' cannot be both"):
        open_dataset(path, inputs="q>a", label="a")


def test_columns_joined_by_a_comma_are_a_pair_of_texts_for_a_classifier(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path), inputs="prompt,answer", label="kind")
    assert (dataset.kind, dataset.load(0).texts) == ("text", ("a", "x"))


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12), at=st.integers(0, 12), other=st.integers(0, 12))
def test_where_the_prompt_ends_is_part_of_a_samples_identity(text: str, at: int, other: int) -> None:
    at, other = min(at, len(text)), min(other, len(text))
    both = from_prompts([text[:at], text[:other]], [text[at:], text[other:]])
    assert (both.sample_id(0) == both.sample_id(1)) == (at == other)


def test_prompts_in_memory_are_found_again_where_they_were_saved(tmp_path: Path) -> None:
    dataset = from_prompts(["a", "b"], ["x", "y\n"], ["g", None])
    source, options = dataset.save(tmp_path)
    again = open_dataset(source, **options)
    assert [again.sample_id(i) for i in range(2)] == [dataset.sample_id(i) for i in range(2)]
    assert again.class_names == ["g", UNGROUPED]
    source, options = from_prompts(["a"], ["x"]).save(tmp_path)
    assert open_dataset(source, **options).class_names == [UNGROUPED]
    with pytest.raises(InputError, match="2 prompts but 1 answers"):
        from_prompts(["a", "b"], ["x"])


def test_words_are_searched_in_prompt_and_answer(tmp_path: Path) -> None:
    dataset = prompts(written(tmp_path, columns={"prompt": ["red fox", "dog"], "answer": ["blue", "red"]}))
    assert dataset.search("red").tolist() == [True, True]
    assert dataset.search("RED blue").tolist() == [True, False]
