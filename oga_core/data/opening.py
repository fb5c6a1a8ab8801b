"""From what a user names to the reader that suits it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oga_core.data import arrays, images, saved_datasets, tables, torchvision_sets
from oga_core.data.arrays import Arrays
from oga_core.data.dataset import Dataset
from oga_core.data.folders import Folder
from oga_core.errors import InputError, one_line

SOURCES = (".zip", *tables.SUFFIXES, *(f"{s}.gz" for s in tables.SUFFIXES if s != ".parquet"), ".npz")
"""Endings of the files that can be opened; beside them folders, and ``torchvision:NAME:FOLDER``."""


def open_dataset(source: str | Path, *, inputs: str | None = None, label: str | None = None) -> Dataset:
    """Open a data set; samples are read when they are asked for.

    Parameters
    ----------
    source
        A folder or ``.zip`` with one folder of images a class, or as ``save_to_disk`` of ``datasets`` writes it; a table
        (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``) with a text column, or two, and a label column; an ``.npz`` with images or
        features and labels; or a torchvision set on disk, as ``torchvision:CIFAR10:FOLDER[:SPLIT]`` or the folder itself.
    inputs
        Column of the text (two joined by a comma), or the array of the samples, where auto-detection by name does not find them.
    label
        Column or array of the given labels, likewise.

    Raises
    ------
    InputError
        If the source is not found, of another type, damaged, or has no two classes.

    Examples
    --------
    >>> from pathlib import Path
    >>> path = Path("train.csv")
    >>> _ = path.write_text("text,label\\ngreat,pos\\nawful,neg\\n")
    >>> dataset = oga.open_dataset(path)
    >>> len(dataset), dataset.class_names
    (2, ['neg', 'pos'])
    """
    spec = locate(source)
    options = {key: value for key, value in (("inputs", inputs), ("label", label)) if value}
    dataset = _open(spec, options)
    dataset.origin = (spec, options)
    return dataset


def locate(source: str | Path) -> str:
    """The source with its whole path, so that another process opens the same one.

    Raises
    ------
    InputError
        If it is not found.
    """
    spec = str(source)
    try:
        if spec.startswith(torchvision_sets.PREFIX):
            return torchvision_sets.absolute(spec)
        path = Path(source).expanduser().resolve()
        if not path.exists():
            raise InputError(f"not found: {one_line(source)}")
        if not path.is_file() and not path.is_dir():
            raise InputError(f"{one_line(source)} is neither a file nor a folder")  # to open a pipe would wait for ever
        return torchvision_sets.recognise(path) or str(path)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # no such home, a name too long, a NUL in it, …
        raise InputError(f"not found: {one_line(source)[:200]}: {getattr(error, 'strerror', None) or error}") from error


def _open(spec: str, options: dict[str, str]) -> Dataset:
    if spec.startswith(torchvision_sets.PREFIX):
        _no_columns(spec, options)
        return torchvision_sets.open_torchvision(spec)
    path = Path(spec)
    name = path.name.lower()
    if path.is_dir() or name.endswith(".zip"):
        folder = Folder.at(path)
        if saved_datasets.is_saved(folder):
            return saved_datasets.open_saved(folder, **options)
        _no_columns(path.name, options)
        return images.open_images(folder)
    if name.endswith(".npz"):
        return arrays.open_npz(path, **options)
    if name.endswith(SOURCES):
        return tables.open_table(path, **options)
    raise InputError(f"{path.name}: data come as a folder, {', '.join(SOURCES)}, or torchvision:NAME:FOLDER")


def _no_columns(name: str, options: dict[str, str]) -> None:
    if options:
        raise InputError(f"{name} has no columns; {' and '.join(options)} can only be named for tables and .npz files")


def from_arrays(samples: Any, labels: Any, class_names: Sequence[str] | None = None) -> Arrays:
    """A data set from arrays in memory: see `Arrays` for shapes, types and errors.

    Examples
    --------
    >>> dataset = oga.from_arrays(np.zeros((3, 2), np.float32), [0, 1, 1], ["cat", "dog"])
    >>> len(dataset), dataset.label_name(2)
    (3, 'dog')
    """
    return Arrays(np.asarray(samples), np.asarray(labels), class_names)


def from_texts(texts: Sequence[str], labels: Sequence[Any]) -> Dataset:
    """A data set from texts in memory.

    Parameters
    ----------
    texts
        One text a sample.
    labels
        Given labels, as names or numbers; None, NaN or an empty string is a missing label.

    Raises
    ------
    InputError
        If there are not as many labels as texts, or fewer than two classes.

    Examples
    --------
    >>> oga.from_texts(["great", "awful"], ["pos", "neg"]).class_names
    ['neg', 'pos']
    """
    if len(texts) != len(labels):
        raise InputError(f"{len(texts):,} texts but {len(labels):,} labels")
    columns = {"text": [str(t) for t in texts], "label": [arrays.label_text(v) for v in labels]}
    return tables.TextTable(columns, ["text"], "label", "the data")


def from_prompts(prompts: Sequence[str], answers: Sequence[str], groups: Sequence[Any] | None = None) -> Dataset:
    """A data set from prompts and their answers in memory, for a language model.

    Parameters
    ----------
    prompts, answers
        One of each a sample.
    groups
        What takes the place of the given label, as names or numbers; None, NaN or an empty string is no group.

    Raises
    ------
    InputError
        If there are not as many of each, or none.

    Examples
    --------
    >>> dataset = oga.from_prompts(["2 + 2 =", "3 + 3 ="], ["4", "6"], ["sums", "sums"])
    >>> dataset.words(1)
    ('3 + 3 =', '6')
    """
    if len(prompts) != len(answers) or (groups is not None and len(groups) != len(answers)):
        of = "" if groups is None else f" and {len(groups):,} groups"
        raise InputError(f"{len(prompts):,} prompts but {len(answers):,} answers{of}")
    columns = {"prompt": [str(t) for t in prompts], "answer": [str(t) for t in answers]}
    if groups is not None:
        columns["label"] = [arrays.label_text(v) for v in groups]
    return tables.PromptTable(columns, ["prompt", "answer"], None if groups is None else "label", "the data")
