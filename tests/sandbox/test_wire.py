"""Messages arrive as they were sent, and nothing that is no message is more than a ValueError."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from oga_core.data.arrays import RowNames
from oga_core.sandbox import wire

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def sent(*parts: bytes) -> tuple[Any, bytes]:
    """What is received of bytes, after which the other side is gone."""
    here, there = socket.socketpair()
    with here:
        with there:
            for part in parts:
                there.sendall(part)
        return wire.receive(here)


def through(value: Any) -> Any:
    here, there = socket.socketpair()
    with here, there:
        wire.send(there, *wire.pack(value))
        return wire.unpack(*wire.receive(here))


@given(json_values | st.binary())
def test_values_arrive(value: Any) -> None:
    assert through(value) == value


@pytest.mark.parametrize("dtype", wire.DTYPES)
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 5)])
def test_arrays_arrive_and_can_be_changed(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    found = through(values)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    found[...] = 0


def test_images_and_the_names_of_rows_arrive() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    assert through(image).tobytes() == image.tobytes()
    assert through(image).size == (7, 5)
    assert list(through(RowNames(3))) == ["row 0", "row 1", "row 2"]


@given(st.binary(max_size=60))
def test_what_is_no_message_is_an_end_or_a_value_error(data: bytes) -> None:
    with suppress(EOFError, ValueError):
        sent(data)


HEADS = st.fixed_dictionaries(
    {"is": st.sampled_from(["image", "array", "bytes", "rows", "value", "error", 7])},
    optional={
        "size": json_values,
        "dtype": st.sampled_from([*wire.DTYPES, "|O", "V9", 3]),
        "shape": json_values,
        "count": json_values,
        "value": json_values,
    },
)


@given(HEADS | json_values, st.binary(max_size=48))
def test_no_message_breaks_more_than_itself(head: Any, body: bytes) -> None:
    with suppress(ValueError, TypeError, KeyError):
        wire.unpack(head, body)


@pytest.mark.parametrize("lengths", [(1 << 60, 0), (0, 1 << 60), ((1 << 30) + 1, 0), ((1 << 64) - 1, (1 << 64) - 1)])
def test_a_message_that_is_too_long_is_not_waited_for(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a message of"):
        sent(wire.LENGTHS.pack(*lengths))


def test_a_message_nested_too_deep_is_none() -> None:
    head = b"[" * 200_000
    with pytest.raises(ValueError, match="nested"):
        sent(wire.LENGTHS.pack(len(head), 0) + head[:100_000], head[100_000:])


def test_half_a_character_arrives() -> None:
    assert through("\ud800") == "\ud800"
