"""Arrays in memory: shapes, types, labels and ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from oga_core.data import SampleError, from_arrays
from oga_core.errors import InputError
from tests.data.opened import ids

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
        ([0, 1, 1], ["a", "b", "a"], "duplicate class name 'a'"),
        (["a", "b", "d"], ["a", "b", "c"], "label 'd' is not among the class names"),
        ([0.0, 1.5, np.nan], None, "labels are of type float64 and not whole; whole numbers or texts are needed"),
        ([0.0, np.inf, 1.0], None, "labels are of type float64 and not whole"),
        (np.array([b"a", b"\xff", b"a"]), None, "labels are bytes that are not UTF-8"),
        ([[0, 1, 1], [1, 0, 0], [0, 1, 0]], None, r"shape \(3, 3\), with more than one class for 1 samples \(multi-label\)"),
        ([[0.2, 0.8], [1, 0], [0, 1]], None, r"labels have shape \(3, 2\); one label a sample is needed"),
        ([[["a"]], [["b"]], [["a"]]], None, r"labels have shape \(3, 1, 1\)"),
        (1, None, r"labels have shape \(\)"),
        ([0, 1], None, r"samples have shape \(3, 2\), labels \(2,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: object, names: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(np.zeros((3, 2)), labels, names)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, -1, 1],
        np.array([[0], [1], [-1], [1]]),
        [0.0, 1.0, np.nan, 1.0],
        np.array([[0], [1], [np.nan], [1]], np.float32),
        [[1, 0], [0, 1], [0, 0], [0, 1]],
        np.array([[1, 0], [0, 1], [0, 0], [0, 1]], bool),
        np.array([[1, 0], [0, 1], [0, 0], [0, 1]], np.float32),
    ],
)
def test_labels_as_libraries_keep_them_are_the_same_classes(labels: object) -> None:
    dataset = from_arrays(np.zeros((4, 2)), labels)
    assert (dataset.class_names, dataset.labels.tolist()) == (["0", "1"], [0, 1, -1, 1])
    named = from_arrays(np.zeros((4, 2)), labels, ["cat", "dog"])
    assert (named.class_names, named.labels.tolist()) == (["cat", "dog"], [0, 1, -1, 1])


def test_labels_in_bytes_are_texts() -> None:
    dataset = from_arrays(np.zeros((3, 2)), np.array(["ä".encode(), b"b", b""]))
    assert (dataset.class_names, dataset.labels.tolist()) == (["b", "ä"], [1, 0, -1])


def test_one_hot_labels_are_noted() -> None:
    assert from_arrays(np.zeros((2, 2)), np.eye(2)).notes == ["one-hot labels were read as the classes 0 to 1"]


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
