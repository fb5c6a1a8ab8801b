"""Data sets that torchvision knows and that already lie on disk; nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oga_core.data.arrays import RowNames
from oga_core.data.dataset import Dataset, SampleError
from oga_core.errors import InputError, one_line
from oga_core.roots import REFUSAL, Bounds, links_out

SETS: dict[str, dict[str, dict[str, Any]]] = {
    **{
        name: {"train": {"train": True}, "test": {"train": False}}
        for name in ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "CIFAR10", "CIFAR100", "USPS")
    },
    **{
        name: {"train": {"split": "train"}, "test": {"split": "test"}}
        for name in ("SVHN", "STL10", "GTSRB", "DTD", "Flowers102", "EuroSAT", "Food101", "FGVCAircraft", "PCAM", "RenderedSST2")
    },
}
"""Names, and the arguments of each split. Where a set has no splits (EuroSAT) both are the whole."""

FOLDERS = {
    "MNIST/raw": "MNIST",
    "FashionMNIST/raw": "FashionMNIST",
    "KMNIST/raw": "KMNIST",
    "cifar-10-batches-py": "CIFAR10",
    "cifar-100-python": "CIFAR100",
    "stl10_binary": "STL10",
}
"""Folders below a root that holds a set, and the name of the set."""

BELOW = {
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "STL10": "stl10_binary",
    "GTSRB": "gtsrb",
    "DTD": "dtd",
    "Flowers102": "flowers-102",
    "EuroSAT": "eurosat",
    "Food101": "food-101",
    "FGVCAircraft": "fgvc-aircraft-2013b",
    "PCAM": "pcam",
    "RenderedSST2": "rendered-sst2",
}
"""Folders below the root that hold the files of a set; of the others one that has its name (MNIST)."""
IN_ROOT = ("SVHN", "USPS")
"""Sets whose files lie in the root itself."""

PREFIX = "torchvision:"


class TorchvisionSet(Dataset):
    """A split of a torchvision set.

    Raises
    ------
    InputError
        If the set is unknown, not under ``root``, its files are damaged (torchvision checks MD5 where it has them), or a server
        opens it and a link leads out of the allowed folders.
    """

    kind = "image"

    def __init__(self, name: str, root: str, split: str = "train") -> None:
        if name not in SETS:
            raise InputError(f"unknown torchvision set {name!r}; there are: {', '.join(SETS)}")
        if split not in SETS[name]:
            raise InputError(f"unknown split {split!r} of {name}; there are: {', '.join(SETS[name])}")
        self.notes = _notes_on_links(name, Path(root))
        from torchvision import datasets  # seconds, which those who open other data should not wait

        arguments = {} if name == "EuroSAT" else SETS[name][split]
        try:
            self.samples: Any = getattr(datasets, name)(root, download=False, **arguments)
        except Exception as error:  # each set raises its own kind for missing or damaged files
            raise InputError(f"torchvision finds no {name} ({split}) under {root}: {one_line(error)}") from error
        targets = next((getattr(self.samples, a) for a in ("targets", "labels", "_labels") if hasattr(self.samples, a)), None)
        if targets is None:
            targets = [target for _, target in self.samples._samples]
        labels = np.asarray(targets, np.int64)
        self.labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: the class, the writer, …
        names = getattr(self.samples, "classes", None) or range(int(self.labels.max(initial=0)) + 1)
        self.class_names = [str(n) for n in names]
        if self.labels.max(initial=-1) >= len(self.class_names):
            raise InputError(f"{name} ({split}) under {root}: label {self.labels.max()}, but {len(self.class_names)} classes")
        self.sources = RowNames(len(self.labels))

    def content(self, index: int) -> bytes:
        image = self._image(index)
        return f"{image.mode}{image.size}".encode() + image.tobytes()

    def load(self, index: int) -> Image.Image:
        return self._image(index).convert("RGB")

    def _image(self, index: int) -> Image.Image:
        try:
            image: Image.Image = self.samples[index][0]
            image.load()
        except Exception as error:  # Pillow's decoders raise many kinds for a broken file
            raise SampleError(f"cannot be decoded: {one_line(error)}") from error
        return image


def _notes_on_links(name: str, root: Path) -> list[str]:
    """Refuse a set in which links lead out of the allowed folders, for torchvision follows them all; an owner gets a note."""
    bounds = Bounds.of(root)
    if name in IN_ROOT:
        out = [file for file in _files(root) if not bounds.hold_link(str(root / file))]
    else:
        out = list(links_out(bounds, root / BELOW.get(name, name)))
    if out and bounds.enforced:
        raise InputError(f"{name} under {root}: {out[0]} {REFUSAL}")
    return [f"{len(out):,} symbolic links lead out of the folder"] if out else []


def _files(root: Path) -> list[str]:
    """Files that lie in a folder itself, by their names."""
    try:
        return sorted(entry.name for entry in os.scandir(root) if not entry.is_dir())
    except OSError:  # torchvision says so
        return []


def open_torchvision(spec: str) -> TorchvisionSet:
    """Open ``torchvision:NAME:ROOT`` or ``torchvision:NAME:ROOT:SPLIT``."""
    return TorchvisionSet(*_split_spec(spec))


def absolute(spec: str) -> str:
    """The spec with the whole path of its folder."""
    name, root, split = _split_spec(spec)
    return f"{PREFIX}{name}:{Path(root).expanduser().resolve()}:{split}"


def _split_spec(spec: str) -> tuple[str, str, str]:
    """Name, folder and split of a spec."""
    name, _, rest = spec.removeprefix(PREFIX).partition(":")
    root, colon, split = rest.rpartition(":")
    if not colon or split not in ("train", "test"):
        root, split = rest, "train"
    if not root:
        raise InputError(f"{spec!r} names no folder; write torchvision:{name or 'MNIST'}:FOLDER")
    return name, root, split


def recognise(folder: Path) -> str | None:
    """The spec of the torchvision set that lies in a folder, if one does."""
    found = [name for below, name in FOLDERS.items() if (folder / below).is_dir()]
    return f"{PREFIX}{found[0]}:{folder}" if found else None
