r"""Texts in an exported CSV, in a form that no spreadsheet runs and no terminal obeys, and back.

A text that a spreadsheet would run as a formula gets an apostrophe before it. A text with control characters (all of C0 but tab,
line feed and carriage return; DEL; C1), or one that begins like an encoded one, becomes ``'\`` and the text with each backslash
doubled and each control character as ``\xNN``. Every other text stays as it is.
"""

from __future__ import annotations

import re

_NUMBER = r"[+\-\u2212]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_INVISIBLE = (
    "\0-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5"
    "\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Blanks, control and format characters (categories Cc, Cf, Zs, Zl, Zp) and others that are drawn as nothing (fillers, variation
selectors): a spreadsheet may drop them before it looks for a formula. Tab and line ends begin a formula themselves."""
_BEGINNINGS = r"=+\-@\t\r\n\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
"""Also in full width and small, and the minus sign: some spreadsheets read them as the plain ones."""
_FORMULA = re.compile(rf"['{_INVISIBLE}]*(?!{_NUMBER}\Z)[{_BEGINNINGS}]")
_MARK = "'\\"
_CONTROL = "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_CONTROLS = re.compile(f"[{_CONTROL}]")
_ESCAPED = re.compile(rf"[{_CONTROL}\\]")
_ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2}))")


def neutral_text(value: str) -> str:
    """Return the text as it is written to a CSV; a mere number is no formula."""
    if value.startswith(_MARK) or _CONTROLS.search(value):
        return _MARK + _ESCAPED.sub(_escape, value)
    return "'" + value if _FORMULA.match(value) else value


def original_text(value: str) -> str:
    """Return the text that `neutral_text` was given. One that it cannot have made stays as it is."""
    if not value.startswith("'"):
        return value
    if value.startswith(_MARK):
        text = _ESCAPE.sub(lambda found: found[1] or chr(int(found[2], 16)), value[len(_MARK) :])
    else:
        text = value[1:]
    return text if neutral_text(text) == value else value


def _escape(found: re.Match[str]) -> str:
    return "\\\\" if found[0] == "\\" else f"\\x{ord(found[0]):02x}"
