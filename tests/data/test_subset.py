"""A part of a data set: the same samples by another position."""

from __future__ import annotations

import numpy as np
import pytest

import oga_core as oga
from oga_core.data import Arrays, Dataset, SampleError, Subset

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
NAMES = ["ant", "bee", "cat", "dog"]
ROWS = np.array([6, 1, 1, 4])


@pytest.fixture
def whole() -> Arrays:
    values = X.copy()
    values[4, 0] = np.nan
    return oga.from_arrays(values, [0, 1, 2, 3, 0, 1, -1, 3], NAMES)


@pytest.fixture
def part(whole: Dataset) -> Subset:
    return Subset(whole, ROWS)


def test_samples_keep_their_identity_content_and_source(whole: Dataset, part: Subset) -> None:
    assert len(part) == 4
    assert [part.sample_id(i) for i in range(4)] == [whole.sample_id(i) for i in ROWS]
    assert [part.content(i) for i in range(4)] == [whole.content(i) for i in ROWS]
    assert part.sources == ["row 6", "row 1", "row 1", "row 4"]
    for i in (1, 2):
        assert np.array_equal(part.load(i), X[1])
    with pytest.raises(SampleError, match="a feature is not a finite number"):
        part.load(3)


def test_labels_and_all_class_names_are_those_of_the_whole(whole: Dataset, part: Subset) -> None:
    assert part.labels.tolist() == [-1, 1, 1, 0]
    assert part.class_names == NAMES
    assert [part.label_name(i) for i in range(4)] == ["", "bee", "bee", "ant"]
    assert (part.kind, part.notes, part.origin) == ("features", [], None)
    part.class_names.append("eel")
    assert whole.class_names == NAMES


def test_other_labels_make_other_samples_and_leave_the_whole_as_it_is(whole: Dataset) -> None:
    before = whole.labels.copy()
    relabelled = Subset(whole, ROWS, np.array([4, 1, 0, 4]), [*NAMES, "eel"])
    assert relabelled.labels.dtype == np.int64
    assert [relabelled.label_name(i) for i in range(4)] == ["eel", "bee", "ant", "eel"]
    same = [relabelled.sample_id(i) == whole.sample_id(r) for i, r in enumerate(ROWS)]
    assert same == [False, True, False, False]
    assert np.array_equal(whole.labels, before)


def test_a_part_of_a_part_has_the_labels_of_that_part(whole: Dataset) -> None:
    outer = Subset(whole, ROWS, np.array([4, 1, 0, 4]), [*NAMES, "eel"])
    inner = outer.take(np.array([3, 0]))
    assert (inner.rows.tolist(), inner.labels.tolist()) == ([4, 6], [4, 4])
    assert inner.class_names == outer.class_names
    assert inner.sources == ["row 4", "row 6"]
    assert [inner.sample_id(i) for i in range(2)] == [outer.sample_id(3), outer.sample_id(0)]
    assert inner.whole is whole


def test_a_part_may_be_empty(whole: Dataset) -> None:
    none = Subset(whole, np.empty(0, np.int64))
    assert (len(none), none.sources, none.class_names) == (0, [], NAMES)


def test_a_part_of_texts_is_read_as_texts() -> None:
    texts = Subset(oga.from_texts(["one", "two", "three"], ["a", "b", "a"]), np.array([2, 0]))
    assert [texts.load(i) for i in range(2)] == ["three", "one"]
    assert [texts.text(i) for i in range(2)] == ["three", "one"]
    assert texts.kind == "text"
