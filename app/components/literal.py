"""Strings from the data in places where Streamlit would read Markdown, or Plotly tags."""

from __future__ import annotations

import html
import re

_LINK = re.compile(r"(?i)(?<=http:)(?=//)|(?<=https:)(?=//)|(?<=www)(?=\.)|(?=@)")
"""Where an address must be broken so that it is no link: escapes do not keep Streamlit from making one."""
_JOINER = "\u2060"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def literal(text: object) -> str:
    """The text with every character that Markdown gives a meaning to escaped, on one line.

    An invisible character breaks addresses, of which Streamlit would make links.
    """
    return _SPECIAL.sub(r"\\\1", _LINK.sub(_JOINER, " ".join(str(text).split())))


def in_chart(text: object) -> str:
    """The text for a chart, in which tags and entities would mean something; Plotly does not read the entities of quotes."""
    return html.escape(str(text), quote=False)
