"""Messages between client and server of the sandbox: JSON and plain bytes, nothing that runs when it is read.

A message is two lengths, a JSON value and bytes. The process may have been taken over by the file that it reads, so nothing that
it says is believed: a length has a limit, and a picture is pixels, not a file to decode.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from contextlib import suppress
from typing import IO, Any

import numpy as np
from PIL import Image

from oga_core.data.arrays import RowNames

LENGTHS = struct.Struct("<QQ")
MOST_BYTES = 1 << 30
"""Of one message."""
PART_BYTES = 1 << 20
"""That are passed on at once."""
DTYPES = ("<i8", "<f4", "|b1")


def send(connection: socket.socket, head: Any, body: bytes = b"") -> None:
    """Send a JSON value and bytes."""
    written = json.dumps(head).encode("ascii")  # half a character has its escape
    connection.sendall(LENGTHS.pack(len(written), len(body)) + written)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Any, bytes]:
    """The JSON value and the bytes that were sent.

    Raises
    ------
    EOFError
        If the other side is gone.
    ValueError
        If it is no such message.
    """
    head, body = LENGTHS.unpack(_exactly(connection, LENGTHS.size))
    if head + body > MOST_BYTES:
        raise ValueError(f"a message of {head + body:,} bytes")
    try:
        return json.loads(_exactly(connection, head)), bytes(_exactly(connection, body))
    except RecursionError as error:
        raise ValueError("a message that is nested too deep") from error


def _exactly(connection: socket.socket, count: int) -> bytearray:
    data = bytearray()
    while len(data) < count:
        received = connection.recv(min(count - len(data), PART_BYTES))
        if not received:
            raise EOFError
        data += received
    return data


def bridge(connection: socket.socket, source: IO[bytes], sink: IO[bytes]) -> None:
    """Pass on what comes out of a pipe to a socket, and what comes out of the socket to another pipe, until one of them ends."""

    def fill() -> None:
        with source, connection, suppress(OSError):
            while data := os.read(source.fileno(), PART_BYTES):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_RDWR)

    def drain() -> None:
        with sink, suppress(OSError):
            while data := connection.recv(PART_BYTES):
                sink.write(data)
                sink.flush()

    for copy in (fill, drain):
        threading.Thread(target=copy, name="oga-bridge", daemon=True).start()


def pack(value: Any) -> tuple[dict[str, Any], bytes]:
    """A value as a message: an RGB image, an array, bytes, or what JSON has."""
    if isinstance(value, Image.Image):
        return {"is": "image", "size": value.size}, value.tobytes()
    if isinstance(value, np.ndarray):
        return {"is": "array", "dtype": value.dtype.str, "shape": value.shape}, value.tobytes()
    if isinstance(value, bytes):
        return {"is": "bytes"}, value
    if isinstance(value, RowNames):
        return {"is": "rows", "count": len(value)}, b""
    return {"is": "value", "value": value}, b""


def unpack(head: Any, body: bytes) -> Any:
    """The value of a message.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it is none.
    """
    form = head["is"]
    if form == "image":
        width, height = map(_count, head["size"])
        if not width * height * 3 == len(body) > 0:
            raise ValueError(f"{len(body):,} bytes of an image of {width} × {height}")
        return Image.frombytes("RGB", (width, height), body)
    if form == "array":
        if head["dtype"] not in DTYPES:
            raise ValueError(f"an array of {head['dtype']!r}")
        return np.frombuffer(body, head["dtype"]).reshape([_count(n) for n in head["shape"]]).copy()
    if form == "bytes":
        return body
    if form == "rows":
        return RowNames(_count(head["count"]))
    if form != "value":
        raise ValueError(f"an answer of the form {form!r}")
    return head["value"]


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError(f"{str(value)[:20]} is no number of anything")
    return value
