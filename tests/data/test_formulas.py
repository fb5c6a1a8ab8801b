"""No spreadsheet runs a text of an exported CSV, no terminal obeys it, and the original comes back."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings, strategies as st

from oga_core.data.formulas import neutral_text, original_text

INVISIBLE = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Cf", "Cc", "Zs", "Zl", "Zp")]
FORMULAS = ["=1+1", "+1+1", "-1+1", "@sum(1)", "＝1", "＋1", "－1", "＠1", "﹦1", "﹢1", "﹣1", "﹫1", "\u22121+1"]
CONTROLS = {chr(i) for i in (*range(0x20), *range(0x7F, 0xA0))} - set("\t\n\r")
PIECES = st.sampled_from([*"'\\x0f1-+=@e.\t\n\r ", "\\x1b", "'\\", "\x1b", "\x00", "\x9b", "\xa0", "\u200b", "\u202e", "−", "＝"])
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("'\\")
@example("'\\\\x41")
@example("\\x41\x1b")
@example("'''\\\x1b")
def test_every_text_comes_back(text: str) -> None:
    assert original_text(neutral_text(text)) == text


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_what_is_written_is_no_formula_and_has_no_control_character(text: str) -> None:
    written = neutral_text(text)
    assert not CONTROLS & set(written)
    if not re.fullmatch(r"[+\-−]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text.lstrip("".join(INVISIBLE) + "'"), re.ASCII):
        assert written.lstrip("".join(set(INVISIBLE) - set("\t\r\n")))[:1] not in [f[0] for f in FORMULAS] + list("\t\r\n")


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_a_text_that_was_not_encoded_here_is_not_decoded(text: str) -> None:
    assert original_text(text) == text or neutral_text(original_text(text)) == text


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_behind_any_invisible_character_is_protected(formula: str) -> None:
    for before in INVISIBLE:
        for text in (before + formula, before * 3 + formula, f" {before}'{formula}"):
            assert neutral_text(text).startswith("'"), repr(text)
            assert original_text(neutral_text(text)) == text


@pytest.mark.parametrize("filler", ["\u034f", "\u115f", "\u2800", "\u3164", "\ufe0f", "\U000e0101", "\u2065"])
def test_a_formula_behind_a_character_that_is_drawn_as_nothing_is_protected(filler: str) -> None:
    assert neutral_text(filler + "=1") == f"'{filler}=1"


@pytest.mark.parametrize(
    "text",
    ["-1", "+3.5", "-.5", "-1e-5", "\u22125", " -1", "\xa0+2", "1", "a=b", "x-y", "'a", "'-5", "", " ", "\u200b", "a\tb", "\\n"],
)
def test_a_number_and_a_harmless_text_stay_as_they_are(text: str) -> None:
    assert neutral_text(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x1b[31mred", r"'\\x1b[31mred"),
        ("a\\b\x00", r"'\a\\b\x00"),
        ("\x9b2J\x7f\x85", r"'\\x9b2J\x7f\x85"),
        (r"'\d+", r"'\'\\d+"),
        ("=\x07", r"'\=\x07"),
    ],
)
def test_control_characters_are_written_as_escapes(text: str, written: str) -> None:
    assert neutral_text(text) == written
    assert original_text(written) == text


@pytest.mark.parametrize("text", [r"'\d+\s", r"'\\server\share", r"'\x41", r"'\\x41", r"'\\x1B", "'\\a\\", "'plain", "'\x1b"])
def test_a_text_of_others_that_looks_encoded_stays_as_it_is(text: str) -> None:
    assert original_text(text) == text


@pytest.mark.parametrize("text", ["+" + "1" * 500_000 + "x", " " * 500_000 + "x", "'" * 500_000, "'\\" + "\\" * 500_001])
def test_a_long_cell_takes_no_longer_than_its_length(text: str) -> None:
    started = time.perf_counter()
    assert original_text(neutral_text(text)) == text
    assert time.perf_counter() - started < 10
