"""The images of the vision experiment: each layout is read, and what does not fit is refused in one line."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from oga_core.errors import InputError
from oga_core.experiments.pictures import embedded_digits, find_images, human_labels
from oga_core.experiments.vision import split

N = 40


def jpegs(path: Path, seed: int, **more: Any) -> np.ndarray:
    """Grey JPEG images, the brighter the higher the class; returns the labels."""
    labels = np.random.default_rng(seed).integers(0, 10, N)
    files = []
    for label in labels.tolist():
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (20 * label,) * 3).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(path, jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, label=labels, **more)
    return labels


def test_jpeg_files_are_read_with_their_human_labels(tmp_path: Path) -> None:
    human = np.arange(N) % 10
    labels = jpegs(tmp_path / "test.npz", 0, human_label_draw=human)
    other = jpegs(tmp_path / "train_00000_09999.npz", 1)
    pictures = find_images(tmp_path)
    assert list(pictures.given) == ["human", "class_noise_20", "class_noise_40"]
    assert np.array_equal(pictures.train.labels, labels)
    assert np.array_equal(pictures.test.labels, other)
    assert np.array_equal(pictures.given["human"](np.random.default_rng(0)), human)
    assert abs(np.asarray(pictures.train.load(0)).mean() - 20 * labels[0]) < 3
    noisy = pictures.given["class_noise_40"](np.random.default_rng(0))
    counts = np.bincount(labels, minlength=10)
    assert (noisy != labels).sum() == sum(round(0.4 * c) for c in counts.tolist())


def test_a_seed_draws_its_own_parts_and_nothing_is_tested_that_was_validated_on(tmp_path: Path) -> None:
    jpegs(tmp_path / "test.npz", 0)
    jpegs(tmp_path / "train_00000_09999.npz", 1)
    pictures = find_images(tmp_path)
    most = {"train": 30, "validation": 6, "test": 20}
    train, wrong, validation, test = split(pictures, "class_noise_20", 0, most)
    assert (len(train), len(validation), len(test)) == (30, 6, 20)
    assert not set(validation.rows.tolist()) & set(test.rows.tolist())
    assert np.array_equal(wrong, train.labels != pictures.train.labels[train.rows])
    again, other = (split(pictures, "class_noise_20", s, most)[0] for s in (0, 1))
    assert np.array_equal(train.labels, again.labels)
    assert not np.array_equal(train.rows, other.rows)


def test_without_data_there_are_the_digits_under_their_true_labels(tmp_path: Path) -> None:
    pictures = embedded_digits(tmp_path)
    assert (len(pictures.train), len(pictures.test)) == (1198, 599)
    assert list(pictures.given) == ["class_noise_20"]
    noisy = pictures.given["class_noise_20"](np.random.default_rng(0))
    assert (noisy != pictures.train.labels).mean() == pytest.approx(0.2, abs=0.01)
    flipped = [str(s).split("/")[0] for s in pictures.train.sources] != [pictures.train.label_name(i) for i in range(1198)]
    assert flipped  # the example's own flips are undone


class Cifar10:
    """A set of ten images under torchvision's name."""

    classes = [str(c) for c in range(10)]  # noqa: RUF012

    def __init__(self, root: str, download: bool, train: bool) -> None:
        self.targets = list(range(10))

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32)), self.targets[index]


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like torchvision's CIFAR-10."""
    monkeypatch.setattr(datasets, "CIFAR10", Cifar10)
    (tmp_path / "cifar-10-batches-py").mkdir()
    return tmp_path


def labels(**changes: Any) -> dict[str, Any]:
    clean = np.arange(10)
    return {
        "clean_label": clean,
        "aggre_label": clean,
        "random_label1": clean[::-1].copy(),
        "worse_label": (clean + 1) % 10,
    } | changes


def test_cifar_takes_its_human_labels_from_the_file_beside_it(cifar: Path) -> None:
    torch.save(labels(), cifar / "CIFAR-10_human.pt")
    pictures = find_images(cifar)
    assert list(pictures.given) == ["aggre", "random1", "worst"]
    assert pictures.likes == {"aggre": "aggre", "random1": "random1", "worst": "worst"}
    given = {name: of(np.random.default_rng(0)).tolist() for name, of in pictures.given.items()}
    assert given["aggre"] == list(range(10))
    assert given["worst"] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_without_that_file_noise_is_made_and_told(cifar: Path) -> None:
    pictures = find_images(cifar)
    assert list(pictures.given) == ["class_noise_20", "class_noise_40"]
    assert "CIFAR-10_human.pt of CIFAR-N is not beside" in pictures.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (labels(clean_label=np.zeros(10, np.int64)), "its clean_label are not the labels of CIFAR10"),
        ({"clean_label": np.arange(10)}, "has no aggre_label or no clean_label; it has clean_label"),
        (labels(aggre_label=np.full(10, 12)), "aggre_label are not classes"),
        (labels(aggre_label=np.arange(9)), "aggre_label are not classes"),
        ([1, 2], "holds a list; a dict of label arrays is needed"),
    ],
)
def test_label_files_that_do_not_fit_are_refused(cifar: Path, content: Any, message: str) -> None:
    torch.save(content, cifar / "CIFAR-10_human.pt")
    with pytest.raises(InputError, match=message):
        find_images(cifar)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_label_files_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"clean_label": np.arange(3), "evil": Evil()}, tmp_path / "labels.pt")
    with pytest.raises(InputError, match="not a dict of label arrays"):
        human_labels(tmp_path / "labels.pt")
    (tmp_path / "labels.pt").write_bytes(pickle.dumps({"clean_label": Evil()}, protocol=2))
    with pytest.raises(InputError, match="not a dict of label arrays"):
        human_labels(tmp_path / "labels.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_label_arrays_come_back(tmp_path: Path, kind: type) -> None:
    torch.save({"a": np.arange(5, dtype=kind), "b": torch.arange(4), "c": "text"}, tmp_path / "labels.pt")
    found_labels = human_labels(tmp_path / "labels.pt")
    assert {name: v.tolist() for name, v in found_labels.items()} == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3]}
    assert {v.dtype.name for v in found_labels.values()} == {"int64"}


def test_a_folder_without_images_or_with_damaged_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images that are known"):
        find_images(tmp_path)
    for name in ("test.npz", "train_00000_09999.npz"):
        (tmp_path / name).write_bytes(b"PK\3\4 nothing")
    with pytest.raises(InputError, match="does not hold JPEG images"):
        find_images(tmp_path)
