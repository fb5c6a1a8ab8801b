"""Strings from the data stay the letters they are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st
from streamlit.testing.v1 import AppTest

from app.components.literal import in_chart, literal, visible
from oga_core import Run

BIDI_CLASSES = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")


@given(st.text())
def test_no_character_with_a_meaning_in_markdown_is_left_unescaped(text: str) -> None:
    escaped = literal(text)
    assert "\n" not in escaped
    assert re.sub(r"\\(.)", r"\1", escaped).replace("\u2060", "") == " ".join(visible(text).split()).replace("\u2060", "")
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`\[\]<>$:!#~|]", escaped)


@pytest.mark.parametrize("address", ["http://evil.test/x", "HTTPS://evil.test", "www.evil.test", "ann@evil.test"])
def test_an_address_does_not_become_a_link(address: str) -> None:
    """Streamlit's Markdown makes links of what has these forms, after it has taken escapes away."""
    shown = re.sub(r"\\(.)", r"\1", literal(f"see {address} there"))
    assert not re.search(r"(?i)https?://|www\.|\w@", shown)
    assert shown.replace("\u2060", "") == f"see {address} there"


@given(st.text())
def test_a_chart_shows_the_text_that_it_was_given(text: str) -> None:
    """As Plotly reads it: tags, and the entities of &, < and >."""
    shown = in_chart(text)
    assert not re.search("[<>]", shown)
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == visible(text)


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("show", [visible, literal, in_chart])
@given(st.lists(st.one_of(st.text(max_size=3), st.sampled_from(BIDI))).map("".join))
def test_no_bidi_control_is_left_and_each_is_shown(show: Callable[[str], str], text: str) -> None:
    shown = show(text)
    assert not set(BIDI) & set(shown)
    assert sum(shown.count(f"U+{ord(c):04X}") + shown.count(f"U\\+{ord(c):04X}") for c in BIDI) >= sum(c in BIDI for c in text)


def test_the_bidi_controls_are_all_that_unicode_has() -> None:
    embedding = {chr(i) for i in range(0x110000) if unicodedata.bidirectional(chr(i)) in BIDI_CLASSES}
    assert embedding | set("\u061c\u200e\u200f") == set(BIDI)


def test_class_names_are_never_markdown_or_html_on_any_page(open_page: Callable[..., AppTest], run: Run) -> None:
    for name in ("scores", "review", "export"):
        at = open_page(name, run=run.id)
        for element in [*at.markdown, *at.caption, *at.title, *at.subheader]:
            assert "![x](" not in element.value
            assert "<b>" not in element.value
        for button in at.button:
            assert "![x](" not in button.label
            assert "<b>" not in button.label
        for element in at.get("html"):
            assert "<b>" not in element.proto.body
