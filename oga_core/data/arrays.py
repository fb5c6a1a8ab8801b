"""Images or features in NumPy arrays: ``.npz`` files and arrays in memory."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oga_core.data.dataset import Dataset, SampleError, check_number_of_classes, in_order
from oga_core.data.images import on_white
from oga_core.errors import InputError, one_line
from oga_core.limits import ARRAYS_BYTES

INPUT_NAMES = ("images", "x", "X", "X_train", "x_train", "train_images", "features", "data", "inputs", "train_data")
LARGEST = (1 << 63) - 1
LABEL_NAMES = ("labels", "label", "y", "y_train", "train_labels", "targets", "target", "classes")
SPLIT = re.compile(r"^(?:train|val|valid|validation|test)_|_(?:train|val|valid|validation|test)$")
"""Beginning or end of the names of arrays that belong to one split of the data."""


class Arrays(Dataset):
    """Samples along the first axis of an array.

    Parameters
    ----------
    samples
        Features, numeric, shape ``(n, d)``; or images, shape ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)`` with
        c = 1, 3 or 4, uint8 in 0…255 or float in 0…1.
    labels
        Given labels, shape ``(n,)`` or ``(n, 1)``: whole numbers (positions in ``class_names`` where those are given), strings
        or UTF-8 bytes; or one-hot, shape ``(n, k)``. A negative number, None, NaN, an empty string or a row of zeros is a missing
        label.
    class_names
        Names of the classes in the order of the model's outputs.

    Raises
    ------
    InputError
        For shapes, types or labels that do not fit.
    """

    def __init__(self, samples: np.ndarray, labels: Sequence[Any] | np.ndarray, class_names: Sequence[str] | None = None) -> None:
        samples = np.asarray(samples)
        self.notes = []
        if samples.dtype.kind not in "uifb":
            raise InputError(f"samples are of type {samples.dtype}; numbers are needed")
        labels = _one_label_a_sample(np.asarray(labels), self.notes)
        if samples.shape[:1] != labels.shape:
            raise InputError(f"samples have shape {samples.shape}, labels {labels.shape}; one label a sample is needed")
        if 0 in samples.shape:
            raise InputError(f"samples have shape {samples.shape}; there is nothing in them")
        self.labels, self.class_names = _labels(labels, class_names)
        if samples.ndim == 2:
            self.kind = "features"
        elif samples.ndim in (3, 4):
            self.kind = "image"
            samples = _as_uint8_images(samples, self.notes)
            if samples.shape[-1] == 4:
                self.notes.append("the images have a fourth channel, read as how opaque they are: they lie on white")
        else:
            raise InputError(f"samples have shape {samples.shape}; expected (n, d) features or (n, h, w[, c]) images")
        self.samples = samples
        self.sources = RowNames(len(samples))

    def content(self, index: int) -> bytes:
        sample = np.ascontiguousarray(self.samples[index])
        return f"{sample.dtype.str}{sample.shape}".encode() + sample.tobytes()

    def load(self, index: int) -> Any:
        sample = self.samples[index]
        if self.kind == "image":
            return on_white(Image.fromarray(np.squeeze(sample, -1) if sample.shape[-1] == 1 else sample))
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
            values = sample.astype(np.float32)
        if not np.isfinite(values).all():
            raise SampleError("a feature is not a finite number")
        return values

    def save(self, folder: Path) -> tuple[str, dict[str, Any]]:
        path = folder / "samples.npz"
        np.savez(path, x=self.samples, y=self.labels, class_names=np.array(self.class_names))
        return str(path), {}


class RowNames(Sequence[str]):
    """``row 0``, ``row 1``, … without keeping a million strings."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return f"row {range(self.n)[index]}"


def open_npz(path: Path, inputs: str | None = None, label: str | None = None) -> Arrays:
    """Read an ``.npz`` without pickle.

    Parameters
    ----------
    inputs, label
        Names of the arrays, where they are not among the usual ones.

    Raises
    ------
    InputError
        If it is damaged, needs pickle, declares more than it stores, or it is ambiguous which arrays are samples and labels.
    """
    shapes = _check_headers(path)
    x = _pick(path, shapes, inputs, INPUT_NAMES, lambda shape, dtype: len(shape) >= 2, lambda shape, dtype: len(shape) >= 2)
    y = _pick(
        path,
        shapes,
        label,
        LABEL_NAMES,
        lambda shape, dtype: len(shape) in (1, 2) and dtype.kind in "iufbUS" and shape[:1] == shapes[x][0][:1],
        lambda shape, dtype: len(shape) == 1 and dtype.kind in "iuU" and shape == shapes[x][0][:1],
    )
    for name in (x, y):
        if 0 in shapes[name][0] or not shapes[name][1].itemsize:  # whose other sizes could be anything
            raise InputError(f"{path.name}: array {name!r} of shape {shapes[name][0]} is empty")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive["class_names"] if "class_names" in shapes else None
            samples, labels = archive[x], archive[y]
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for a damaged file
        raise InputError(f"{path.name} cannot be read: {one_line(error)}") from error
    if names is not None and names.ndim != 1:
        raise InputError(f"{path.name}: class_names have shape {names.shape}; a list is needed")
    dataset = Arrays(samples, labels, None if names is None else list(names))
    if others := [name for name in shapes if name not in (x, y) and SPLIT.search(name)]:
        dataset.notes.append(f"only {x} and {y} are read; the file also has {', '.join(others[:10])}")
    return dataset


def _check_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of every array, after checking that each stores the bytes it declares."""
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as handle:
                    version = np.lib.format.read_magic(handle)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = read(handle)
                    start = handle.tell()
                name = entry.filename.removesuffix(".npy")
                if dtype.hasobject:
                    raise InputError(f"{path.name}: array {name!r} holds Python objects (pickle); save it with a plain type")
                if min(shape, default=0) < 0:
                    raise InputError(f"{path.name}: array {name!r} declares the shape {shape}")
                declared = int(np.prod([int(s) for s in shape], dtype=object)) * dtype.itemsize
                total += declared
                if declared != entry.file_size - start:
                    raise InputError(
                        f"{path.name}: array {name!r} declares {declared:,} bytes but stores {entry.file_size - start:,}"
                    )
                if total > ARRAYS_BYTES.value:
                    raise InputError(f"{path.name}: the arrays declare {total:,} bytes; {ARRAYS_BYTES}")
                shapes[name] = (shape, dtype)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's header parser raise many kinds for a damaged file
        raise InputError(f"{path.name} is not a readable .npz file: {one_line(error)}") from error
    return shapes


def _pick(path: Path, shapes: dict[str, Any], asked: str | None, usual: Sequence[str], fits: Any, surely_fits: Any) -> str:
    """Return the array asked for, else one with a usual name that fits, else the only one that surely fits."""
    listed = ", ".join(f"{n} {shape}" for n, (shape, _) in shapes.items())
    if asked is not None:
        if asked not in shapes:
            raise InputError(f"{path.name} has no array {asked!r}; it has: {listed}")
        return asked
    recognised = [n for n in usual if n in shapes and fits(*shapes[n])]
    if recognised:
        return recognised[0]
    fitting = [n for n, header in shapes.items() if n != "class_names" and surely_fits(*header)]
    if len(fitting) == 1:
        return fitting[0]
    raise InputError(
        f"{path.name}: cannot tell which arrays are the samples and the labels among: {listed}; name them (--inputs, --label)"
    )


def label_text(value: Any) -> str:
    """A label as text; empty where it is missing."""
    return "" if value is None or (isinstance(value, float) and value != value) else str(value)


def _one_label_a_sample(labels: np.ndarray, notes: list[str]) -> np.ndarray:
    """Return labels of shape ``(n,)``: whole numbers where they were floats or one-hot, -1 where missing; texts where bytes."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "iufb" and np.isin(labels, (0, 1)).all():
        several = int((labels.sum(1) > 1).sum())
        if several:
            raise InputError(
                f"labels have shape {labels.shape}, with more than one class for {several:,} samples (multi-label); "
                "give one column of them at a time"
            )
        without = int((~labels.any(1)).sum())
        missing_too = f"; {without:,} samples have none" if without else ""
        notes.append(f"one-hot labels were read as the classes 0 to {labels.shape[1] - 1}{missing_too}")
        labels = np.where(labels.any(1), labels.argmax(1), -1)
    if labels.ndim != 1:
        raise InputError(f"labels have shape {labels.shape}; one label a sample is needed")
    if labels.dtype.kind == "S":
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"labels are bytes that are not UTF-8 ({error.reason}); give them as texts") from error
    if labels.dtype.kind == "f":
        missing = np.isnan(labels)
        whole = np.where(missing, -1, labels)
        if not (np.isfinite(whole).all() and (whole == whole.round()).all() and (abs(whole) < 2**53).all()):
            raise InputError(f"labels are of type {labels.dtype} and not whole; whole numbers or texts are needed")
        return whole.astype(np.int64)
    return labels


def _labels(values: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    if names is not None:
        names = [str(n) for n in names]
        _at_least_two(names)
        if len(set(names)) != len(names):
            raise InputError(f"duplicate class name {Counter(names).most_common(1)[0][0]!r}")
    if values.dtype.kind in "iu":
        if values.size and int(values.max()) > LARGEST:  # it would be negative, which is a missing label
            raise InputError(f"label {values.max()} is too large; the largest is {LARGEST}")
        labels = values.astype(np.int64)
        if names is not None:
            if labels.max() >= len(names):
                raise InputError(f"label {labels.max()} is outside the {len(names)} class names")
            return np.maximum(labels, -1), names
        found = np.unique(labels[labels >= 0])
        _at_least_two(found)
        positions = np.searchsorted(found, labels)
        return np.where(labels < 0, -1, positions), [str(v) for v in found]
    if values.dtype.kind not in "UOb":
        raise InputError(f"labels are of type {values.dtype}; whole numbers or texts are needed")
    texts = [label_text(v) for v in values]
    if names is None:
        names = in_order({t for t in texts if t})
        _at_least_two(names)
    index = {c: i for i, c in enumerate(names)}
    unknown = sorted({t for t in texts if t and t not in index})
    if unknown:
        raise InputError(f"label {unknown[0]!r} is not among the class names")
    return np.array([index.get(t, -1) for t in texts], np.int64), names


def _at_least_two(classes: Any) -> None:
    check_number_of_classes("the data", len(classes))
    if len(classes) < 2:
        raise InputError(f"the labels have {len(classes)} class(es); a classifier's data have at least two")


def _as_uint8_images(samples: np.ndarray, notes: list[str]) -> np.ndarray:
    """Images as uint8, shape ``(n, h, w, c)``."""
    if samples.ndim == 3:
        samples = samples[..., None]
    elif samples.shape[-1] not in (1, 3, 4) and samples.shape[1] in (1, 3, 4):
        samples = np.moveaxis(samples, 1, -1)
    if samples.shape[-1] not in (1, 3, 4):
        raise InputError(f"images have shape {samples.shape}; 1, 3 or 4 channels are needed")
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == bool:
        return samples.astype(np.uint8) * 255
    low, high = float(samples.min(initial=0)), float(samples.max(initial=0))
    if not np.isfinite([low, high]).all():
        raise InputError("the images hold values that are not finite numbers")
    if samples.dtype.kind in "iu" and low >= 0 and high <= 255:
        return samples.astype(np.uint8)
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        return (samples * 255).round().astype(np.uint8)
    if samples.dtype.kind == "f" and low >= 0 and high <= 255:
        return samples.round().astype(np.uint8)
    notes.append(f"pixel values from {low:g} to {high:g} were scaled to 0…255")
    return ((samples - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
