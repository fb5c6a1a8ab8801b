"""The tasks of the text experiment: which samples are trained on, validated with and tested on."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from oga_core.experiments.text import TASKS, _find_tasks


def test_tasks_are_split_as_their_files_are(test_data: Path) -> None:
    tasks, _ = _find_tasks(test_data)
    assert set(tasks) == set(TASKS) - {"qqp"}
    most = {"train": 1 << 62, "validation": 500, "test": 1 << 62}
    sizes = {}
    for name, task in tasks.items():
        train, wrong, validation, test = task.split(0, most)
        sizes[name] = len(train), len(validation), len(test)
        share = {"newsclass_yoruba": 446 / 1340, "newsclass_hausa": 1030 / 2045}.get(name, 0.2)
        assert wrong.mean() == pytest.approx(share, abs=1e-3)
        texts = [{part.load(i) for i in range(len(part))} for part in (train, validation, test)]
        assert len(texts[0] & texts[2]) < 0.02 * len(texts[2])  # a few are in the data twice
        assert train.class_names == validation.class_names == test.class_names
    assert sizes == {
        "sst2": (4500, 500, 1821),
        "mrpc": (3668, 408, 1725),
        "qnli": (4500, 321, 642),
        "newsclass_yoruba": (1340, 189, 379),
        "newsclass_hausa": (2045, 290, 582),
    }


def test_a_test_file_without_labels_is_not_tested_on(tmp_path: Path) -> None:
    """As GLUE's own: the development file is tested on, and validation samples are kept back from training."""
    folder = tmp_path / "mrpc"
    folder.mkdir()
    lines = [f"a text of number {i} and words,{i % 2}" for i in range(400)]
    with gzip.open(folder / "train.csv.gz", "wt") as handle:
        handle.write("\n".join(["text,label", *lines]))
    (folder / "dev.csv").write_text("\n".join(["text,label", *(line.replace("text", "dev text") for line in lines[:100])]))
    (folder / "test.csv").write_text("\n".join(["text,label", *(f"hidden {i}," for i in range(50)), "x,0", "y,1"]))
    most = {"train": 1 << 62, "validation": 500, "test": 1 << 62}
    train, wrong, validation, test = _find_tasks(tmp_path)[0]["mrpc"].split(0, most)
    assert (len(train), len(validation)) == (400, 100)
    assert len(test) == 2
    (folder / "test.csv").unlink()
    train, wrong, validation, test = _find_tasks(tmp_path)[0]["mrpc"].split(
        0, {"train": 1 << 62, "validation": 500, "test": 1 << 62}
    )
    assert (len(train), len(validation), len(test)) == (360, 40, 100)
    assert all("dev" in test.load(i) for i in range(100))
    assert wrong.sum() == 72
