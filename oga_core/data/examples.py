"""Embedded examples: real data that every installation has, a known share of its labels flipped, as ordinary files.

Nothing else in OGA knows about examples: their files go through the same readers and models as a user's own.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import inspect
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from oga_core.errors import InputError
from oga_core.files import PRIVATE_FOLDER, write_whole

FLIPPED = 0.1
"""Share of the labels that are flipped to another class."""
SEED = 0
LIBRARIES = {
    "numpy": ("lib", "_core", "linalg", "ma", "fft", "polynomial"),
    "pandas": ("core", "io"),
    "scipy": ("stats", "signal"),
    "sklearn": ("",),
    "torch": ("nn", "optim", "distributions", "utils"),
}
"""Libraries whose docstrings are the text example, and the subpackages that are looked through."""
DOCSTRINGS = 300
"""Of each library, at most."""


@dataclass(frozen=True)
class Example:
    """An embedded data set.

    Attributes
    ----------
    file, truth
        Names of its file, and of a CSV ``source,label,true_label`` that says which labels were flipped.
    folds
        More starters that it is scored with, as in ``oga score --folds``; None: as usual for its kind.
    """

    name: str
    title: str
    note: str
    file: str
    truth: str
    write: Callable[[Path, Path], None]
    folds: int | None = None


def make_example(name: str, folder: Path) -> Path:
    """The path of an example's file; it is written into ``folder`` if missing.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in EXAMPLES:
        raise InputError(f"unknown example {name!r}; there are: {', '.join(EXAMPLES)}")
    example = EXAMPLES[name]
    path, truth = folder / example.file, folder / example.truth
    if not path.exists() or not truth.exists():
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        example.write(path, truth)
    return path


def flip(labels: list[str], seed: int = SEED, share: float = FLIPPED) -> list[str]:
    """The labels with a share of them, drawn uniformly, replaced by another class, drawn uniformly."""
    classes = sorted(set(labels))
    rng = np.random.default_rng(seed)
    out = list(labels)
    for i in rng.choice(len(labels), round(share * len(labels)), replace=False):
        out[i] = str(rng.choice([c for c in classes if c != labels[i]]))
    return out


def _write_digits(path: Path, truth: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    true = [str(t) for t in digits.target]
    given = flip(true)
    sources = [f"{label}/scan_{i:04d}.png" for i, label in enumerate(given)]

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for source, pixels in zip(sources, digits.images, strict=True):
                buffer = io.BytesIO()
                Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(buffer, "PNG")
                archive.writestr(zipfile.ZipInfo(source), buffer.getvalue())

    _write_truth(truth, sources, given, true)
    write_whole(path, write, private=True)


def _write_docstrings(path: Path, truth: Path) -> None:
    texts, true = [], []
    for library, subpackages in LIBRARIES.items():
        found = sorted({text for sub in subpackages for text in _docstrings(library, sub)})
        drawn = np.random.default_rng(SEED).permutation(len(found))[:DOCSTRINGS]
        texts += [found[i] for i in drawn]
        true += [library] * len(drawn)
    order = np.random.default_rng(SEED).permutation(len(texts))
    texts, true = [texts[i] for i in order], [true[i] for i in order]
    given = flip(true)

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([("text", "label"), *zip(texts, given, strict=True)])

    _write_truth(truth, [f"row {i}" for i in range(len(texts))], given, true)
    write_whole(path, write, private=True)


def _docstrings(library: str, subpackage: str) -> Iterator[str]:
    """First paragraphs of the docstrings of public functions and classes, read from the source without importing it."""
    spec = importlib.util.find_spec(library)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted((Path(location) / subpackage).rglob("*.py")):
            if "test" in file.as_posix().rpartition(library)[2]:
                continue
            try:
                tree = ast.parse(file.read_text("utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    summary = inspect.cleandoc(ast.get_docstring(node) or "")[:600]
                    text = " ".join(summary.split())[:400]
                    if len(text) >= 80:
                        yield text


def _write_truth(path: Path, sources: list[str], given: list[str], true: list[str]) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([("source", "label", "true_label"), *zip(sources, given, true, strict=True)])

    write_whole(path, write, private=True)


EXAMPLES = {
    e.name: e
    for e in (
        Example(
            "digits",
            "Handwritten digits",
            "1,797 scans of handwritten digits (scikit-learn's digits). 10 % of the labels were flipped on purpose, with a "
            "fixed seed, so that there is something to find.",
            "digits.zip",
            "digits_truth.csv",
            _write_digits,
            folds=2,
        ),
        Example(
            "docstrings",
            "Docstrings by library",
            "1,500 docstrings of numpy, pandas, scipy, scikit-learn and torch, labelled by library. 10 % of the labels were "
            "flipped on purpose, with a fixed seed, so that there is something to find.",
            "docstrings.csv",
            "docstrings_truth.csv",
            _write_docstrings,
        ),
    )
}
"""The examples by name."""
