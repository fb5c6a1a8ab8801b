"""A file that arrives in chunks: on disk as it comes, and under its own name only once it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path
from types import TracebackType

from oga_core.errors import InputError
from oga_core.files import PRIVATE_FOLDER, open_private
from oga_core.limits import UPLOAD_BYTES

NAME_BYTES = 255
"""Of a file's name, as file systems have it."""
ABANDONED = 3600.0
"""Seconds without a new chunk after which what has arrived belongs to nobody any more."""
_UNFINISHED = ".part"


class Upload:
    """A file that arrives in chunks. Left without `keep`, nothing of it stays.

    Parameters
    ----------
    folder
        Where the uploads of a workspace are; made if absent.
    name
        The file's own.
    announced
        How many bytes are said to come.

    Raises
    ------
    InputError
        If the name is no plain file name, or more is announced than is taken or than the disk has space for.
    """

    def __init__(self, folder: Path, name: str, announced: int = 0) -> None:
        self.name, self.bytes = plain(name), 0
        _bound(name, announced)
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        _sweep(folder)
        if announced > (free := shutil.disk_usage(folder).free):
            raise InputError(f"{name!r} has {announced:,} bytes; the disk of the workspace has {free:,} bytes free")
        self._hash = hashlib.sha256()
        self._path = folder / f".{uuid.uuid4().hex}{_UNFINISHED}"
        self._handle = open(self._path, "xb", opener=open_private)  # noqa: SIM115  closed by keep and drop

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.drop()

    def write(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises
        ------
        InputError
            If the file is larger than is taken.
        """
        _bound(self.name, self.bytes + len(chunk))
        self._handle.write(chunk)
        self._hash.update(chunk)
        self.bytes += len(chunk)

    def keep(self) -> Path:
        """Move the whole file below a folder named by its content, where the same file is kept once, and return its path.

        Raises
        ------
        InputError
            If it is empty.
        """
        if not self.bytes:
            raise InputError(f"{self.name!r} is empty (0 bytes)")
        self._handle.flush()
        os.fsync(self._handle.fileno())
        path = self._path.parent / self._hash.hexdigest()[:32] / self.name
        path.parent.mkdir(PRIVATE_FOLDER, exist_ok=True)
        if not path.exists() or path.stat().st_size != self.bytes:
            os.replace(self._path, path)
        os.utime(path.parent)  # when it was dropped last: `clean` spares what somebody may be about to use
        return path

    def drop(self) -> None:
        """Leave nothing of it, where it has not been kept."""
        self._handle.close()
        self._path.unlink(missing_ok=True)


def plain(name: str) -> str:
    """The name, if it is one that a file in a folder can have.

    Raises
    ------
    InputError
        If it leads elsewhere, or is too long.
    """
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        size = 0
    if not size or name != Path(name).name or "\0" in name or name in (".", ".."):
        raise InputError(f"{name!r} is no plain file name; rename the file")
    if size > NAME_BYTES:
        raise InputError(f"{name[:40]!r}…: a name has at most {NAME_BYTES} bytes, this one {size:,}; rename the file")
    return name


def _bound(name: str, count: int) -> None:
    if count > UPLOAD_BYTES.value:
        raise InputError(
            f"{name!r} has {count:,} bytes or more; {UPLOAD_BYTES}; or open it by path, below a folder given with --root"
        )


def _sweep(folder: Path) -> None:
    """Remove what a server that was killed has left."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        try:
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
        except FileNotFoundError:  # another session has ended it
            continue
