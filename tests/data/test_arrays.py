"""Arrays in memory and in .npz files: shapes, types, labels, and files that declare what they don't hold."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from oga_core.data import Arrays, Dataset, SampleError, from_arrays, open_dataset
from oga_core.errors import InputError


def npz(path: Path, **values: Any) -> Path:
    np.savez(path, **values)
    return path


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.sample_id(i) for i in range(len(dataset))]


# Labels


def test_integers_are_classes_in_order_of_value() -> None:
    dataset = from_arrays(np.zeros((5, 2)), [10, 9, -1, 10, 700])
    assert dataset.class_names == ["9", "10", "700"]
    assert dataset.labels.tolist() == [1, 0, -1, 1, 2]
    assert [dataset.label_name(i) for i in range(5)] == ["10", "9", "", "10", "700"]
    assert dataset.labels.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
def test_integers_are_positions_in_the_class_names(dtype: type) -> None:
    dataset = from_arrays(np.zeros((3, 2)), np.array([2, 0, 2], dtype), ["c", "a", "b"])
    assert dataset.class_names == ["c", "a", "b"]
    assert dataset.labels.tolist() == [2, 0, 2]
    assert dataset.label_name(0) == "b"


def test_texts_are_names_and_missing_ones_have_no_label() -> None:
    dataset = from_arrays(np.zeros((6, 2)), ["b", None, "a", float("nan"), "", "NA"])
    assert dataset.class_names == ["NA", "a", "b"]
    assert dataset.labels.tolist() == [2, -1, 1, -1, -1, 0]
    named = from_arrays(np.zeros((2, 2)), np.array(["x", "z"]), ["z", "y", "x"])
    assert (named.class_names, named.labels.tolist()) == (["z", "y", "x"], [2, 0])


def test_every_negative_number_is_a_missing_label() -> None:
    for names in (None, ["5", "6", "7", "8", "9", "10"]):
        dataset = from_arrays(np.zeros((4, 2)), [0, -7, 5, -1], names)
        assert [dataset.labels[i] for i in (1, 3)] == [-1, -1]
        assert dataset.label_name(1) == ""


def test_numbers_as_texts_have_the_order_of_their_value() -> None:
    assert from_arrays(np.zeros((3, 2)), ["10", "9", None]).class_names == ["9", "10"]


def test_names_of_classes_are_text_whatever_they_were() -> None:
    dataset = from_arrays(np.zeros((2, 2)), [0, 1], [7, 8])  # type: ignore[list-item]
    assert dataset.class_names == ["7", "8"]
    assert len(set(ids(dataset))) == 2


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 3], ["a", "b", "c"], "label 3 is outside the 3 class names"),
        ([0, 0, 0], None, r"the labels have 1 class\(es\)"),
        ([-1, -1, -1], None, r"the labels have 0 class\(es\)"),
        (["a", "a", ""], None, r"the labels have 1 class\(es\)"),
        ([0, 0, 0], ["a"], r"the labels have 1 class\(es\)"),
        ([0, 1, 1], ["a", "b", "a"], "the class name 'a' is there twice"),
        (["a", "b", "d"], ["a", "b", "c"], "label 'd' is not among the class names"),
        ([0.0, 1.0, np.nan], None, "labels are of type float64; whole numbers or texts are needed"),
        (np.array([b"a", b"b", b"a"]), None, "labels are of type .S1"),
        ([[0], [1], [0]], None, r"labels have shape \(3, 1\)"),
        (1, None, r"labels have shape \(\)"),
        ([0, 1], None, r"samples have shape \(3, 2\), labels \(2,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: object, names: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(np.zeros((3, 2)), labels, names)


# Features


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, bool])
def test_rows_of_numbers_are_features(dtype: npt.DTypeLike) -> None:
    values = np.array([[1, 0, 1], [0, 1, 0]], dtype)
    dataset = from_arrays(values, [0, 1])
    assert dataset.kind == "features"
    assert dataset.load(0).dtype == np.float32
    np.testing.assert_array_equal(np.stack([dataset.load(0), dataset.load(1)]), values.astype(np.float32))
    assert dataset.original(1) == {"source": "row 1", "label": "1"}
    with pytest.raises(TypeError, match="features sample has no thumbnail"):
        dataset.thumbnail(0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.filterwarnings("error")
def test_a_feature_that_is_not_finite_is_one_sample_not_read(bad: float) -> None:
    dataset = from_arrays([[1.0, bad], [1.0, 2.0]], [0, 1])
    with pytest.raises(SampleError, match="not a finite number"):
        dataset.load(0)
    assert dataset.load(1).tolist() == [1, 2]


def test_features_in_words_are_cut_short() -> None:
    dataset = from_arrays(np.arange(80.0).reshape(2, 40) / 3, [0, 1])
    assert dataset.text(0).startswith("[0, 0.3333, 0.6667, 1,")
    assert dataset.text(0).endswith("10.33, …]")
    assert from_arrays([[1.5, 2.0], [0.0, 0.0]], [0, 1]).text(0) == "[1.5, 2]"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(()),
        np.zeros(2),
        np.zeros((2, 0)),
        np.zeros((0, 2)),
        np.zeros((2, 0, 5)),
        np.zeros((2, 3, 4, 5, 6)),
        np.zeros((2, 5, 5, 7), np.uint8),
        np.zeros((2, 3), complex),
        np.array([["a"], ["b"]]),
        np.array([[None], [1]]),
    ],
)
def test_samples_of_no_known_shape_or_type_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"samples (have shape|are of type)|images have shape") as caught:
        from_arrays(samples, np.arange(len(samples)) if samples.ndim else [0, 1])
    assert "\n" not in str(caught.value)


# Images

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)


def loaded(samples: np.ndarray) -> np.ndarray:
    dataset = from_arrays(samples, [0, 1])
    assert dataset.kind == "image"
    return np.stack([np.asarray(dataset.load(i)) for i in range(2)])


@pytest.mark.parametrize(
    "samples",
    [
        PIXELS,
        np.moveaxis(PIXELS, -1, 1),
        PIXELS.astype(np.int64),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        (PIXELS - 0.4).clip(0) / 255,
        (PIXELS - 0.4).clip(0),
        np.asfortranarray(PIXELS),
    ],
    ids=["uint8", "channels first", "int64", "0…1", "float32 0…1", "rounded 0…1", "rounded 0…255", "other memory order"],
)
def test_colour_images_are_read_in_every_usual_form(samples: np.ndarray) -> None:
    np.testing.assert_array_equal(loaded(samples), PIXELS)


@pytest.mark.parametrize("axis", [None, 1, -1])
def test_grey_images_are_read_with_and_without_an_axis_for_the_channel(axis: int | None) -> None:
    grey = PIXELS[..., 0]
    samples = grey if axis is None else np.expand_dims(grey, axis)
    np.testing.assert_array_equal(loaded(samples), grey[..., None].repeat(3, -1))
    assert loaded(grey > 127).tolist() == (np.where(grey > 127, 255, 0)[..., None].repeat(3, -1)).tolist()


def test_transparency_lies_on_white() -> None:
    samples = np.zeros((2, 1, 3, 4), np.uint8)
    samples[0, 0, 0] = 255, 0, 0, 255
    samples[0, 0, 1] = 0, 0, 255, 128
    assert loaded(samples).tolist()[0] == [[[255, 0, 0], [127, 127, 255], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(0, 4000, np.uint16), (-1, 1, np.float32), (-50, 300, np.int32), (0, 9e4, np.float64)]
)
def test_other_ranges_are_scaled_and_this_is_said(low: float, high: float, dtype: npt.DTypeLike) -> None:
    samples = np.linspace(low, high, 40).astype(dtype).reshape(2, 4, 5)
    dataset = from_arrays(samples, [0, 1])
    assert dataset.notes == [f"pixel values from {low:g} to {high:g} were scaled to 0…255"]
    assert dataset.load(0).getpixel((0, 0)) == (0, 0, 0)
    assert dataset.load(1).getpixel((4, 3)) == (255, 255, 255)
    expected = ((samples.astype(float) - low) / (high - low) * 255).round()
    np.testing.assert_allclose(np.stack([np.asarray(dataset.load(i))[..., 0] for i in (0, 1)]), expected, atol=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(bad: float) -> None:
    samples = np.zeros((2, 4, 4))
    samples[1, 2, 2] = bad
    with pytest.raises(InputError, match="not finite"):
        from_arrays(samples, [0, 1])


def test_showing_a_thumbnail_changes_no_pixel() -> None:
    samples = np.random.default_rng(0).integers(0, 256, (2, 300, 200, 3), dtype=np.uint8)
    dataset = from_arrays(samples.copy(), [0, 1])
    before = ids(dataset)
    assert dataset.thumbnail(0).size == (107, 160)
    assert ids(dataset) == before
    np.testing.assert_array_equal(np.asarray(dataset.load(0)), samples[0])


# Identity


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int32, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
    ),
    st.data(),
)
def test_ids_do_not_depend_on_order(values: np.ndarray, data: st.DataObject) -> None:
    labels = [data.draw(st.sampled_from(["a", "b"])) for _ in values[2:]] + ["a", "b"]
    order = data.draw(st.permutations(range(len(values))))
    before, after = ids(from_arrays(values, labels)), ids(from_arrays(values[order], [labels[i] for i in order]))
    assert after == [before[i] for i in order]
    contents = {(values[i].tobytes(), labels[i]) for i in range(len(values))}
    assert len(set(before)) == len(contents)


def test_ids_tell_shapes_types_and_label_names_apart() -> None:
    base = np.zeros((2, 4, 6), np.uint8)
    made = [
        from_arrays(base, ["a", "b"]),
        from_arrays(base.reshape(2, 6, 4), ["a", "b"]),
        from_arrays(base.reshape(2, 24), ["a", "b"]),
        from_arrays(base.reshape(2, 24).view(np.int8), ["a", "b"]),
        from_arrays(base, ["c", "d"]),
    ]
    assert len({i for dataset in made for i in ids(dataset)}) == 10
    assert ids(from_arrays(base, [1, 0], ["b", "a"])) == ids(made[0])


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
        (["dog", "dog"], "'dog' is there twice"),
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
