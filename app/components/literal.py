"""Strings from the data in places where Streamlit would read Markdown."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])")


def literal(text: object) -> str:
    """The text with every character that Markdown gives a meaning to escaped, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
