"""Texts that a spreadsheet would run as a formula: with an apostrophe before them in an exported CSV, without once read again."""

from __future__ import annotations

import re

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_FORMULA = re.compile(rf"'*(?!{_NUMBER}\Z)[=+\-@\t\r\n＝＋－＠]")


def neutral_text(value: str) -> str:
    """The text with an apostrophe before it where it is a formula; a mere number is none."""
    return "'" + value if _FORMULA.match(value) else value


def original_text(value: str) -> str:
    """The text that `neutral_text` was given."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value[1:]) else value
