"""Which reviewers have a page open, and whether others than the users of this machine can open one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from urllib.parse import urlsplit

import streamlit as st

from oga_core.addresses import is_loopback, list_origins

_open: Counter[str] = Counter()
_lock = Lock()


@contextmanager
def count_connection(identity: str) -> Iterator[None]:
    """Count a websocket of a reviewer, as long as the block lasts."""
    with _lock:
        _open[identity] += 1
    try:
        yield
    finally:
        with _lock:
            _open[identity] -= 1
            if not _open[identity]:
                del _open[identity]


def others(identity: str) -> bool:
    """Return whether another reviewer has a page open."""
    with _lock:
        return any(other != identity for other in _open)


def is_public() -> bool:
    """Return whether the server is reached from beyond this machine: it listens there, or a proxy's origin is named."""
    return _is_public(st.get_option("server.address") or "", tuple(list_origins()))


@cache  # a name is looked up
def _is_public(address: str, origins: tuple[str, ...]) -> bool:
    return not all(map(is_loopback, [address, *(urlsplit(origin).hostname or "" for origin in origins)]))
