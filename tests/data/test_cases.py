"""Inputs that people have, made after public bug reports: each is read right (``shared/cases``, beside the real data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oga_core.data import Dataset, open_dataset
from oga_core.data.tables import FeatureTable
from oga_core.errors import InputError


def open_case(cases: Path, name: str, **options: str) -> Dataset:
    return open_dataset(cases / name, **options)


def count(dataset: Dataset) -> dict[str, int]:
    """Samples of each class; those without a label under the empty name."""
    names = [dataset.label_name(i) for i in range(len(dataset))]
    return {name: names.count(name) for name in sorted(set(names))}


def test_a_missing_number_is_no_class(cases: Path) -> None:
    found = count(open_case(cases, "03_nan_labels/arrow_nan.parquet"))
    assert (len(found), found[""]) == (3, 3)
    assert [float(name) for name in found if name] == [0, 1]


def test_names_like_those_of_missing_values_stay_names(cases: Path) -> None:
    assert {"nan", "None", "001"} <= set(open_case(cases, "13_special_class_names/train.csv").class_names)


def test_columns_at_the_end_that_hold_nothing_are_left_out(cases: Path) -> None:
    dataset = open_case(cases, "15_spam_csv_trailing_empty/spam.csv", inputs="v2", label="v1")
    assert (len(dataset), list(dataset.original(0))) == (60, ["v1", "v2"])


@pytest.mark.parametrize(
    ("name", "classes", "first"),
    [
        ("tsv_inner_quotes.tsv", ["neg", "pos"], '"Great"'),
        ("pipe.csv", ["0", "1"], "the garden"),
        ("space_after.csv", ["neg", "pos"], "the garden"),
    ],
)
def test_delimiters_and_quotes_are_read_as_they_are_meant(cases: Path, name: str, classes: list[str], first: str) -> None:
    dataset = open_case(cases, f"16_delimiters/{name}")
    assert (len(dataset), dataset.class_names) == (60, classes)
    assert str(dataset.load(0)).startswith(first)


def test_the_letters_of_windows_are_read_and_the_encoding_is_noted(cases: Path) -> None:
    dataset = open_case(cases, "17_encodings/cp1252.csv")
    assert str(dataset.load(0)).endswith("café – “quote” €5")
    assert any("cp1252" in note for note in dataset.notes)


def test_a_zip_of_windows_is_read(cases: Path) -> None:
    assert len(open_case(cases, "34_zip_backslash/data.zip")) == 12


def test_folders_of_network_drives_are_no_classes(cases: Path) -> None:
    assert open_case(cases, "38_side_files/d").class_names == ["cat", "dog"]


@pytest.mark.parametrize("name", ["keras_cifar.npz", "onehot.npz"])
def test_labels_in_the_layouts_of_keras_are_read(cases: Path, name: str) -> None:
    assert count(open_case(cases, f"41_npz_layouts/{name}")) == {"0": 20, "1": 20}


def test_features_in_json_lines_are_in_the_order_of_the_file(cases: Path) -> None:
    dataset = open_case(cases, "61_jsonl_column_order/features.jsonl")
    assert isinstance(dataset, FeatureTable)
    assert list(dataset.columns) == ["age", "pulse", "height", "weight", "dose", "label"]
    np.testing.assert_allclose(dataset.load(0), [2.0409, -2.5557, 0.4181, -0.5678, -0.4526], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("30_splits_plus_other_folder/chest_xray", ["splits (test, train, val)", "such as train"]),
        ("31_seg_train_seg_test/intel", ["splits (seg_test, seg_train)", "such as seg_train"]),
        ("35_formats/tif", ["10 files are .tif, which is not read"]),
        ("70_hf_datasets/csv_that_is_xlsx.csv", ["is an Excel workbook", "save the sheet as CSV"]),
    ],
)
def test_an_input_that_is_refused_says_what_it_is_and_what_to_do(cases: Path, name: str, said: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        open_case(cases, name)
    assert all(words in str(refused.value) for words in said)


def test_folders_in_the_folders_of_classes_are_no_classes(cases: Path) -> None:
    assert open_case(cases, "32_nested_classes/pets").class_names == ["cats", "dogs"]
    assert open_case(cases, "31_seg_train_seg_test/train_only").class_names == ["buildings", "forest"]
