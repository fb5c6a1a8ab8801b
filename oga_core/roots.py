"""The folders that a server may read: symbolic links lead out of them to the files of other people.

``oga serve`` names them in the environment, which the processes that it starts inherit. Where they are not named, an owner runs a
command of their own, and links are followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOTS = "OGA_ROOTS"
"""Environment variable: folders below which the page may open data and weights by path, joined as in PATH."""
HUB_FOLDERS = ("models--", "datasets--")
"""How the folders begin that the Hugging Face hub's cache has: the files of their snapshots are links to blobs beside them."""
REFUSAL = "leads out of the allowed folders by a link; start oga serve with --root to allow the folder that it leads to"
MOST_LINKS = 40
"""That lead to one another, as Linux has it."""


def list_roots() -> list[str] | None:
    """Return the folders that a server may read, resolved; None where no server has named any."""
    value = os.environ.get(ROOTS)
    return None if value is None else [os.path.realpath(root) for root in value.split(os.pathsep) if root]


@dataclass(frozen=True)
class Bounds:
    """The files that may be read through the links in a folder: the folder itself and, for a server, what lies below its roots.

    Attributes
    ----------
    folder
        The folder.
    enforced
        Whether what leads out is refused, and not only counted.
    """

    folder: str
    enforced: bool

    @classmethod
    def of(cls, folder: Path) -> Bounds:
        """Return the bounds of a folder as this process has them."""
        return cls(str(folder), list_roots() is not None)

    def hold(self, real: str) -> bool:
        """Whether a resolved path lies within them."""
        return is_below(real, self._allowed)

    def hold_link(self, path: str) -> bool:
        """Whether a path, once its links are resolved, lies within them."""
        return self.hold(self._resolve(path))

    def hold_open(self, file: int, path: str) -> bool:
        """Whether an open file lies within them, even if its path has changed since it was opened."""
        try:
            real = os.readlink(f"/proc/self/fd/{file}")
        except OSError:  # not Linux
            real = os.path.realpath(path)
            try:
                if not os.path.samestat(os.fstat(file), os.lstat(real)):
                    return False
            except OSError:
                return False
        return self.hold(real) or is_below(real, [_own_folder(self.folder)])  # the folder may have moved

    @cached_property
    def _allowed(self) -> list[str]:
        return [_own_folder(self.folder), *(list_roots() or [])]

    @cached_property
    def _parents(self) -> dict[str, str]:
        return {}

    def _resolve(self, path: str) -> str:
        """Return what `os.path.realpath` does, and resolve each parent folder once: thousands of links lead to one."""
        for _ in range(MOST_LINKS):
            parent, name = os.path.split(path)
            if name in ("", os.curdir, os.pardir):
                break
            if parent not in self._parents:
                self._parents[parent] = os.path.realpath(parent)
            path = os.path.join(self._parents[parent], name)
            try:
                path = os.path.join(self._parents[parent], os.readlink(path))
            except OSError:  # no link
                return path
        return os.path.realpath(path)


def is_below(real: str, folders: list[str]) -> bool:
    """Whether a resolved path is one of some resolved folders, or lies below one."""
    return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def may_open(path: Path) -> bool:
    """Whether a path that a file names, and not the owner, may be opened: for a server, one below its roots."""
    roots = list_roots()
    return roots is None or is_below(os.path.realpath(path), roots)


def links_out(bounds: Bounds, below: Path) -> Iterator[str]:
    """Yield the links in a folder and below that lead out of the bounds, for libraries that follow links to files and folders."""
    if not bounds.hold_link(str(below)):
        yield os.path.relpath(below, bounds.folder)
        return
    waiting, seen = [str(below)], set[str]()
    while waiting:
        at = waiting.pop()
        if (real := os.path.realpath(at)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(at) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:  # the library says so
            continue
        for entry in entries:
            if entry.is_symlink() and not bounds.hold_link(entry.path):
                yield os.path.relpath(entry.path, bounds.folder)
            elif _is_folder(entry):
                waiting.append(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError:  # a link to nothing
        return False


def _own_folder(folder: str) -> str:
    """Return the resolved folder; of a snapshot in the hub's cache, the folder that also has its blobs."""
    real = os.path.realpath(folder)
    above, snapshots = os.path.split(os.path.dirname(real))
    return above if snapshots == "snapshots" and os.path.basename(above).startswith(HUB_FOLDERS) else real
