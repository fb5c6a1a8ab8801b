"""Changes to the bytes of a valid file, as values that can be written down and done again."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from hypothesis import strategies as st

INTERESTING = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
]
TOKENS = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"\\ud800",
    b"NaN",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc3",
    b"../",
    b"label",
    b"text",
    b"=1",
    b"[" * 3000,
    b"\xe2\x80\xae",
    b" ",
    b"/",
    b"'",
    b"float",
    b"-0",
    b"inf",
]

Mutation = tuple[Any, ...]
"""``("flip", at, bit)``, ``("byte", at, value)``, ``("field", at, struct format, value)``, ``("cut", at)``,
``("drop", at, length)``, ``("copy", from, to, length)``, ``("token", at, bytes)``, ``("crc",)``: places are taken modulo the
length."""

_AT = st.integers(0, 1 << 20)
MUTATIONS = st.one_of(
    st.tuples(st.just("flip"), _AT, st.integers(0, 7)),
    st.tuples(st.just("byte"), _AT, st.integers(0, 255)),
    st.tuples(st.just("field"), _AT, st.sampled_from(["<H", ">H", "<I", ">I", "<Q"]), st.sampled_from(INTERESTING)),
    st.tuples(st.just("cut"), _AT),
    st.tuples(st.just("drop"), _AT, st.integers(1, 64)),
    st.tuples(st.just("copy"), _AT, _AT, st.integers(1, 200)),
    st.tuples(st.just("token"), _AT, st.sampled_from(TOKENS)),
)
"""One change."""


def mutated(data: bytes, mutations: list[Mutation]) -> bytes:
    """The bytes after some changes, one after the other."""
    for name, *arguments in mutations:
        data = _DONE[name](data, *arguments) if data or name == "token" else data
    return data


def _flip(data: bytes, at: int, bit: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def _byte(data: bytes, at: int, value: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([value]) + data[at + 1 :]


def _field(data: bytes, at: int, fmt: str, value: int) -> bytes:
    size = struct.calcsize(fmt)
    at %= len(data)
    return data[:at] + struct.pack(fmt, value & ((1 << 8 * size) - 1)) + data[at + size :]


def _cut(data: bytes, at: int) -> bytes:
    return data[: at % len(data)]


def _drop(data: bytes, at: int, length: int) -> bytes:
    at %= len(data)
    return data[:at] + data[at + length :]


def _copy(data: bytes, source: int, target: int, length: int) -> bytes:
    source, target = source % len(data), target % len(data)
    return data[:target] + data[source : source + length] + data[target:]


def _token(data: bytes, at: int, token: bytes) -> bytes:
    at %= len(data) + 1
    return data[:at] + token + data[at:]


def _crc(data: bytes) -> bytes:
    """A PNG with every chunk's checksum right, so that what was changed inside reaches the decoder."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out + data[at:]


_DONE: dict[str, Any] = {
    "flip": _flip,
    "byte": _byte,
    "field": _field,
    "cut": _cut,
    "drop": _drop,
    "copy": _copy,
    "token": _token,
    "crc": _crc,
}
