"""Strings from the data in places where Streamlit would read Markdown, or Plotly tags."""

from __future__ import annotations

import html
import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def literal(text: object) -> str:
    """The text with every character that Markdown gives a meaning to escaped, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def in_chart(text: object) -> str:
    """The text for a chart, in which tags and entities would mean something; Plotly does not read the entities of quotes."""
    return html.escape(str(text), quote=False)
