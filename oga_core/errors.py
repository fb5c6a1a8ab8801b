"""The one exception a user is meant to read, and how those of libraries become it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def raise_as(kind: type[Exception], message: str, *, reason: int = 300) -> Iterator[None]:
    """Raise ``kind(f"{message}: …")`` in place of anything that a library or the owner's code raises inside.

    That need not be an ``Exception``: a library in Rust that gives up raises a ``PanicException``, code that calls ``exit`` a
    ``SystemExit``. Interrupts, memory that ran out, and errors of this kind pass unchanged.

    Parameters
    ----------
    reason
        Characters of the library's own message, at most.
    """
    try:
        yield
    except (kind, MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        said = one_line(error)[:reason]
        name = "" if type(error) is Exception and said else type(error).__name__
        raise kind(f"{message}: {': '.join(filter(None, (name, said)))}") from error
