"""How long work tells whoever waits for it how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``; it may raise `Cancelled` to stop the work."""


class Cancelled(Exception):
    """The user asked for the work to stop."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
