"""Arrays in .npz files: which are taken, and files that declare what they don't hold."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from oga_core.data import Arrays, from_arrays, open_dataset
from oga_core.errors import InputError
from tests.data.opened import ids, refusal


def npz(path: Path, **values: Any) -> Path:
    np.savez(path, **values)
    return path


# .npz files


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float16, np.float32, np.float64, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8),
    ),
    st.booleans(),
)
def test_an_npz_holds_the_samples_of_its_arrays(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, packed: bool
) -> None:
    labels = np.arange(len(values)) % 2
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, features=values, y=labels, other=np.zeros(3))
    dataset = open_dataset(path)
    assert ids(dataset) == ids(from_arrays(values, labels))
    assert dataset.labels.tolist() == labels.tolist()


@settings(max_examples=40, deadline=None)
@given(hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=6))
def test_arrays_of_any_shape_are_images_or_refused(tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (2, *shape[1:]), dtype=np.uint8)
    path = npz(tmp_path_factory.mktemp("npz") / "a.npz", images=samples, labels=np.array(["a", "b"]))
    if len(shape) == 4 and shape[3] not in (1, 3, 4) and shape[1] not in (1, 3, 4):
        assert "1, 3 or 4 channels are needed" in refusal(path)
        return
    first = samples if len(shape) == 3 or shape[3] in (1, 3, 4) else np.moveaxis(samples, 1, -1)
    assert open_dataset(path).load(0).size == (first.shape[2], first.shape[1])


def test_class_names_come_along(tmp_path: Path) -> None:
    dataset = open_dataset(npz(tmp_path / "a.npz", x=np.zeros((3, 2)), y=[1, 0, -1], class_names=["dog", "cat", "cow"]))
    assert dataset.class_names == ["dog", "cat", "cow"]
    assert [dataset.label_name(i) for i in range(3)] == ["cat", "dog", ""]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("dog", "class_names have shape ()"),
        ([["dog", "cat"]], "class_names have shape (1, 2)"),
        (["dog"], "1 class(es)"),
        (["dog", "dog"], "duplicate class name 'dog'"),
        (["dog", "cat"], "label 2 is outside the 2 class names"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(tmp_path: Path, names: object, message: str) -> None:
    assert message in refusal(npz(tmp_path / "a.npz", x=np.zeros((3, 2)), y=[0, 1, 2], class_names=names))


def test_arrays_of_other_names_are_found_by_their_shape_or_asked_for(tmp_path: Path) -> None:
    assert len(open_dataset(npz(tmp_path / "a.npz", pixels=np.zeros((4, 3)), kind=[0, 1, 1, 0], scale=np.ones(2)))) == 4
    path = npz(tmp_path / "b.npz", p=np.zeros((4, 3)), q=np.ones((4, 3)), r=[0, 1, 1, 0], s=[1, 0, 0, 0])
    assert "cannot tell" in refusal(path)
    assert "p (4, 3), q (4, 3), r (4,), s (4,); name them (--inputs, --label)" in refusal(path, inputs="q")
    dataset = open_dataset(path, inputs="q", label="s")
    assert (dataset.load(0).tolist(), dataset.labels.tolist()) == ([1, 1, 1], [1, 0, 0, 0])
    assert "has no array 'z'; it has: p (4, 3)" in refusal(path, inputs="z")
    assert "samples have shape (4,)" in refusal(path, inputs="r", label="s")
    single = npz(tmp_path / "c.npz", n=np.array(3), y=[0, 1])
    assert "cannot tell" in refusal(single, inputs="n")
    assert "samples have shape ()" in refusal(single, inputs="n", label="y")


def test_an_array_of_objects_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.zeros((2, 2)), y=np.array(["a", None], object))
    assert "array 'y' holds Python objects (pickle)" in refusal(path)
    path = npz(tmp_path / "b.npz", x=np.zeros((2, 2)), y=[0, 1], extra=np.array([{"a": 1}], object))
    assert "array 'extra' holds Python objects (pickle)" in refusal(path)


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(header)) + header + data


def declared(descr: object, shape: object) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}}}"


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2, 2**62), (3, 2), (1,)])
def test_an_array_that_declares_other_bytes_than_it_stores_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = refusal(archive(tmp_path / "a.npz", x=npy(declared("<f4", shape), b"\0" * 16)))
    assert message == f"a.npz: array 'x' declares {np.prod([*map(int, shape)], dtype=object) * 4:,} bytes but stores 16"


def test_a_negative_shape_is_refused(tmp_path: Path) -> None:
    for shape in ((-1, -4), (-4, 1), (4, -1)):
        path = archive(tmp_path / "a.npz", x=npy(declared("<f4", shape), b"\0" * 16))
        assert refusal(path) == f"a.npz: array 'x' declares the shape {shape}"


def test_an_array_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000)), y=np.arange(1000) % 2)
    assert path.stat().st_size < 20_000
    assert len(open_dataset(path)) == 1000
    monkeypatch.setenv("OGA_LIMIT_ARRAYS_BYTES", "1M")
    assert "the limit arrays_bytes is 1,048,576 bytes" in refusal(path)


@pytest.mark.parametrize(("x", "y"), [(("<f4", (10**6, 0)), ("<U0", (10**6,))), (("<f4", (2, 0)), ("<i8", (2,)))])
def test_arrays_without_bytes_may_not_claim_a_length(tmp_path: Path, x: tuple[str, object], y: tuple[str, object]) -> None:
    data = b"\0" * 8 + b"\1" + b"\0" * 7 if y[0] == "<i8" else b""
    assert "is empty" in refusal(archive(tmp_path / "a.npz", x=npy(declared(*x)), y=npy(declared(*y), data)))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "'''",
        "(" * 3000,
        " " * 20_000,
        "\0\1",
        declared("garbage", (1, 2)),
        declared(",", (1, 2)),
        declared([("a",)], (1,)),
        declared("<f4", "no"),
        declared("<f4", (1.5, 2)),
        "{'descr': '<f4', 'shape': (1,)}",
        "[]",
        "None",
        "{1: 2}",
        b"\xff\xfe",
    ],
)
def test_headers_that_make_no_sense_are_refused(tmp_path: Path, header: str | bytes, version: tuple[int, int]) -> None:
    assert "not a readable .npz file" in refusal(archive(tmp_path / "a.npz", x=npy(header, version=version)))


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.zeros((200, 20)), y=np.arange(200) % 2)
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(data)
        assert "a.npz is not a readable .npz file" in refusal(path)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 2)))
    path.write_bytes(buffer.getvalue())
    assert "a.npz is not a readable .npz file" in refusal(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    assert "a.npz is not a readable .npz file" in refusal(path)


def test_an_npz_with_a_password_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.zeros((2, 2)), y=[0, 1])
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_npz_is_refused_or_gives_what_was_stored(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    values = np.random.default_rng(0).random((40, 5))
    np.savez_compressed(path, x=values, y=np.arange(40) % 2)
    data = bytearray(path.read_bytes())
    for at, value in damage:
        data[at % len(data)] = value
    path.write_bytes(data)
    message = ""
    try:
        dataset = open_dataset(path)
    except InputError as error:
        message = str(error)
    else:
        assert isinstance(dataset, Arrays)
        np.testing.assert_array_equal(dataset.samples, values)
    assert "\n" not in message


# Real data


def test_the_real_crowd_labels_are_read_as_numpy_reads_them(test_data: Path) -> None:
    path = test_data / "labelme_crowd" / "labelme_vgg.npz"
    stored = np.load(path)
    message = refusal(path)
    assert "cannot tell which arrays are the samples and the labels" in message
    assert "X_train (1000, 512)" in message
    dataset = open_dataset(path, inputs="X_train", label="y_train_majority")
    assert (dataset.kind, len(dataset), dataset.class_names) == ("features", 1000, [str(i) for i in range(8)])
    np.testing.assert_array_equal(dataset.labels, stored["y_train_majority"])
    np.testing.assert_array_equal(np.stack([dataset.load(i) for i in range(1000)]), stored["X_train"])
