"""The embedded examples: real data as ordinary files, a tenth of the labels flipped, and the truth beside them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.datasets import load_digits

from oga_core.data import Dataset, open_dataset
from oga_core.data.examples import EXAMPLES, LIBRARIES, flip, make_example
from oga_core.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each example's file, made once."""
    return {name: make_example(name, tmp_path_factory.mktemp(name) / "new" / "folder") for name in EXAMPLES}


def truth(name: str, path: Path) -> list[dict[str, str]]:
    with open(path.with_name(EXAMPLES[name].truth), encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def given_labels(dataset: Dataset) -> dict[str, str]:
    return {dataset.sources[i]: dataset.label_name(i) for i in range(len(dataset))}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_truth_names_every_sample_and_a_tenth_is_flipped(made: dict[str, Path], name: str) -> None:
    rows = truth(name, made[name])
    assert list(rows[0]) == ["source", "label", "true_label"]
    assert {row["source"]: row["label"] for row in rows} == given_labels(open_dataset(made[name]))
    assert sum(row["label"] != row["true_label"] for row in rows) == round(len(rows) / 10)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_whole_and_reads_without_a_note(made: dict[str, Path], name: str) -> None:
    dataset = open_dataset(made[name])
    assert dataset.notes == []
    assert (dataset.labels >= 0).all()
    assert all(dataset.load(i) for i in range(0, len(dataset), 50))
    assert f"{len(dataset):,}" in EXAMPLES[name].note
    assert {p.name for p in made[name].parent.iterdir()} == {EXAMPLES[name].file, EXAMPLES[name].truth}


def test_the_digits_are_those_of_scikit_learn(made: dict[str, Path]) -> None:
    digits, dataset = load_digits(), open_dataset(made["digits"])
    assert len(dataset) == 1797
    assert dataset.class_names == [str(i) for i in range(10)]
    true = {row["source"]: int(row["true_label"]) for row in truth("digits", made["digits"])}
    for i, source in enumerate(dataset.sources):
        number = int(source[-8:-4])
        assert true[source] == digits.target[number]
        scan = np.asarray(dataset.load(i)).astype(float)
        np.testing.assert_allclose(scan[..., 0], digits.images[number] * 255 / 16, atol=0.5)


def test_the_docstrings_are_balanced_and_each_there_once(made: dict[str, Path]) -> None:
    dataset, rows = open_dataset(made["docstrings"]), truth("docstrings", made["docstrings"])
    assert Counter(row["true_label"] for row in rows) == dict.fromkeys(LIBRARIES, 300)
    texts = [dataset.load(i) for i in range(len(dataset))]
    assert len(set(texts)) == len(texts) == 1500
    assert all(80 <= len(t) <= 400 and t.rstrip() == " ".join(t.split()) for t in texts)
    assert max(Counter(row["true_label"] for row in rows[:500]).values()) < 250, "they lie in no order of their libraries"


def test_the_docstrings_are_the_libraries_own(made: dict[str, Path]) -> None:
    import sklearn.linear_model
    import sklearn.neighbors

    dataset, rows = open_dataset(made["docstrings"]), truth("docstrings", made["docstrings"])
    ours = {dataset.load(i) for i, row in enumerate(rows) if row["true_label"] == "sklearn"}
    theirs = {
        " ".join(text.split())[:80]
        for module in (sklearn.linear_model, sklearn.neighbors)
        for name in module.__all__
        if (text := getattr(module, name).__doc__)
    }
    assert theirs & {text[:80] for text in ours}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_the_same_bytes_when_made_again(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    again = make_example(name, tmp_path)
    assert again.read_bytes() == made[name].read_bytes()
    assert again.with_name(EXAMPLES[name].truth).read_bytes() == made[name].with_name(EXAMPLES[name].truth).read_bytes()


def test_an_example_that_is_there_is_left_alone_and_half_of_one_is_made_whole(tmp_path: Path) -> None:
    path = make_example("digits", tmp_path)
    before = path.stat().st_mtime_ns
    assert make_example("digits", tmp_path) == path
    assert path.stat().st_mtime_ns == before
    (tmp_path / EXAMPLES["digits"].truth).unlink()
    make_example("digits", tmp_path)
    assert len(truth("digits", path)) == 1797


def test_an_unknown_example_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown example 'digit'; there are: digits, docstrings"):
        make_example("digit", tmp_path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=2, max_size=200).filter(lambda labels: len(set(labels)) > 1),
    st.integers(0, 9),
    st.floats(0, 1),
)
def test_a_flip_is_always_to_another_class_and_as_many_as_asked_for(labels: list[str], seed: int, share: float) -> None:
    flipped = flip(labels, seed, share)
    assert sum(a != b for a, b in zip(labels, flipped, strict=True)) == round(share * len(labels))
    assert set(flipped) <= set(labels)
    assert flip(labels, seed, share) == flipped


def test_flips_fall_on_every_class_and_every_other_class_alike() -> None:
    labels = ["a", "b", "c"] * 1000
    pairs = Counter((a, b) for a, b in zip(labels, flip(labels, share=0.5)) if a != b)
    assert len(pairs) == 6
    assert all(200 < n < 300 for n in pairs.values())
    assert flip(labels, seed=0) != flip(labels, seed=1)
