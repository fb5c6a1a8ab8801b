"""Torchvision's sets on disk: the same samples as torchvision gives, and clear words where there are none."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.data.torchvision_sets import FOLDERS, SETS
from oga_core.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([5, 0, 4, 1, 9, 2])


def idx(path: Path, values: np.ndarray) -> None:
    """The file format of MNIST: type and number of axes, sizes, values, all big-endian."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {1: 8, 4: 12}[values.itemsize]
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    path.write_bytes(header + values.astype(values.dtype.newbyteorder(">")).tobytes())


def mnist(root: Path, name: str = "MNIST", labels: np.ndarray = LABELS) -> Path:
    for split, rows in (("train", slice(0, 6)), ("t10k", slice(3, 6))):
        idx(root / name / "raw" / f"{split}-images-idx3-ubyte", PIXELS[rows])
        idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", labels[rows].astype(np.uint8))
    return root


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), colour).save(buffer, "PNG")
    return buffer.getvalue()


def refusal(source: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.sample_id(i) for i in range(len(dataset))]


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_a_set_gives_the_samples_that_torchvision_gives(tmp_path: Path, name: str) -> None:
    root = mnist(tmp_path, name)
    for split, train in (("train", True), ("test", False)):
        theirs = getattr(torchvision.datasets, name)(str(root), train=train)
        ours = open_dataset(f"torchvision:{name}:{root}:{split}")
        assert (ours.kind, len(ours), ours.class_names) == ("image", len(theirs), theirs.classes)
        for i, (image, label) in enumerate(theirs):
            assert ours.labels[i] == label
            assert ours.load(i).tobytes() == image.convert("RGB").tobytes()


def test_the_folder_itself_is_recognised(tmp_path: Path) -> None:
    by_folder, by_name = open_dataset(mnist(tmp_path)), open_dataset(f"torchvision:MNIST:{tmp_path}")
    assert ids(by_folder) == ids(by_name)
    assert by_folder.labels.tolist() == LABELS.tolist()
    assert by_folder.load(1).size == (28, 28)
    assert by_folder.thumbnail(1).size == (140, 140)


def test_every_folder_that_is_recognised_is_a_set_that_can_be_named() -> None:
    assert set(FOLDERS.values()) <= set(SETS)
    assert all(hasattr(torchvision.datasets, name) for name in SETS)


def test_an_id_is_the_same_wherever_the_sample_stands(tmp_path: Path) -> None:
    mnist(tmp_path)
    train, test = (open_dataset(f"torchvision:MNIST:{tmp_path}:{split}") for split in ("train", "test"))
    assert ids(test) == ids(train)[3:]
    assert len(set(ids(train))) == 6
    mnist(tmp_path / "other", labels=np.array([5, 0, 4, 1, 9, 3]))
    assert [a == b for a, b in zip(ids(open_dataset(tmp_path / "other")), ids(train))] == [True] * 5 + [False]


def test_a_relative_folder_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist(tmp_path / "a:b")
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("torchvision:MNIST:a:b:test")
    monkeypatch.chdir("/")
    assert dataset.origin is not None
    spec, options = dataset.origin
    assert ids(open_dataset(spec, **options)) == ids(dataset)
    assert len(dataset) == 3


def test_the_class_of_a_qmnist_digit_is_the_first_of_its_numbers(tmp_path: Path) -> None:
    idx(tmp_path / "QMNIST" / "raw" / "qmnist-train-images-idx3-ubyte", PIXELS)
    numbers = np.arange(48, dtype=np.int32).reshape(6, 8) + 100
    numbers[:, 0] = LABELS
    idx(tmp_path / "QMNIST" / "raw" / "qmnist-train-labels-idx2-int", numbers)
    dataset = open_dataset(f"torchvision:QMNIST:{tmp_path}")
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.label_name(0) == "5 - five"
    assert len(set(ids(dataset))) == 6


@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("EuroSAT", "eurosat/2750/{}/a.png"),
        ("RenderedSST2", "rendered-sst2/train/{}/a.png"),
        ("GTSRB", "gtsrb/GTSRB/Training/{}/a.ppm"),
    ],
)
def test_sets_of_files_open_without_decoding_and_a_broken_file_is_one_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, below: str
) -> None:
    for folder, data in (("negative", b"broken"), ("positive", png("red"))):
        file = tmp_path / below.format(folder)
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda *_, **__: pytest.fail("an image was opened"))
        dataset = open_dataset(f"torchvision:{name}:{tmp_path}")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.load(1).getpixel((0, 0)) == (255, 0, 0)
    for read in (dataset.load, dataset.content, dataset.thumbnail):
        with pytest.raises(SampleError, match="cannot be decoded"):
            read(0)


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    assert "unknown torchvision set 'MNISTT'; there are: MNIST, FashionMNIST" in refusal(f"torchvision:MNISTT:{tmp_path}")
    assert "'torchvision:MNIST' names no folder; write torchvision:MNIST:FOLDER" in refusal("torchvision:MNIST")
    assert "'torchvision:' names no folder; write torchvision:MNIST:FOLDER" in refusal("torchvision:")
    assert f"torchvision finds no MNIST (train) under {tmp_path}" in refusal(f"torchvision:MNIST:{tmp_path}")
    assert "torchvision finds no CIFAR10 (test)" in refusal(f"torchvision:CIFAR10:{tmp_path}:test")
    assert "not found: " in refusal("torchvision:MNIST:a\0b")


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
@pytest.mark.parametrize("size", [0, 3, 30])
def test_damaged_files_are_refused(tmp_path: Path, file: str, size: int) -> None:
    os.truncate(mnist(tmp_path) / "MNIST" / "raw" / file, size if "images" in file or size < 30 else 10)
    assert "torchvision finds no MNIST (train)" in refusal(tmp_path)


def test_an_altered_cifar_batch_is_refused(tmp_path: Path) -> None:
    for i in range(1, 6):
        (tmp_path / "cifar-10-batches-py").mkdir(exist_ok=True)
        (tmp_path / "cifar-10-batches-py" / f"data_batch_{i}").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "torchvision finds no CIFAR10 (train)" in refusal(tmp_path)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    assert "label 200, but 10 classes" in refusal(mnist(tmp_path, labels=np.array([5, 0, 4, 200, 9, 2])))


def test_the_real_mnist_is_read_as_torchvision_reads_it(test_data: Path) -> None:
    ours, theirs = open_dataset(test_data / "mnist"), torchvision.datasets.MNIST(str(test_data / "mnist"))
    assert (len(ours), ours.class_names) == (60_000, theirs.classes)
    assert ours.labels[:5].tolist() == [5, 0, 4, 1, 9]
    np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())
    for i in range(0, 60_000, 6007):
        np.testing.assert_array_equal(np.asarray(ours.load(i))[..., 0], theirs.data[i].numpy())
    assert len(open_dataset(f"torchvision:MNIST:{test_data / 'mnist'}:test")) == 10_000
