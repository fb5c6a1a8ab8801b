"""Files: whole or absent, never half, known by their hash, and those of a workspace for their owner only."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from oga_core.errors import InputError, shorten

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Permissions of all that is created in a workspace, independent of the user's umask."""


def resolve_path(path: str | Path, name: str) -> Path:
    """Return the absolute path of what a user has named; it need not exist.

    Parameters
    ----------
    name
        What the path is, for the message.

    Raises
    ------
    InputError
        If no file can have this path: it is too long, has a NUL in it, or is relative to a folder that has been deleted.
    """
    try:
        found = Path(path).expanduser().resolve()
    except FileNotFoundError as error:
        raise InputError(f"{name} {shorten(path)}: the current folder has been deleted; give an absolute path") from error
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such home, a NUL
        raise InputError(f"{name} {shorten(path)}: {getattr(error, 'strerror', None) or error}") from error
    try:
        found.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except OSError as error:  # too long
        raise InputError(f"{name} {shorten(path)}: {error.strerror}") from error
    return found


def open_private(path: str | Path, flags: int) -> int:
    """Open a file for ``open(…, opener=open_private)``: where it is created, only its owner may read it."""
    return os.open(path, flags, PRIVATE_FILE)


def make_private(folder: Path) -> None:
    """Take a folder, and what a library has written into it, from all but its owner: another user could put code there."""
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # another process has replaced it
            if not path.is_symlink():
                path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)


def write_whole(path: Path, write: Callable[[Path], object], *, private: bool = False) -> None:
    """Write through a temporary file in the same folder, fsync, then rename: a kill leaves the old file or the new one.

    Parameters
    ----------
    private
        Whether only the owner may read it, as all files of a workspace. Otherwise it gets the permissions of the file that it
        replaces, and a new one those that the umask leaves. At no time can more people read it than in the end.
    """
    path = path.resolve()
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")  # no longer than any name: the file's own may be at the limit
    mode = PRIVATE_FILE if private else _mode(path)
    try:
        if mode is not None:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        write(temporary)
        with open(temporary, "r+b") as handle:  # Windows syncs only what may be written
            if mode is not None:
                os.chmod(handle.fileno() if os.chmod in os.supports_fd else temporary, mode)
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if sys.platform == "win32":  # it opens no folders
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _mode(path: Path) -> int | None:
    """The permissions of a file that is replaced; None where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    except OSError:
        return None


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
