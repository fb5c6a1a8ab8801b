"""Words are found in texts and sources, whatever their capitals, against a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

import oga_core as oga
from oga_core.data import dataset as module
from oga_core.data.search import texts, with_words
from oga_core.data.subset import Subset
from oga_core.data.tables import TextTable

LETTERS = st.text(alphabet="aAbBäÄßжЖ猫.*[\\ 1", max_size=12)


def plain(columns: list[list[str]], words: str) -> list[bool]:
    rows = zip(*([v.lower() for v in column] for column in columns))
    return [all(any(word in value for value in row) for word in words.lower().split()) for row in rows]


@given(st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=8), LETTERS)
def test_every_word_must_be_in_one_of_the_columns(rows: list[tuple[str, str]], words: str) -> None:
    columns = [list(column) for column in zip(*rows)]
    found = with_words([texts(column) for column in columns], words)
    assert (found.dtype, found.shape) == (bool, (len(rows),))
    assert found.tolist() == plain(columns, words)


def test_signs_of_patterns_are_letters_like_any_other() -> None:
    found = with_words([texts(["a.c", "abc", "(", "a\\d", "100%", "x\ny"])], ".")
    assert found.tolist() == [True, False, False, False, False, False]
    for word, at in (("(", 2), ("\\d", 3), ("%", 4)):
        assert np.flatnonzero(with_words([texts(["a.c", "abc", "(", "a\\d", "100%"])], word)).tolist() == [at]


def test_half_a_character_neither_breaks_the_search_nor_is_found() -> None:
    found = with_words([texts(["a \ud800 b", "c"])], "a b")
    assert found.tolist() == [True, False]
    assert with_words([texts(["plain", "?"])], "\ud800").tolist() == [False, True]


def test_texts_and_rows_of_a_table_are_searched_and_not_its_labels() -> None:
    table = oga.from_texts(["A red fox", "the Fox and\nthe dog", "", "fox red"], ["cat", "dog", "cat", "dog"])
    assert table.search("fox RED").tolist() == [True, False, False, True]
    assert table.search("row 2").tolist() == [False, False, True, False]
    assert not table.search("cat").any()
    assert table.search("  ").all()


def test_both_texts_of_a_pair_are_searched() -> None:
    pair = TextTable({"a": ["red", "x"], "b": ["fox", "red fox"], "c": ["dog", "dog"], "y": ["0", "1"]}, ["a", "b"], "y")
    assert pair.search("red fox").tolist() == [True, True]
    assert pair.search("red x").tolist() == [True, True]
    assert pair.search("dog").tolist() == [False, False]


def test_images_are_found_by_their_file_names(tmp_path: Path) -> None:
    for name in ("cat/Tom_1.png", "cat/2.png", "dog/tom.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(tmp_path / name)
    folder = oga.open_dataset(tmp_path)
    found = [folder.sources[i] for i in np.flatnonzero(folder.search("TOM")).tolist()]
    assert found == ["cat/Tom_1.png", "dog/tom.png"]
    assert np.flatnonzero(Subset(folder, np.array([2, 0])).search("cat")).tolist() == [1]


def test_features_are_found_by_their_rows() -> None:
    arrays = oga.from_arrays(np.eye(12), ["a", "b"] * 6)
    assert np.flatnonzero(arrays.search("row 1")).tolist() == [1, 10, 11]


def test_an_answer_is_kept_for_the_next_time_but_not_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(columns: list[object], words: str) -> np.ndarray:
        made.append(words)
        return with_words(columns, words)

    monkeypatch.setattr(module, "with_words", counted)
    arrays = oga.from_arrays(np.eye(4), ["a", "b"] * 2)
    arrays.search("row 1")[:] = True
    assert arrays.search("row 1").tolist() == [False, True, False, False]
    for i in range(2 * module.SEARCHES):
        arrays.search(f"{i}")
    arrays.search("row 1")
    assert made.count("row 1") == 2
