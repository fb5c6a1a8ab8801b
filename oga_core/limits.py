"""Size limits for untrusted files, and of what the server keeps in memory: every limit by name, in one place.

The owner of the machine changes one with ``--limit NAME=VALUE`` or the environment variable ``OGA_LIMIT_NAME``, which processes
that are started from here inherit; nothing in the browser does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from oga_core.errors import InputError

PREFIX = "OGA_LIMIT_"
UNITS = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Limit:
    """A limit: what it bounds, and its default, which the owner may change."""

    name: str
    default: int
    unit: str
    meaning: str

    @property
    def value(self) -> int:
        """The current value.

        Raises
        ------
        InputError
            If the environment gives something else than a whole number above 0.
        """
        given = os.environ.get(PREFIX + self.name.upper())
        return self.default if given is None else _number(self.name, given)

    def __str__(self) -> str:
        """For a refusal: which limit it is, its value, and how to change it."""
        return f"the limit {self.name} is {self.value:,} {self.unit} (--limit {self.name}=N changes it)"


IMAGE_PIXELS = Limit("image_pixels", 50_000_000, "pixels", "an image that is decoded")
FILE_BYTES = Limit("file_bytes", 100_000_000, "bytes", "one image in a folder or a zip, unpacked")
FILES = Limit("files", 2_000_000, "files", "in a folder or a zip")
NAME_CHARACTERS = Limit("name_characters", 255, "characters", "each part of a file name in a zip")
TABLE_BYTES = Limit("table_bytes", 4 << 30, "bytes", "a table, unpacked")
CELL_BYTES = Limit("cell_bytes", 16 << 20, "bytes", "one cell of a table")
CELLS = Limit("cells", 100_000_000, "cells", "a table in JSONL or parquet, where a few bytes can unpack to many")
ARRAYS_BYTES = Limit("arrays_bytes", 16 << 30, "bytes", "all arrays of an .npz, unpacked")
CLASSES = Limit("classes", 100_000, "classes", "of the data or of a model")
PICKLE_BYTES = Limit("pickle_bytes", 64 << 20, "bytes", "the pickle in a .pt file, which lists its tensors")
HEADER_BYTES = Limit("header_bytes", 100 << 20, "bytes", "the header of a .safetensors file")
MODEL_BYTES = Limit("model_bytes", 16 << 30, "bytes", "one file of a model in a zip, unpacked")
SETTINGS_BYTES = Limit("settings_bytes", 10 << 20, "bytes", "a file of settings in a Hugging Face folder")
UPLOAD_BYTES = Limit("upload_bytes", 4 << 30, "bytes", "a file dropped on the page")
READER_BYTES = Limit("reader_bytes", 16 << 30, "bytes", "memory of the sandbox, the process that reads untrusted files")
READER_SECONDS = Limit("reader_seconds", 600, "seconds", "processor time of one thing that this process does")
IMAGE_CACHE_BYTES = Limit("image_cache_bytes", 64 << 20, "bytes", "the server's cache of images made for the pages")

LIMITS = {
    limit.name: limit
    for limit in (
        IMAGE_PIXELS,
        FILE_BYTES,
        FILES,
        NAME_CHARACTERS,
        TABLE_BYTES,
        CELL_BYTES,
        CELLS,
        ARRAYS_BYTES,
        CLASSES,
        PICKLE_BYTES,
        HEADER_BYTES,
        MODEL_BYTES,
        SETTINGS_BYTES,
        UPLOAD_BYTES,
        READER_BYTES,
        READER_SECONDS,
        IMAGE_CACHE_BYTES,
    )
}


def set_limits(written: Iterable[str]) -> None:
    """Set limits for this process and those that it starts.

    Parameters
    ----------
    written
        ``NAME=VALUE``; a value may end in k, M or G (1024, its square and its cube).

    Raises
    ------
    InputError
        For an unknown name, or a value that is no whole number above 0.
    """
    for pair in written:
        name, _, value = pair.partition("=")
        if name not in LIMITS:
            raise InputError(f"unknown limit {name!r}; there are: {', '.join(LIMITS)}")
        os.environ[PREFIX + name.upper()] = str(_number(name, value))


def _number(name: str, written: str) -> int:
    digits, unit = (written[:-1], UNITS[written[-1]]) if written[-1:] in UNITS else (written, 1)
    if not (digits.isascii() and digits.isdecimal() and int(digits)):
        raise InputError(f"limit {name}: {written!r} is not a whole number above 0, such as 1000 or 4G")
    return int(digits) * unit
