"""Records as releases have written them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from oga_core.runs import (
    DataSource,
    Run,
    RunSpec,
    Starter,
    Workspace,
    database,
)
from oga_core.runs.run import TABLE

PREPARED: dict[str, Any] = {
    "data": "/data/reviews.csv",
    "data_options": {"label": "stars"},
    "model": None,
    "weights": None,
    "scope": "head",
    "head": None,
    "detectors": ["l1", "l2", "iforest"],
    "seed": 3,
    "epochs": None,
    "folds": 5,
    "notes": ["a note of the page"],
}
"""Settings as `prepare` wrote them in 0.5, 0.6 and 0.7."""

FROM_PYTHON: dict[str, Any] = {
    "scope": "all",
    "head": "fc",
    "detectors": ["l1"],
    "seed": 0,
    "data": "/data/digits.npz",
    "data_options": {},
    "model": "Sequential",
}
"""Settings as `score` wrote them in 0.5, 0.6 and 0.7: the key ``weights`` is missing."""

SUMMARY_0_5: dict[str, Any] = {
    "class_names": ["cat", "dog"],
    "kind": "text",
    "model": "resnet18",
    "held_out_accuracy": None,
    "agreement": 0.75,
    "scope": "head",
    "head": "fc",
    "mapping": [["cat", 1, "a cat"], ["dog", 0, "a dog"]],
    "notes": ["a note of the page", "2 files were skipped", "no recommendation: there are too few samples"],
    "samples": 12,
    "scored": 11,
    "not_scored": 1,
    "seconds": 1.5,
    "seed": 3,
    "detectors": ["l1", "loss"],
    "model_source": "weights w.safetensors",
    "weights_were": {"sha256": "ab" * 32, "bytes": 10, "changed": 1_700_000_000_000_000_000},
}

LATER: dict[str, Any] = {"sketch_form": None}
"""What 0.6 and 0.7 wrote beside the keys of 0.5."""
LANGUAGE_MODEL: dict[str, Any] = {
    "kind": "prompts",
    "agreement": None,
    "mapping": [],
    "scope": "lora",
    "head": None,
    "sketch_form": 2,
}
"""What 0.6 and 0.7 wrote of a language model."""

OLD = ("0.5", "0.6", "0.7")


def summary_of(release: str) -> dict[str, Any]:
    return SUMMARY_0_5 if release == "0.5" else {**SUMMARY_0_5, **LATER}


def read_spec(**values: Any) -> RunSpec:
    return RunSpec.from_json(json.dumps({**PREPARED, **values}), "settings")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Workspace(tmp_path).new_run("one", RunSpec(DataSource("/data/reviews.csv"), Starter()))
    table = pd.DataFrame({"sample_id": ["a"], "label": ["cat"], "l1": [1.0]})
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    return made


def enter(run: Run, column: str, text: str) -> None:
    with database.writing(run.workspace.database) as connection:
        connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (text, run.id))


def again(run: Run) -> Run:
    return Workspace(run.workspace.path).run(run.id)
