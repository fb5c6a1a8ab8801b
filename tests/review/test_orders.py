"""First come the samples about which an answer tells most."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from oga_core.detectors import Interval, Recommendation
from oga_core.review import Selection, select_rows, standing_of
from oga_core.runs import Run, Workspace
from oga_core.runs.run import RECOMMENDATION, TABLE

WRONG = [0.9, 0.02, 0.5, 0.35, 0.65, 0.1]


def recommended(run: Run, detectors: list[str]) -> Run:
    table = run.table.assign(recommended=WRONG)
    found = Recommendation(detectors, False, Interval(0.1, 0.0, 0.2), 0.5, None, [], [], [])
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(found.to_dict())))
    run.set_summary(replace(run.summary, detectors=("recommended", "l1", "loss")))
    return Workspace(run.workspace.path).run(run.id)


def uncertain(run: Run, detector: str, **fields: object) -> list[int]:
    chosen = Selection(detector, order="uncertainty", **fields)  # type: ignore[arg-type]
    return select_rows(run, chosen, standing_of(run)).tolist()


@pytest.mark.parametrize("detector", ["recommended", "l1"])
def test_where_the_probability_of_a_wrong_label_is_known_those_nearest_to_a_half_come_first(run: Run, detector: str) -> None:
    found = recommended(run, ["oof:noise"])
    rows = uncertain(found, detector, flagged_only=False)
    assert rows[0] == 2
    assert np.abs(np.array(WRONG)[rows] - 0.5).tolist() == pytest.approx(sorted(np.abs(np.array(WRONG) - 0.5)))
    assert set(rows[1:3]) == {3, 4}


def test_equally_uncertain_ones_stay_in_the_order_of_suspicion(run: Run) -> None:
    table = run.table.assign(recommended=0.25)
    made = recommended(run, ["oof:noise"])
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    again = Workspace(run.workspace.path).run(run.id)
    assert uncertain(again, "l1", flagged_only=False) == [1, 3, 5, 4, 2, 0]


def test_where_it_is_not_those_nearest_to_the_end_of_the_flags_come_first(run: Run) -> None:
    for one in (run, recommended(run, ["oof:noise", "oof:l1"])):
        assert uncertain(one, "l1", budget=0.5, flagged_only=False) == [5, 4, 3, 2, 1, 0]
        assert uncertain(one, "l1", budget=0.5) == [5, 3, 1]
        assert uncertain(one, "loss", budget=1 / 6, flagged_only=False) == [0, 5, 4, 3, 2, 1]
        assert uncertain(one, "l1", budget=0.5, flagged_only=False, labels=("cat", "owl")) == [5, 3, 2, 0]
