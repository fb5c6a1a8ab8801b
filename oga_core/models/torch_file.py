"""State dicts in PyTorch's own two formats, zip and legacy: checked whole before PyTorch opens one. No fallback."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from oga_core.errors import InputError
from oga_core.limits import PICKLE_BYTES
from oga_core.models.state_pickle import HOW, inspect_pickle

warnings.filterwarnings("ignore", message="Detected pickle protocol")  # an older or newer one is read as well


def read_torch(path: Path) -> Any:
    """Return what a PyTorch file of tensors holds, on the CPU.

    Raises
    ------
    InputError
        If it is damaged, needs code to run, or declares more than it stores.
    """
    with open(path, "rb") as handle:
        zipped = handle.read(4) == b"PK\x03\x04"
    if zipped:
        _check_zip(path)
    else:
        _check_legacy(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on storages of old files
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; there is no second try
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path.name} cannot be read as a state dict: {reason[0][:200]}; {HOW}") from error


def _check_zip(path: Path) -> None:
    name, size = path.name, path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {e.orig_filename: e for e in archive.infolist()}
            if len({n.casefold() for n in entries}) != len(archive.infolist()):  # torch finds them in capitals or not
                raise InputError(f"{name} has two entries of one name; this is not a file torch.save has written")
            inner = {n.partition("/")[2] for n in entries}
            if any("archive_format" in n or n.startswith(("serialized_", "models/")) for n in inner | set(entries)):
                raise InputError(f"{name} is an exported program (.pt2), which can run code and is not opened; {HOW}")
            if "constants.pkl" in inner or any(n.startswith("code/") for n in inner):
                raise InputError(f"{name} is TorchScript, which can run code and is not opened; {HOW}")
            for entry in entries.values():
                if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                    raise InputError(f"{name}: entry {entry.filename!r} is compressed (deflated), not stored; {HOW}")
            pickles = [n for n in entries if n.count("/") == 1 and n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{name} is a zip but no PyTorch file: it has no data.pkl; {HOW}")
            if entries[pickles[0]].file_size > PICKLE_BYTES.value:
                raise InputError(f"{name}: data.pkl has {entries[pickles[0]].file_size:,} bytes; {PICKLE_BYTES}")
            folder = pickles[0].removesuffix("data.pkl")
            with archive.open(entries[pickles[0]]) as handle:
                storages, _ = inspect_pickle(name, handle)
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is truncated or damaged ({size:,} bytes): {error}") from error
    for storage in storages:
        entry_or_none = entries.get(f"{folder}data/{storage.key}")
        stored = entry_or_none.file_size if entry_or_none else 0
        if storage.nbytes != stored:
            raise InputError(f"{name}: storage {storage.key!r} declares {storage.nbytes:,} bytes but stores {stored:,}")


def _check_legacy(path: Path) -> None:
    name, size = path.name, path.stat().st_size
    with open(path, "rb") as handle:
        _, magic = inspect_pickle(name, handle, newest=5)  # the state's own protocol is looked at below, after its contents
        if magic != 0x1950A86A20F9469CFC6C:
            raise InputError(f"{name} ({size:,} bytes) is no PyTorch file; {HOW}")
        for _ in range(2):
            inspect_pickle(name, handle, newest=5)
        storages, _ = inspect_pickle(name, handle)
        _, keys = inspect_pickle(name, handle)
        by_key = {s.key: s for s in storages}
        for key in keys if isinstance(keys, list) else []:
            storage = by_key.pop(key, None) if isinstance(key, str) else None
            count = handle.read(8)
            if len(count) < 8:
                raise InputError(f"{name} is truncated: it has {size:,} bytes, more are needed")
            stored = int.from_bytes(count, "little")
            if storage is None or stored != storage.numel:
                raise InputError(f"{name}: storage {key!r} does not have the size it declares; the file is damaged")
            if handle.seek(storage.nbytes, 1) > size:
                raise InputError(f"{name} is truncated: it has {size:,} bytes, {handle.tell():,} or more are needed")
    if by_key:
        raise InputError(f"{name} is truncated: {len(by_key)} storages are declared but not stored")
