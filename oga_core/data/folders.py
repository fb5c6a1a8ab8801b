"""A folder of files, on disk or in a zip, read one by one and never unpacked."""

from __future__ import annotations

import json
import os
import re
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


class Directory(Files):
    """A folder on disk; links to folders are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names, self.folders = [], set()
        linked = 0
        for at, folders, names in os.walk(path, onerror=_refuse_folder):
            folders.sort()
            linked += sum(os.path.islink(os.path.join(at, folder)) for folder in folders)
            relative = PurePosixPath(Path(at).relative_to(path).as_posix())
            self.folders.update(str(relative / folder) for folder in folders)
            self.names += [str(relative / name) for name in sorted(names)]
            if len(self.names) > FILES.value:
                raise InputError(f"{path} holds more files than are read: {FILES}")
        if (wrong := next((n for n in self.names if re.search("[\ud800-\udfff]", n)), None)) is not None:
            raise InputError(f"{path.name}: the file name {wrong!r} is not UTF-8; rename it")
        self.notes = [f"{linked:,} folders are symbolic links and were not followed"] if linked else []

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str, most: Limit = FILE_BYTES) -> bytes:
        path = self.path / name
        try:
            if path.exists() and not path.is_file():
                raise SampleError("is not an ordinary file")  # to open a pipe would wait for ever
            with open(path, "rb") as handle:
                there = os.fstat(handle.fileno()).st_size  # memory is set aside for as much as is asked for
                return _bounded(handle.read(min(there, most.value) + 1), most)
        except OSError as error:
            raise SampleError(f"cannot be read: {error.strerror}") from error


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
        self.entries = {_plain(e.filename): e for e in entries if not e.is_dir()}
        self.names = sorted(self.entries)
        self.folders = {_plain(e.filename) for e in entries if e.is_dir()}
        self.folders |= {str(parent) for name in self.names for parent in PurePosixPath(name).parents if str(parent) != "."}

    @staticmethod
    def _refuse_dangerous(archive: str, entries: list[zipfile.ZipInfo]) -> None:
        seen: dict[str, str] = {}
        end, before = 0, ""
        for entry in sorted(entries, key=lambda e: e.header_offset):
            # orig_filename: zipfile itself cuts names at NUL and turns backslashes round.
            name = entry.orig_filename
            parts = name.rstrip("/").split("/")
            if name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name) or ".." in parts:
                raise InputError(f"{archive}: entry {name!r} leads out of the archive; make the zip again with relative names")
            if len(name) > 4 * NAME_CHARACTERS.value or any(len(part) > NAME_CHARACTERS.value for part in parts):
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
                return _bounded(handle.read(most.value + 1), most)
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
    """An entry's name as one folder after another: ``./cat//1.png`` is ``cat/1.png``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _open_zip(path: Path) -> tuple[zipfile.ZipFile, list[str]]:
    """The archive, and notes. Names without the UTF-8 flag may be UTF-8 all the same (macOS writes them so)."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8"), []
    except UnicodeDecodeError:
        return zipfile.ZipFile(path), ["the file names are not UTF-8; they were read in the old code page 437"]


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from error


def _bounded(data: bytes, most: Limit) -> bytes:
    if len(data) > most.value:
        raise SampleError(f"the file is too large: {most}")
    return data


def is_side_file(name: str) -> bool:
    """Whether a file is of a system that it came through, by its name in a folder."""
    return any(p.startswith(".") or p in ("__MACOSX", "Thumbs.db", "desktop.ini") for p in name.split("/"))


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
        except SampleError as error:
            raise InputError(f"{self.name}/{name}: {error}") from error

    def settings(self, name: str) -> dict[str, Any]:
        """What is in a JSON file of settings; InputError where it is none."""
        data = self.read(name, SETTINGS_BYTES)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.name}/{name} is not readable JSON: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self.name}/{name} holds no settings but a {type(found).__name__}")
        return found
