"""A folder of files, on disk or in a zip, read one by one and never unpacked."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import struct
import threading
import unicodedata
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from oga_core.data.dataset import SampleError
from oga_core.errors import InputError, one_line
from oga_core.limits import FILE_BYTES, FILES, NAME_CHARACTERS, SETTINGS_BYTES, Limit
from oga_core.roots import REFUSAL, Bounds

SIDE_FILES = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
    }
)
"""Names, in small letters, of what macOS, Windows and network drives (Synology, QNAP) put beside people's files."""
END_BYTES = (1 << 16) + 22
"""The end of a zip: its last record, with the longest comment."""


class Files(ABC):
    """Named files to read from, wherever they lie.

    Attributes
    ----------
    notes
        What the user should know about them.
    """

    names: list[str]
    folders: set[str]
    notes: list[str]

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def read(self, name: str, most: Limit = FILE_BYTES) -> bytes:
        """The bytes of a file, at most as many as the limit; SampleError if it is larger or cannot be read."""


class LinkError(SampleError):
    """A file leads out of the folders that a server may read."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} {REFUSAL}")


class Directory(Files):
    """A folder on disk; links to folders are not followed, and a server follows links to files within its `Bounds` only."""

    def __init__(self, path: Path) -> None:
        self.path, self.bounds = path, Bounds.of(path)
        self.names, self.folders = [], set()
        linked_folders, links = self._list()
        if (wrong := next((n for n in self.names if re.search("[\ud800-\udfff]", n)), None)) is not None:
            raise InputError(f"{path.name}: the file name {wrong!r} is not UTF-8; rename it")
        self.notes = [f"{linked_folders:,} folders are symbolic links and were not followed"] if linked_folders else []
        if out := sum(map(self.leads_out, links)):
            what = "the allowed folders and are not read (oga serve --root)" if self.bounds.enforced else "the folder"
            self.notes.append(f"{out:,} files are symbolic links that lead out of {what}")

    def _list(self) -> tuple[int, list[str]]:
        """List files and folders; return the number of linked folders, and the names of linked files."""
        waiting, linked_folders, links = [""], 0, []
        while waiting:
            within = waiting.pop()
            try:
                with os.scandir(os.path.join(self.path, within) if within else self.path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from error
            below = []
            for entry in entries:
                name = f"{within}/{entry.name}" if within else entry.name
                if not _is_folder(entry):
                    self.names.append(name)
                    links += [name] if entry.is_symlink() else []
                    continue
                self.folders.add(name)
                if entry.is_symlink():
                    linked_folders += 1
                else:
                    below.append(name)
            if len(self.names) > FILES.value:
                raise InputError(f"{self.path} holds more files than are read: {FILES}")
            waiting += reversed(below)
        return linked_folders, links

    def leads_out(self, name: str) -> bool:
        """Whether a file, or a folder above it, is a link that leads out of the folder and of a server's roots."""
        return not self.bounds.hold_link(os.path.join(self.path, name))

    def path_of(self, name: str) -> Path:
        """Return the path of a file for a library that opens it; LinkError as `read`."""
        if self.bounds.enforced and self.leads_out(name):
            raise LinkError(name)
        return self.path / name

    def has(self, name: str) -> bool:
        # What lies outside is not looked at: to read the file says that it leads there.
        path = os.path.join(self.path, name)
        return os.path.isfile(path) or (self.bounds.enforced and os.path.islink(path) and self.leads_out(name))

    def read(self, name: str, most: Limit = FILE_BYTES) -> bytes:
        path, enforced = os.path.join(self.path, name), self.bounds.enforced
        if enforced and os.path.islink(path) and self.leads_out(name):  # what lies outside is not even opened
            raise LinkError(name)
        try:
            with open(path, "rb", opener=_open_plain) as handle:
                if enforced and not self.bounds.hold_open(handle.fileno(), path):  # a link above it, or made a moment ago
                    raise LinkError(name)
                there = os.fstat(handle.fileno()).st_size  # memory is set aside for as much as is asked for
                return _bound(handle.read(min(there, most.value) + 1), most)
        except OSError as error:
            raise SampleError(f"cannot be read: {error.strerror}") from error
        except ValueError as error:  # a NUL in the name
            raise SampleError(f"cannot be read: {one_line(error)}") from error


class Zip(Files):
    """A zip that is read entry by entry and never unpacked."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive, self.notes = _open_zip(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise InputError(f"{path.name} is not a readable zip file ({one_line(error)}); make it again") from error
        self.lock = threading.Lock()
        entries = self.archive.infolist()
        if len(entries) > FILES.value:
            raise InputError(f"{path.name} has {len(entries):,} entries; {FILES}")
        _refuse_other_count(path, len(entries))
        self._refuse_dangerous(path.name, entries)
        if any("\\" in entry.orig_filename for entry in entries):
            self.notes.append("the folders of the zip are separated by backslashes, as some programs on Windows write them")
        self.entries = {_plain(e.filename): e for e in entries if not _is_folder_entry(e)}
        self.names = sorted(self.entries)
        self.folders = {_plain(e.filename) for e in entries if _is_folder_entry(e)}
        self.folders |= {str(parent) for name in self.names for parent in PurePosixPath(name).parents if str(parent) != "."}

    @staticmethod
    def _refuse_dangerous(archive: str, entries: list[zipfile.ZipInfo]) -> None:
        seen: dict[str, str] = {}
        end, before = 0, ""
        for entry in sorted(entries, key=lambda e: e.header_offset):
            name = entry.orig_filename  # zipfile truncates the other at NUL
            names = re.split(r"[/\\]", name.rstrip("/\\"))
            if name.startswith(("/", "\\")) or "\0" in name or re.match(r"[A-Za-z]:", name) or ".." in names:
                raise InputError(f"{archive}: entry {name!r} leads out of the archive; make the zip again with relative names")
            if len(name) > 4 * NAME_CHARACTERS.value or any(len(one) > NAME_CHARACTERS.value for one in names):
                raise InputError(
                    f"{archive}: an entry's name has {len(name):,} characters; {NAME_CHARACTERS}, four times as many in all"
                )
            if entry.flag_bits & 1:
                raise InputError(f"{archive} is password-protected (entry {name!r}); make the zip again without a password")
            if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                raise InputError(f"{archive}: entry {name!r} is a symbolic link; zip the files themselves")
            folded = unicodedata.normalize("NFC", _plain(name)).casefold()
            if folded in seen:
                raise InputError(f"{archive}: entries {seen[folded]!r} and {name!r} have the same name")
            seen[folded] = name
            if entry.header_offset < end:
                raise InputError(f"{archive}: entries {before!r} and {name!r} overlap; this is not an ordinary zip")
            end, before = entry.header_offset + 30 + len(entry.filename) + entry.compress_size, name

    def has(self, name: str) -> bool:
        return name in self.entries

    def read(self, name: str, most: Limit = FILE_BYTES) -> bytes:
        try:
            with self.lock, self.archive.open(self.entries[name]) as handle:
                return _bound(handle.read(most.value + 1), most)
        except SampleError:
            raise
        except Exception as error:  # zlib, CRC and header faults of a single entry
            raise SampleError(f"cannot be unpacked: {one_line(error)}") from error


def _refuse_other_count(path: Path, found: int) -> None:
    """zipfile reads the entries that it finds, and does not say so where the archive should have more."""
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - END_BYTES))
        end = handle.read()
    (stated,) = struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)
    if stated not in (found & 0xFFFF, 0xFFFF):
        raise InputError(f"{path.name} says that it has {stated:,} entries and lists {found:,}; it is damaged: make it again")


def _plain(name: str) -> str:
    """An entry's name as one folder after another: ``./cat//1.png`` and ``cat\\1.png`` are ``cat/1.png``."""
    return "/".join(one for one in re.split(r"[/\\]", name) if one not in ("", "."))


def _is_folder_entry(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(("/", "\\"))


def _open_zip(path: Path) -> tuple[zipfile.ZipFile, list[str]]:
    """The archive, and notes. Names without the UTF-8 flag may be UTF-8 all the same (macOS writes them so)."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8"), []
    except UnicodeDecodeError:
        return zipfile.ZipFile(path), ["the file names are not UTF-8; they were read in the old code page 437"]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a link that leads to itself
        return False


def _open_plain(path: str, flags: int) -> int:
    """Open an ordinary file and nothing else: to read from a pipe would wait for ever."""
    try:
        file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device without a driver
            raise SampleError("is not an ordinary file") from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise SampleError("is not an ordinary file")
    return file


def _bound(data: bytes, most: Limit) -> bytes:
    if len(data) > most.value:
        raise SampleError(f"the file is too large: {most}")
    return data


def is_side_file(name: str) -> bool:
    """Whether a file is of a system that it came through, by its name in a folder."""
    return any(p.startswith(".") or p.casefold() in SIDE_FILES for p in name.split("/"))


@dataclass(frozen=True)
class Folder:
    """A folder among files.

    Attributes
    ----------
    files
        All that lie in it and around it.
    within
        Where it is among them: empty, or a path that ends in a slash.
    name
        For people.
    """

    files: Files
    within: str
    name: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """A folder on disk, or the folder in a zip from which on there is more than one thing in it.

        Raises
        ------
        InputError
            If it cannot be read, is larger than the limits, or, in a zip, if entries lead elsewhere, overlap, are links or
            encrypted.
        """
        if path.is_dir():
            return cls(Directory(path), "", path.name)
        folder = cls(Zip(path), "", path.name)
        names = folder.names or [""]
        # What those at the ends share, those between them share too.
        shared = os.path.commonpath([os.path.dirname(name) for name in (min(names), max(names))])
        return cls(folder.files, f"{shared}/" if shared else "", path.name)

    @property
    def names(self) -> list[str]:
        """Files in it and below; those of the systems that it came through are left out."""
        inside = (name[len(self.within) :] for name in self.files.names if name.startswith(self.within))
        return [name for name in inside if not is_side_file(name)]

    @property
    def below(self) -> list[Self]:
        """The folders in it."""
        found = sorted({name.split("/", 1)[0] for name in self.names if "/" in name})
        return [self.folder(name) for name in found]

    def folder(self, name: str) -> Self:
        """A folder in it."""
        return type(self)(self.files, f"{self.within}{name}/", name)

    def has(self, name: str) -> bool:
        return self.files.has(self.within + name)

    def read(self, name: str, most: Limit) -> bytes:
        """The bytes of a file; InputError if it is larger than the limit or cannot be read."""
        try:
            return self.files.read(self.within + name, most)
        except LinkError as error:
            raise InputError(f"{self.name}: {error}") from error
        except SampleError as error:
            raise InputError(f"{self.name}/{name}: {error}") from error

    def settings(self, name: str) -> dict[str, Any]:
        """The contents of a JSON file of settings; InputError where it is none."""
        data = self.read(name, SETTINGS_BYTES)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.name}/{name} is not readable JSON: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self.name}/{name} holds no settings but a {type(found).__name__}")
        return found
