"""Removing folders so that a kill at any moment leaves all of one or nothing under its name, and how large they are."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TRIES = 20
"""Of removing a folder that another process removes at the same time."""
_ASIDE = re.compile(r"\.(.+)\.removed")
_UPLOAD = re.compile(r"(?<=/)[0-9a-f]{32}(?=/)")


class Size(NamedTuple):
    """How many files, and their bytes; a link counts as itself."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: object) -> Size:
        return Size(self.files + other.files, self.bytes + other.bytes) if isinstance(other, Size) else NotImplemented


def aside_of(path: Path) -> Path:
    """Return where a file or folder is set aside: beside itself, so that one rename does it."""
    return path.with_name(f".{path.name}.removed")


def set_aside(path: Path) -> Path:
    """Take a file or folder away from its name, to be removed then; returns where it is now.

    One that is set aside already, or not found, is no error.
    """
    aside = aside_of(path)
    if os.path.lexists(path):
        remove(aside)
        path.rename(aside)
    return aside


def put_back(path: Path) -> None:
    """Undo `set_aside`; nothing happens where nothing was set aside, or the name is in use again."""
    aside = aside_of(path)
    if os.path.lexists(aside) and not os.path.lexists(path):
        aside.rename(path)


def names_set_aside(folder: Path) -> set[str]:
    """The former names of all that was set aside in a folder."""
    return {found[1] for path in entries(folder) if (found := _ASIDE.fullmatch(path.name))}


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds; links are removed, never followed. Not found is no error."""
    for tries_left in reversed(range(TRIES)):
        try:
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path)
            return
        except FileNotFoundError:  # another process removes it too
            if not tries_left:
                raise


def entries(folder: Path) -> list[Path]:
    """The entries of a folder, sorted; none where it is not found."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file below a folder, or the file itself; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        below: Iterable[Path] = [path]
    else:
        below = (
            Path(where, name)
            for where, folders, names in os.walk(path)
            for name in (*names, *(f for f in folders if os.path.islink(os.path.join(where, f))))
        )
    for file in below:
        try:
            yield file, file.lstat()
        except FileNotFoundError:
            continue


def size_of(*paths: Path) -> Size:
    """The size of files and of folders with all that they hold."""
    sizes = [found.st_size for path in paths for _, found in files_below(path)]
    return Size(len(sizes), sum(sizes))


def find_last_change(path: Path) -> float:
    """When a file or folder, or anything in it, was changed last, in seconds since 1970; infinity where it is not found."""
    try:
        return max([path.lstat().st_mtime, *(found.st_mtime for _, found in files_below(path))])
    except FileNotFoundError:
        return math.inf


def format_bytes(count: int) -> str:
    """A number of bytes for people: ``12.3 MB``."""
    if count < 1000:
        return f"{count} B"
    units = iter(("kB", "MB", "GB", "TB"))
    value, unit = count / 1000, next(units)
    while value >= 999.5 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:,.0f} {unit}" if value >= 99.95 else f"{value:.1f} {unit}"


def list_uploads(settings: str) -> set[str]:
    """The uploads that the settings of a run name, in JSON, each by the name of its folder.

    They are known by that name alone, wherever the workspace was when the run was entered.
    """
    return set(_UPLOAD.findall(settings))
