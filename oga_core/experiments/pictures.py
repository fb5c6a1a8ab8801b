"""The images of the vision experiment: CIFAR with the human labels of CIFAR-N, CIFAR-10 as JPEG files, or embedded digits."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from oga_core.data import Arrays, Dataset, Subset, open_dataset
from oga_core.data.examples import make_example
from oga_core.errors import InputError
from oga_core.experiments.noise import flip_by_class

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
JPEG_TRAIN, JPEG_TEST, JPEG_HUMAN = "test.npz", "train_00000_09999.npz", "human_label_draw"
"""CIFAR-10's test set is trained on: it is the part with human labels."""
SHARES = (0.2, 0.4)
"""Of class-dependent noise."""
CIFAR_N = {
    "cifar-10-batches-py": (
        "CIFAR10",
        "CIFAR-10_human.pt",
        {"aggre": "aggre_label", "random1": "random_label1", "worst": "worse_label"},
    ),
    "cifar-100-python": ("CIFAR100", "CIFAR-100_human.pt", {"cifar100_noisy": "noisy_label"}),
}
"""By torchvision's folder: its name, the label file, and the settings in it (Wei et al., arXiv 2110.12088)."""
TITLES = {
    "aggre": "aggregated human labels",
    "random1": "one human's labels",
    "worst": "worst human labels",
    "cifar100_noisy": "human labels",
    "human": "one human's labels",
}

Given = Callable[[np.random.Generator], np.ndarray]
"""Given labels, int64 ``(n,)``, drawn by a seed, or the same each time."""


@dataclass(frozen=True)
class Pictures:
    """Images with their true labels, and the noise they are given.

    Attributes
    ----------
    train, test
        True labels; of the test images some are kept for validation.
    given
        By setting.
    titles
        Of the settings.
    likes
        The paper's setting that a setting is shown beside.
    notes
        What the user should know.
    """

    train: Dataset
    test: Dataset
    given: dict[str, Given]
    titles: dict[str, str]
    likes: dict[str, str]
    notes: list[str]


def find_images(folder: Path) -> Pictures:
    """The images below a folder.

    Raises
    ------
    InputError
        If there are none that are known, or their files are damaged or do not fit one another.
    """
    for below in CIFAR_N:
        if (folder / below).is_dir():
            return _cifar(folder, below)
    for there in (folder, folder / "cifar10_jpeg"):
        if (there / JPEG_TRAIN).is_file() and (there / JPEG_TEST).is_file():
            return _jpegs(there)
    raise InputError(
        f"{folder} has no images that are known here: torchvision's {' or '.join(CIFAR_N)} with the label file of CIFAR-N beside "
        f"it, or {JPEG_TRAIN} and {JPEG_TEST} of cifar10_jpeg"
    )


def embedded_digits(out: Path) -> Pictures:
    """The embedded digits under their true labels; every third one is tested on."""
    path = make_example("digits", out / "example")
    scans = open_dataset(path)
    truth = pd.read_csv(path.with_name("digits_truth.csv"), dtype=str, keep_default_na=False)
    true = dict(zip(truth["source"], truth["true_label"]))
    position = {name: i for i, name in enumerate(scans.class_names)}
    labels = np.array([position[true[str(source)]] for source in scans.sources], np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[::3], np.delete(order, np.s_[::3])
    return Pictures(
        Subset(scans, train, labels[train]),
        Subset(scans, test, labels[test]),
        *_by_class(labels[train], 10, SHARES[:1]),
        {},
        ["Without --data: scikit-learn's handwritten digits, two thirds to train on."],
    )


def _by_class(true: np.ndarray, classes: int, shares: tuple[float, ...]) -> tuple[dict[str, Given], dict[str, str]]:
    def of(share: float) -> Given:
        return lambda rng: flip_by_class(true, classes, share, rng)

    names = {f"class_noise_{100 * share:g}": share for share in shares}
    return {name: of(share) for name, share in names.items()}, {
        name: f"{100 * share:g} % class-dependent noise" for name, share in names.items()
    }


def _jpegs(folder: Path) -> Pictures:
    train, more = _read_jpegs(folder / JPEG_TRAIN)
    test, _ = _read_jpegs(folder / JPEG_TEST)
    given, titles = _by_class(train.labels, len(CLASSES), SHARES)
    if JPEG_HUMAN in more:
        human = more[JPEG_HUMAN].astype(np.int64)
        given, titles = {"human": lambda rng: human, **given}, {"human": TITLES["human"], **titles}
    return Pictures(
        train,
        test,
        given,
        {name: f"CIFAR-10 JPEG, {title}" for name, title in titles.items()},
        {"human": "aggre", "class_noise_20": "random1", "class_noise_40": "worst"},
        [
            "CIFAR-10's test images are trained on (they have human labels) and 10,000 of its training images tested on, all of "
            "them JPEG: accuracies are not to be compared with the literature. Beside each setting is the paper's with the "
            "nearest share of wrong labels."
        ],
    )


def _read_jpegs(path: Path) -> tuple[Arrays, dict[str, np.ndarray]]:
    """Images and labels of a file with the arrays ``jpeg``, ``offsets`` and ``label``; and its other arrays by name."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        data, offsets, labels = arrays.pop("jpeg").tobytes(), arrays.pop("offsets"), arrays.pop("label")
        pixels = np.stack(
            [np.asarray(Image.open(io.BytesIO(data[start:end])).convert("RGB")) for start, end in pairwise(offsets)]
        )
        return Arrays(pixels, labels.astype(np.int64), CLASSES), arrays
    except Exception as error:  # zipfile, numpy and Pillow raise many kinds for a damaged file
        raise InputError(f"{path} does not hold JPEG images with labels: {' '.join(str(error).split())}") from error


def _cifar(folder: Path, below: str) -> Pictures:
    name, file, columns = CIFAR_N[below]
    train, test = (open_dataset(f"torchvision:{name}:{folder}:{split}") for split in ("train", "test"))
    path = folder / file
    if not path.is_file():
        given, titles = _by_class(train.labels, len(train.class_names), SHARES)
        return Pictures(
            train,
            test,
            given,
            {k: f"{name}, {title}" for k, title in titles.items()},
            {"class_noise_20": "random1", "class_noise_40": "worst"} if name == "CIFAR10" else {},
            [f"{file} of CIFAR-N is not beside {below}: class-dependent noise takes the place of its human labels."],
        )
    labels = human_labels(path)
    given = {}
    for setting, column in columns.items():
        if column not in labels or "clean_label" not in labels:
            raise InputError(f"{path} has no {column} or no clean_label; it has {', '.join(labels)}")
        if not np.array_equal(labels["clean_label"], train.labels):
            raise InputError(
                f"{path}: its clean_label are not the labels of {name}'s {len(train):,} training images in their order"
            )
        if labels[column].shape != train.labels.shape or not 0 <= labels[column].min() <= labels[column].max() < len(
            train.class_names
        ):
            raise InputError(f"{path}: {column} are not classes of {name}'s training images")
        given[setting] = _fix(labels[column])
    return Pictures(train, test, given, {s: f"{name}-N, {TITLES[s]}" for s in given}, {s: s for s in given}, [])


def _fix(labels: np.ndarray) -> Given:
    return lambda rng: labels


def human_labels(path: Path) -> dict[str, np.ndarray]:
    """The label arrays of CIFAR-N: a dict of NumPy arrays that was saved by torch, read without running code from the file.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    import _codecs

    from numpy._core import multiarray

    rebuild = multiarray._reconstruct
    plain: list[Any] = [
        rebuild,
        (rebuild, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Int64DType,
        np.dtypes.Int32DType,
        _codecs.encode,
    ]
    try:
        with torch.serialization.safe_globals(plain):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle and torch raise many kinds
        raise InputError(f"{path} is not a dict of label arrays saved by torch: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}; a dict of label arrays is needed")
    arrays = {str(k): np.asarray(v) for k, v in found.items() if isinstance(v, np.ndarray | torch.Tensor)}
    return {name: v.astype(np.int64) for name, v in arrays.items() if v.ndim == 1 and v.dtype.kind in "iu"}
