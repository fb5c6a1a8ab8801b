"""Small matrices are multiplied fastest by one thread: several would wait for each other at every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SMALL = 1 << 27
"""Multiplications in one step below which a second thread costs more than it brings."""


@contextmanager
def threads_for(multiplications: int) -> Iterator[None]:
    """While open, torch computes with one thread where a step has few multiplications."""
    import torch  # for those only who fit

    before = torch.get_num_threads()
    if multiplications < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
