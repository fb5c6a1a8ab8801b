"""Reports on the progress of long computations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``; it may raise `Cancelled` to stop the computation."""


class Cancelled(Exception):
    """The user has stopped the computation."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
