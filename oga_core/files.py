"""Files: whole or absent, never half, and known by their hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary file in the same folder, fsync, then rename: a kill leaves the old file or the new one."""
    path = path.resolve()
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")  # no longer than any name: the file's own may be at the limit
    try:
        write(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a folder under another name, then rename it: who sees it sees all of it, and of two writers the first stays."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", suffix=".part") as made:
        written = Path(made) / folder.name
        write(written)
        try:
            written.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed `write_whole` has left in a folder that nobody writes to."""
    for left in folder.glob(".*.part"):
        left.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_array(values: np.ndarray, path: Path) -> None:
    """Write an array as ``.npy`` under exactly this name."""
    with open(path, "wb") as handle:
        np.save(handle, values)
