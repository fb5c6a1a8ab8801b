"""A big run is a run like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oga_core.benchmarks import big_run as module
from oga_core.benchmarks.big_run import big_run, digits
from oga_core.runs import Workspace


def test_it_can_be_opened_again_with_its_images_and_finds_the_wrong_labels(tmp_path: Path) -> None:
    made = big_run(Workspace(tmp_path), 2000, seed=1)
    run = Workspace(tmp_path).run(made.id)
    dataset = run.open_dataset()
    assert (len(run.table), len(dataset), dataset.kind, run.class_names) == (2000, 2000, "image", list("0123456789"))
    assert run.table["sample_id"].is_unique
    for row in (0, 1999):
        assert dataset.holds(int(run.table["index"].iloc[row]), run.table["sample_id"].iloc[row])
    assert dataset.thumbnail(0).size == (160, 160)
    assert run.summary.agreement is not None
    assert run.summary.agreement > 0.8
    recommendation = run.recommendation
    assert recommendation is not None
    assert 0.03 < recommendation.wrong.value < 0.12


def test_a_seed_gives_the_same_data_and_another_one_others(monkeypatch: pytest.MonkeyPatch) -> None:
    first, same, other = digits(300, 5), digits(300, 5), digits(300, 6)
    ids = [[d.sample_id(i) for i in range(300)] for d in (first, same, other)]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_about_as_many_labels_are_wrong_as_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    right = digits(3000, 0)
    monkeypatch.setattr(module, "WRONG", 0.0)
    without = digits(3000, 0)
    assert np.mean(right.labels != without.labels) == pytest.approx(0.05 * 0.9, abs=0.015)
