"""The inventory of a data set: one look at each sample, and what it shows, against pandas and each sample alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from PIL import Image

import oga_core as oga
from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.data.inventory import BLOCK, STAGE, take_inventory

PAIRS = st.tuples(st.sampled_from(["a", "b", "c c", "ä", "  "]), st.sampled_from(["x", "y", "z"]))
TEXTS = st.lists(PAIRS, max_size=30).map(lambda rows: [*rows, ("only x", "x"), ("only y", "y")])


def texts(rows: list[tuple[str, str]]) -> Dataset:
    return oga.from_texts([text for text, _ in rows], [label for _, label in rows])


@given(rows=TEXTS)
def test_ids_and_sizes_are_those_of_each_sample(rows: list[tuple[str, str]]) -> None:
    dataset = texts(rows)
    found = take_inventory(dataset)
    assert [i.decode() for i in found.sample_ids] == [dataset.sample_id(i) for i in range(len(dataset))]
    assert found.sizes.tolist() == [len(text.encode()) for text, _ in rows]
    assert found.sizes.dtype == np.int64


@given(rows=TEXTS)
def test_contents_with_several_labels_are_counted_as_pandas_does(rows: list[tuple[str, str]]) -> None:
    labels_of = pd.DataFrame(rows, columns=["text", "label"]).groupby("text")["label"].nunique()
    several = int((labels_of > 1).sum())
    notes = take_inventory(texts(rows)).notes(texts(rows))
    assert [note.split(" samples ")[0] for note in notes] == ([str(several)] if several else [])


def test_the_first_contradiction_is_shown_with_both_labels() -> None:
    dataset = texts([("a", "x"), ("b", "x"), ("c", "y"), ("b", "z"), ("a", "x")])
    (note,) = take_inventory(dataset).notes(dataset)
    assert note.endswith("all are kept, such as row 1 as 'x' and row 3 as 'z'")


def test_samples_without_label_contradict_nothing() -> None:
    dataset = oga.from_texts(["a", "a", "b"], ["x", None, "y"])
    assert take_inventory(dataset).notes(dataset) == []


def test_what_decoding_changes_is_counted_and_a_file_that_is_gone_has_no_id(tmp_path: Path) -> None:
    for label, mode in (("ants", "RGBA"), ("bees", "RGB")):
        (tmp_path / label).mkdir()
        for i in range(3):
            Image.new(mode, (9, 9), (i, 0, 0, 90)[: len(mode)]).save(tmp_path / label / f"{i}.png")
    dataset = open_dataset(str(tmp_path))
    whole = take_inventory(dataset)
    assert sum(whole.conversions.values()) == 3
    assert whole.notes(dataset)[0].startswith("3 images ")
    (tmp_path / "ants" / "1.png").unlink()
    with pytest.raises(SampleError):
        dataset.content(1)
    found = take_inventory(dataset)
    assert (found.sample_ids[1], found.contents[1], found.sizes[1]) == (b"", 0, 0)
    assert np.array_equal(np.delete(found.sample_ids, 1), np.delete(whole.sample_ids, 1))


def test_progress_is_reported_by_block_to_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    n = 2 * BLOCK + 1
    take_inventory(oga.from_arrays(np.zeros((n, 2), np.float32), np.arange(n) % 2), lambda *step: told.append(step))
    assert told == [(STAGE, done, n) for done in (0, BLOCK, 2 * BLOCK, n)]
