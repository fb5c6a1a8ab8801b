"""Strings from the data in places where Streamlit would read Markdown, Plotly tags, and both bidi controls."""

from __future__ import annotations

import html
import re

_LINK = re.compile(r"(?i)(?<=http:)(?=//)|(?<=https:)(?=//)|(?<=www)(?=\.)|(?=@)")
"""Positions at which to break an address: escapes do not keep Streamlit from making a link of it."""
_JOINER = "\u2060"
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def visible(text: object) -> str:
    """Return the text with each bidi control, which would reorder its neighbours, written as a code point: ``⟨U+202E⟩``."""
    return _BIDI.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def literal(text: object) -> str:
    """Return the text on one line, with every character that means something in Markdown escaped; bidi controls as in `visible`.

    An invisible character breaks addresses, of which Streamlit would make links.
    """
    return _SPECIAL.sub(r"\\\1", _LINK.sub(_JOINER, " ".join(visible(text).split())))


def in_chart(text: object) -> str:
    """Return the text for a chart, in which tags and entities would mean something; Plotly does not read the entities of quotes.

    Bidi controls are as `visible` has them.
    """
    return html.escape(visible(text), quote=False)
