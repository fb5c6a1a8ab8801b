"""The one exception a user is meant to read."""

from __future__ import annotations


def one_line(error: object) -> str:
    """A message on one line, what cannot be printed escaped: those of libraries may have more, and bytes of the file in them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(str(error).split()))


def shorten(text: object, most: int = 120) -> str:
    """A text with its middle left out, where it has more characters than that: nobody reads a path of 4,000."""
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[: most - 41]}…{whole[-40:]}"


class InputError(ValueError):
    """Bad input from the user. The message is one line: what was found, what is allowed, what to do."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))
