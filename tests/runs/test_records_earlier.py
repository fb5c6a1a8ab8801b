"""Records of earlier releases are read as what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oga_core.errors import InputError
from oga_core.runs import (
    DataSource,
    Factory,
    InMemory,
    ModelSource,
    Run,
    RunSpec,
    RunSummary,
    Starter,
    Weights,
    recommend,
)
from oga_core.runs.records import Fingerprint, MappedClass
from oga_core.runs.stale import fingerprint, stale
from tests.runs.record_values import (
    FROM_PYTHON,
    LANGUAGE_MODEL,
    OLD,
    PREPARED,
    SUMMARY_0_5,
    again,
    enter,
    read_spec,
    run,
    summary_of,
)
from tests.summaries import make_summary

__all__ = ["run"]


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ({}, Starter(None, 5)),
        ({"epochs": 2, "folds": None}, Starter(2, None)),
        ({"weights": "/w.safetensors"}, Weights("/w.safetensors")),
        ({"weights": "/w.pt", "model": "resnet18"}, Weights("/w.pt", "resnet18")),
        ({"model": "own.module:make"}, Factory("own.module:make")),
    ],
)
def test_settings_of_earlier_releases_say_where_the_model_comes_from(named: dict[str, Any], model: ModelSource) -> None:
    assert read_spec(**named) == RunSpec(
        data=DataSource("/data/reviews.csv", None, "stars"),
        model=model,
        scope="head",
        head=None,
        detectors=("l1", "l2", "iforest"),
        seed=3,
        notes=("a note of the page",),
    )


def test_settings_of_earlier_releases_without_weights_are_those_of_a_model_given_from_python() -> None:
    spec = RunSpec.from_json(json.dumps(FROM_PYTHON), "settings")
    assert spec == RunSpec(DataSource("/data/digits.npz"), InMemory("Sequential"), "all", "fc", ("l1",), 0, ())
    before_the_data = {key: FROM_PYTHON[key] for key in ("scope", "head", "detectors", "seed")}
    assert RunSpec.from_json(json.dumps(before_the_data), "settings") == replace(spec, data=None, model=InMemory())


@pytest.mark.parametrize("release", OLD)
def test_a_summary_of_an_earlier_release_is_read_with_the_reason_that_is_in_its_notes(release: str) -> None:
    summary = RunSummary.from_json(json.dumps(summary_of(release)), "summary")
    assert summary == RunSummary(
        class_names=("cat", "dog"),
        kind="text",
        model="resnet18",
        model_source="weights w.safetensors",
        held_out_accuracy=None,
        agreement=0.75,
        scope="head",
        head="fc",
        mapping=(MappedClass("cat", 1, "a cat"), MappedClass("dog", 0, "a dog")),
        samples=12,
        scored=11,
        not_scored=1,
        seconds=1.5,
        seed=3,
        detectors=("l1", "loss"),
        notes=("a note of the page", "2 files were skipped", "no recommendation: there are too few samples"),
        sketch_form=None,
        no_recommendation="there are too few samples",
        weights=Fingerprint("ab" * 32, 10, 1_700_000_000_000_000_000),
    )


@pytest.mark.parametrize("release", OLD[1:])
def test_a_summary_of_a_language_model_of_an_earlier_release_is_read(release: str) -> None:
    summary = RunSummary.from_json(json.dumps({**summary_of(release), **LANGUAGE_MODEL}), "summary")
    assert (summary.kind, summary.agreement, summary.mapping, summary.sketch_form) == ("prompts", None, (), 2)


@pytest.mark.parametrize("release", OLD)
def test_a_run_in_a_workspace_of_an_earlier_release_opens(run: Run, release: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    were = vars(fingerprint(weights))
    enter(run, "settings", json.dumps({**PREPARED, "weights": str(weights)}))
    enter(run, "summary", json.dumps({**summary_of(release), "weights_were": were}))
    found = again(run)
    assert (found.class_names, [d.name for d in found.detectors], found.task.name) == (
        ["cat", "dog"],
        ["l1", "loss"],
        "classification",
    )
    with pytest.raises(InputError, match=r"has no recommendation: there are too few samples$"):
        recommend(found)
    assert stale(found) == ""
    weights.write_bytes(b"others")
    assert "scores are stale" in stale(found)


def test_only_in_records_without_a_version_a_note_is_the_reason_for_no_recommendation(run: Run) -> None:
    run.set_summary(make_summary(notes=("no recommendation: says a file name",)))
    assert run.summary.no_recommendation == ""
    old = {key: value for key, value in SUMMARY_0_5.items() if key != "notes"}
    assert RunSummary.from_json(json.dumps({**old, "notes": ["2 files"]}), "summary").no_recommendation == ""
