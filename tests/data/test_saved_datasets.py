"""Folders of the library datasets: what ``save_to_disk`` has written is read as that library reads it, and without it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from oga_core import InputError, open_dataset
from oga_core.data import Dataset

TEXTS, LABELS = ["good film", "", "NA", "bad one", "so-so"], [1, 0, 1, 0, -1]
CLASSES = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}


def written(folder: Path, *, files: int = 1, texts: list[str] = TEXTS, labels: list[Any] = LABELS, **info: Any) -> Path:
    """A folder as ``save_to_disk`` writes it, without the library."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    size = -(-len(texts) // files)
    for i, name in enumerate(names):
        table = pa.table({"text": texts[i * size : (i + 1) * size], "label": labels[i * size : (i + 1) * size]})
        with pa.OSFile(str(folder / name), "wb") as handle, pa.ipc.new_stream(handle, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], "_split": None}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": CLASSES, **info}))
    return folder


def zipped(folder: Path, at: Path, within: str = "") -> Path:
    with zipfile.ZipFile(at, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, within + path.relative_to(folder).as_posix())
    return at


def refusal(source: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(source, **options)
    return str(caught.value)


def rows(dataset: Dataset) -> list[tuple[str, str]]:
    return [(dataset.text(i), dataset.label_name(i)) for i in range(len(dataset))]


EXPECTED = list(zip(TEXTS, ["pos", "neg", "pos", "neg", ""], strict=True))


@pytest.mark.parametrize("files", [1, 3])
def test_texts_and_the_names_of_their_classes_come_from_arrow_files_in_their_order(tmp_path: Path, files: int) -> None:
    dataset = open_dataset(written(tmp_path / "d", files=files))
    assert (dataset.kind, dataset.class_names, rows(dataset)) == ("text", ["neg", "pos"], EXPECTED)


@pytest.mark.parametrize("within", ["", "d/", "some/d/"])
def test_a_zip_of_it_is_the_same_wherever_the_folder_lies_in_it(tmp_path: Path, within: str) -> None:
    folder = written(tmp_path / "d")
    dataset = open_dataset(zipped(folder, tmp_path / "d.zip", within))
    assert rows(dataset) == EXPECTED
    assert [dataset.sample_id(i) for i in range(5)] == [open_dataset(folder).sample_id(i) for i in range(5)]


def test_what_the_library_itself_has_written_is_read_as_it_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed (pip install 'oga-core[hf]')")
    code = """
import datasets, sys
data = datasets.Dataset.from_dict({"sentence": [f"text {i}" for i in range(50)], "tokens": [[i] for i in range(50)],
                                   "label": [i % 3 for i in range(50)]})
data = data.cast_column("label", datasets.ClassLabel(names=["zero", "one", "two"]))
data.shuffle(seed=0).filter(lambda row: row["label"] != 1).save_to_disk(sys.argv[1] + "/one", num_shards=2)
datasets.DatasetDict({"train": data, "test": data.select(range(9))}).save_to_disk(sys.argv[1] + "/splits")
read = datasets.load_from_disk(sys.argv[1] + "/one")
import json
print(json.dumps([[row["sentence"], read.features["label"].int2str(row["label"])] for row in read]))
"""
    # In a process of its own: it starts threads, and this one must not need it.
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    dataset = open_dataset(tmp_path / "one")
    assert [list(row) for row in rows(dataset)] == json.loads(found.stdout)
    assert dataset.class_names == ["two", "zero"]
    assert "columns of lists, records or bytes were left out: tokens" in dataset.notes
    splits = open_dataset(tmp_path / "splits")
    assert (len(splits), splits.class_names) == (50, ["one", "two", "zero"])
    assert "the split train was taken; there are also: test" in splits.notes


def test_reading_needs_no_datasets_library(tmp_path: Path) -> None:
    written(tmp_path / "d")
    code = f"import sys, oga_core; oga_core.open_dataset({str(tmp_path / 'd')!r}); print('datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_columns_are_chosen_as_in_tables(tmp_path: Path) -> None:
    folder = written(tmp_path / "d")
    assert "has no column 'x'; it has: 'text', 'label'" in refusal(folder, label="x")
    assert open_dataset(folder, inputs="text", label="label").label_column == "label"


def test_several_splits_without_train_are_named_and_one_is_asked_for(tmp_path: Path) -> None:
    for split in ("a", "b"):
        written(tmp_path / "d" / split)
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["a", "b"]}')
    assert "d has several splits (a, b) and no train; give the folder of one of them" in refusal(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d" / "a")) == 5


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "gone.arrow", 3, "a/b"])
def test_a_state_that_names_no_file_beside_it_is_refused(tmp_path: Path, name: object) -> None:
    folder = written(tmp_path / "d")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert f"d/state.json names {name!r}, which is no file beside it" in refusal(folder)


def test_a_script_is_refused_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "d")
    arrow = folder / "data-00000-of-00001.arrow"
    arrow.write_bytes(arrow.read_bytes()[:300])
    assert "d/data-00000-of-00001.arrow is no readable Arrow file" in refusal(folder)
    (folder / "d.py").write_text("raise SystemExit")
    assert "d is a datasets folder with a script (d.py), which is not run" in refusal(folder)


def test_rows_and_their_order_apart_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "d")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{"filename": "i.arrow"}]}))
    assert "rows and their order apart; save it again" in refusal(folder)


def test_a_label_that_is_no_class_is_refused_by_row(tmp_path: Path) -> None:
    folder = written(tmp_path / "d", labels=[0, 1, 2, 1, 0])
    assert "d, row 2: the label 2 is none of the 2 classes of dataset_info.json" in refusal(folder)


@pytest.mark.parametrize(("limit", "value"), [("CELLS", "9"), ("TABLE_BYTES", "40")])
def test_more_than_a_table_may_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: str) -> None:
    folder = written(tmp_path / "d")
    monkeypatch.setenv(f"OGA_LIMIT_{limit}", value)
    assert f"the limit {limit.lower()} is {value}" in refusal(folder)


def test_a_compressed_buffer_that_unpacks_to_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "d")
    table = pa.table({"text": ["a" * 1_000_000] * 4, "label": [0, 1, 0, 1]})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    path = folder / "data-00000-of-00001.arrow"
    with pa.OSFile(str(path), "wb") as handle, pa.ipc.new_stream(handle, table.schema, options=options) as writer:
        writer.write_table(table)
    assert path.stat().st_size < 10_000
    monkeypatch.setenv("OGA_LIMIT_TABLE_BYTES", "1000000")
    assert "d unpacks to 4,000,0" in refusal(folder)
