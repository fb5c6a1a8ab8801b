"""One function for every source: what it recognises, what it refuses, and that another process finds the same samples."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oga_core.data import Dataset, SampleError, from_arrays, from_texts, open_dataset
from oga_core.errors import InputError

ROWS = [("good film", "1"), ("bad film", "0"), ("no film", "0")]


def refusal(source: str | Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.sample_id(i) for i in range(len(dataset))]


def csv_file(path: Path) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *ROWS])
    return path


def image_folder(path: Path) -> Path:
    for i, (name, colour) in enumerate((("cat", "red"), ("dog", "blue"), ("dog", "green"))):
        (path / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), colour).save(path / name / f"{i}.png")
    return path


def npz_file(path: Path) -> Path:
    np.savez(path, x=np.arange(6.0).reshape(3, 2), y=[0, 1, 1])
    return path


def test_each_source_goes_to_its_reader(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images")
    sources: list[str | Path] = [csv_file(tmp_path / "a.csv"), str(folder), npz_file(tmp_path / "a.npz")]
    assert [open_dataset(s).kind for s in sources] == ["text", "image", "features"]
    assert [len(open_dataset(s)) for s in sources] == [3, 3, 3]


def test_an_ending_in_capitals_is_the_same_ending(tmp_path: Path) -> None:
    assert len(open_dataset(csv_file(tmp_path / "A.CSV"))) == 3


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert "none.csv" in refusal(tmp_path / "none.csv")
    assert ": File name too long" in refusal("x" * 5000)
    assert "not found: " in refusal("a\0b")
    assert "not found: " in refusal("two\nlines")
    assert "not found: ~nosuchuser/x" in refusal("~nosuchuser/x")


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    message = refusal(tmp_path / "a.xlsx")
    assert all(word in message for word in ("a.xlsx", ".zip", ".csv", ".csv.gz", ".jsonl", ".parquet", ".npz", "torchvision:"))
    assert ".parquet.gz" not in message


def test_columns_cannot_be_named_where_there_are_none(tmp_path: Path) -> None:
    assert "inputs and label can only be named" in refusal(image_folder(tmp_path / "i"), inputs="a", label="b")
    assert "label can only be named" in refusal("torchvision:MNIST:nowhere", label="b")


def test_another_process_in_another_folder_reads_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_file(tmp_path / "a.csv")
    npz_file(tmp_path / "a.npz")
    image_folder(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    datasets = [open_dataset("a.csv", label="label"), open_dataset("a.npz", inputs="x"), open_dataset("images")]
    code = (
        "import json, sys; from oga_core.data import open_dataset; opened = [open_dataset(spec, **options) for spec, options "
        "in json.loads(sys.argv[1])]; print(json.dumps([[d.sample_id(i) for i in range(len(d))] for d in opened]))"
    )
    origins = json.dumps([d.origin for d in datasets])
    done = subprocess.run([sys.executable, "-c", code, origins], cwd="/", capture_output=True, check=True, text=True)
    assert json.loads(done.stdout) == [ids(d) for d in datasets]


def test_texts_in_memory_are_samples_in_their_order() -> None:
    dataset = from_texts([t for t, _ in ROWS], [int(label) for _, label in ROWS])
    assert [dataset.load(i) for i in range(3)] == [t for t, _ in ROWS]
    assert dataset.class_names == ["0", "1"]
    assert dataset.labels.tolist() == [1, 0, 0]
    assert list(dataset.sources) == ["row 0", "row 1", "row 2"]
    assert dataset.original(0) == {"text": "good film", "label": "1"}
    assert dataset.origin is None


def test_texts_without_a_label_are_kept_and_have_none() -> None:
    dataset = from_texts(["a", "b", "c", "d", "e"], ["x", None, "", float("nan"), "y"])
    assert dataset.class_names == ["x", "y"]
    assert dataset.labels.tolist() == [0, -1, -1, -1, 1]
    assert dataset.label_name(1) == ""
    assert dataset.text(1) == dataset.load(1) == "b"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_a_sample_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SampleError, match="the text is empty"):
        from_texts([text, "b"], ["x", "y"]).load(0)


def test_texts_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="2 texts but 1 labels"):
        from_texts(["a", "b"], ["x"])
    with pytest.raises(InputError, match=r"1 class \('x'\)"):
        from_texts(["a", "b"], ["x", "x"])
    with pytest.raises(InputError, match="no rows"):
        from_texts([], [])


def test_data_in_memory_are_saved_and_opened_again_as_the_same_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["=1+1", " space ", "two\r\nlines", "NA", "nul\0", "日本"]
    made = {
        "text": from_texts(texts, ["a", "b", "NA", "007", None, "a"]),
        "features": from_arrays(rng.normal(size=(4, 3)).astype(np.float16), [3, -1, 7, 3]),
        "grey": from_arrays(rng.integers(0, 256, (3, 5, 6), dtype=np.uint8), ["b", "a", ""], ["b", "a", "unused"]),
        "colour": from_arrays(rng.random((2, 3, 8, 8), dtype=np.float32), [1, 0]),
    }
    for name, dataset in made.items():
        (tmp_path / name).mkdir()
        source, options = dataset.save(tmp_path / name)
        again = open_dataset(source, **options)
        assert ids(again) == ids(dataset)
        assert again.class_names == dataset.class_names
        assert again.labels.tolist() == dataset.labels.tolist()
        assert again.kind == dataset.kind
        assert [again.original(i) for i in range(len(again))] == [dataset.original(i) for i in range(len(dataset))]


def test_data_that_cannot_be_saved_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lives in this process only"):
        open_dataset(image_folder(tmp_path / "i")).save(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        from_texts(["\ud800", "b"], ["x", "y"]).save(tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_the_same_content_under_two_labels_is_two_samples_and_under_one_label_is_one() -> None:
    first, second, third = ids(from_texts(["a", "a", "a"], ["x", "y", "x"]))
    assert first == third
    assert first != second
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")


def test_an_id_is_the_hash_of_content_and_label_name() -> None:
    """The digest is written out: decisions stored today must be found by any later version."""
    dataset = from_texts(["good film", "bad"], ["pos", "neg"])
    assert dataset.content(0) == b"good film"
    assert dataset.sample_id(0) == "4ee4a24eb708b565935d767d1821319e"
