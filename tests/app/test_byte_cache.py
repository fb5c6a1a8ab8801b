"""The cache of images: bounded in bytes whatever is asked for, the latest kept, each made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from unittest.mock import Mock

import pytest
from hypothesis import given, settings, strategies as st

from app.byte_cache import ENTRY_BYTES, ByteCache
from oga_core.limits import Limit


def cache_of(size: int) -> ByteCache:
    return ByteCache(Limit("test_cache_bytes", size, "bytes", "a cache in a test"))


@settings(max_examples=200)
@given(st.integers(1, 20_000), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9000)), max_size=60))
def test_it_is_never_above_its_limit_and_drops_the_least_recently_used(limit: int, asked: list[tuple[int, int]]) -> None:
    cache, expected = cache_of(limit), OrderedDict[int, bytes]()
    for key, size in asked:
        make = Mock(return_value=b"x" * size)
        value = cache.get(key, make)
        assert make.called == (key not in expected)
        if key in expected:
            assert value == expected[key]
        else:
            assert value == b"x" * size
            if size + ENTRY_BYTES <= limit:
                expected[key] = value
        if key in expected:
            expected.move_to_end(key)
        while sum(len(v) + ENTRY_BYTES for v in expected.values()) > limit:
            expected.popitem(last=False)
        assert cache.size == sum(len(v) + ENTRY_BYTES for v in expected.values()) <= limit
        assert len(cache) == len(expected)


def test_a_value_larger_than_the_limit_is_returned_but_neither_kept_nor_costs_others_their_place() -> None:
    cache = cache_of(5000)
    cache.get("small", lambda: b"s")
    assert [cache.get("large", lambda: b"x" * 6000) for _ in range(2)] == [b"x" * 6000] * 2
    assert len(cache) == 1
    assert cache.get("small", lambda: b"another") == b"s"


def test_empty_values_cannot_fill_the_memory() -> None:
    cache = cache_of(100 * ENTRY_BYTES)
    for key in range(1000):
        cache.get(key, bytes)
    assert len(cache) == 100


def test_a_lower_limit_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_of(1 << 20)
    for key in range(10):
        cache.get(key, lambda: b"x" * 10_000)
    monkeypatch.setenv("OGA_LIMIT_TEST_CACHE_BYTES", "30k")
    cache.get("new", lambda: b"x" * 10_000)
    assert cache.size <= 30 << 10
    assert cache.get("new", lambda: b"another") == b"x" * 10_000


def test_threads_that_ask_at_once_share_one_value_and_one_error() -> None:
    cache, started, release, made, answers = cache_of(1 << 20), threading.Event(), threading.Event(), [], list[object]()

    def make() -> bytes:
        made.append(threading.get_ident())
        started.set()
        release.wait(30)
        if len(made) == 1:
            raise OSError("the first time")
        return b"value"

    def ask() -> None:
        try:
            answers.append(cache.get("key", make))
        except OSError as error:
            answers.append(str(error))

    for expected in ("the first time", b"value"):
        threads = [threading.Thread(target=ask) for _ in range(8)]
        threads[0].start()
        assert started.wait(30)
        for thread in threads[1:]:
            thread.start()
        while sum(thread.is_alive() for thread in threads) < 8:
            pass
        release.set()
        for thread in threads:
            thread.join(30)
        assert set(answers) <= {expected, b"value"}
        assert expected in answers
        answers.clear()
        started.clear()
        release.clear()
    assert len(cache) == 1


def test_threads_leave_the_count_of_bytes_exact() -> None:
    cache = cache_of(50_000)

    def ask(seed: int) -> None:
        for i in range(500):
            key = (seed * 31 + i * 7) % 97
            assert len(cache.get(key, lambda key=key: b"x" * (key * 40))) == key * 40  # type: ignore[misc]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 0 < cache.size <= 50_000
    assert cache.size == sum(len(v) + ENTRY_BYTES for v in cache._values.values())
    assert not cache._making
