"""A cache that is bounded by the bytes it holds, not by the number of its entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock

from oga_core.limits import Limit

ENTRY_BYTES = 512
"""Counted for each entry beside its value: the key and the bookkeeping, which small values would hide."""


class ByteCache:
    """The values used last, at most as many bytes of them as a limit. Threads may share it.

    Parameters
    ----------
    limit
        Bytes; read at every call.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, Future[bytes]] = {}
        self._lock = Lock()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes that it holds, with `ENTRY_BYTES` for each entry."""
        with self._lock:
            return self._bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._values)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the value of a key, made by `make` where it is not in the cache.

        Threads that ask for the same key at once wait for one of them to make it; what `make` raises, all of them raise, and the
        next call tries again. A value larger than the limit is returned and not kept.
        """
        with self._lock:
            if (found := self._values.get(key)) is not None:
                self._values.move_to_end(key)
                return found
            making = self._making.get(key)
            if own := making is None:
                making = self._making[key] = Future()
        if not own:
            return making.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, value)
        making.set_result(value)
        return value

    def _keep(self, key: Hashable, value: bytes) -> None:
        size, limit = len(value) + ENTRY_BYTES, self._limit.value
        if size > limit:
            return
        self._values[key] = value
        self._bytes += size
        while self._bytes > limit:
            _, dropped = self._values.popitem(last=False)
            self._bytes -= len(dropped) + ENTRY_BYTES
