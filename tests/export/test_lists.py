"""What a list holds: what a person confirmed, and a detector's suspicions only where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

import oga_core as oga
from oga_core.errors import InputError
from oga_core.export import rows
from oga_core.review import decide, undo
from oga_core.runs import Run
from tests.export.awkward_table import COLUMNS, ROWS, TWINS, UNREADABLE, scored, write

LIST = [
    "sample_id",
    "index",
    "source",
    "label",
    "new_label",
    "decision",
    "status",
    "reviewer",
    "time",
    "suggested_label",
    "l1",
    "l2",
    "random",
    "loss",
    "low_confidence",
]


def say(run: Run, indices: Sequence[int], action: str, new_label: str = "") -> None:
    decide(run, run.table[run.table["index"].isin(indices)], action, reviewer="ann", new_label=new_label)


def flagged(run: Run, count: int) -> list[int]:
    return [int(i) for i in run.flag("l1", count)["index"]]


def indices(frame: pd.DataFrame) -> list[int]:
    return [int(i) for i in frame["index"]]


def test_removed_are_the_confirmed_ones_in_the_order_of_the_data(run: Run) -> None:
    say(run, [10], "remove")
    say(run, [1, 3], "remove")
    say(run, [0], "keep")
    say(run, [2], "unsure")
    say(run, [11], "relabel", "owl")
    found = rows(run, "removed")
    assert indices(found) == [1, 3, 10]
    assert list(found.columns) == LIST
    assert set(found["status"]) == {"confirmed"}
    assert set(found["reviewer"]) == {"ann"}
    assert found["label"].tolist() == ["dog", "cat", "owl"]
    assert found["source"].tolist() == ["row 1", "row 3", "row 10"]


def test_what_was_taken_back_is_not_exported(run: Run) -> None:
    say(run, [1, 3], "remove")
    undo(run, reviewer="ann")
    assert len(rows(run, "removed")) == 0
    assert len(rows(run, "cleaned")) == len(ROWS)


def test_flagged_samples_are_removed_too_where_that_is_asked_for_and_marked(run: Run) -> None:
    first, second, third = flagged(run, 3)
    unflagged = next(i for i in indices(run.table) if i not in (first, second, third))
    say(run, [first], "keep")
    say(run, [second, unflagged], "remove")
    assert indices(rows(run, "removed")) == sorted([second, unflagged])
    found = rows(run, "removed", detector="l1", budget=3)
    status = dict(zip(indices(found), found["status"]))
    assert status == {second: "confirmed", unflagged: "confirmed", third: "flagged"}
    assert found.set_index("index").at[third, "reviewer"] == ""
    kept = rows(run, "cleaned", detector="l1", budget=3)
    assert len(kept) == len(ROWS) - 3


def test_flags_are_all_that_a_detector_suspects_with_what_was_said_of_them(run: Run) -> None:
    first, second, third = flagged(run, 3)
    say(run, [first], "keep")
    say(run, [second], "remove")
    found = rows(run, "flags", detector="l1", budget=3).set_index("index")
    assert sorted(found.index) == sorted([first, second, third])
    assert found.loc[[first, second, third], "status"].tolist() == ["confirmed", "confirmed", "flagged"]
    assert found.loc[[first, second, third], "decision"].tolist() == ["keep", "remove", ""]


def test_relabelled_come_with_their_new_label_and_no_flag_adds_to_them(run: Run) -> None:
    say(run, [1, 11], "relabel", "owl")
    for found in (rows(run, "relabelled"), rows(run, "relabelled", detector="l1", budget=5)):
        assert indices(found) == [1, 11]
        assert found["label"].tolist() == ["dog", "dog"]
        assert found["new_label"].tolist() == ["owl", "owl"]
        assert set(found["status"]) == {"confirmed"}


def test_the_cleaned_table_has_every_column_and_every_sample_that_was_not_removed(run: Run) -> None:
    say(run, [1], "relabel", "=cat")
    say(run, [3, 10], "remove")
    say(run, [0], "keep")
    say(run, [2], "unsure")
    found = rows(run, "cleaned")
    expected = [list(row) for i, row in enumerate(ROWS) if i not in (3, 10)]
    expected[1][2] = "=cat"
    assert list(found.columns) == [*COLUMNS, "oga_status"]
    assert found[COLUMNS].to_numpy().tolist() == expected
    status = dict(zip([i for i in range(len(ROWS)) if i not in (3, 10)], found["oga_status"]))
    assert [status.pop(i) for i in (0, 1, 2)] == ["keep", "relabel", "unsure"]
    assert [status.pop(i) for i in UNREADABLE] == ["not scored"] * 2
    assert set(status.values()) == {"not reviewed"}


def test_the_same_content_twice_is_removed_both_times(run: Run) -> None:
    decide(run, run.table[run.table["index"] == TWINS[0]], "remove", reviewer="ann")
    assert indices(rows(run, "removed")) == TWINS
    assert rows(run, "cleaned")["ref"].tolist() == [row[0] for i, row in enumerate(ROWS) if i not in TWINS]


def test_a_cleaned_table_can_be_scored_and_cleaned_again(run: Run, tmp_path: Path) -> None:
    say(run, [3], "remove")
    oga.export(run, "cleaned", "csv", tmp_path / "once.csv")
    again = scored(tmp_path / "once.csv", tmp_path / "workspace")
    found = rows(again, "cleaned")
    assert list(found.columns) == [*COLUMNS, "oga_status"]
    assert set(found["oga_status"]) == {"not scored", "not reviewed"}


@pytest.mark.parametrize("changed", [[ROWS[0], *ROWS], ROWS[1:], [*ROWS[1:], ROWS[0]], [*ROWS, ROWS[0]]])
def test_data_that_changed_since_they_were_scored_are_not_cleaned(run: Run, source: Path, changed: list[list[str]]) -> None:
    say(run, [3], "remove")
    write(source, changed)
    with pytest.raises(InputError, match="changed"):
        rows(run, "cleaned")


def test_a_removed_sample_whose_text_or_label_changed_is_not_removed_in_silence(run: Run, source: Path) -> None:
    say(run, [3], "remove")
    for column in (1, 2):
        changed = [list(row) for row in ROWS]
        changed[3][column] = "dog"
        write(source, changed)
        with pytest.raises(InputError, match="row 3 has changed since run"):
            rows(run, "cleaned")


def test_lists_do_not_need_the_data(run: Run, source: Path) -> None:
    say(run, [3], "remove")
    source.unlink()
    assert indices(rows(run, "removed")) == [3]
    with pytest.raises(InputError, match="not found: "):
        rows(run, "cleaned")


def test_arrays_are_cleaned_to_a_list_of_rows_and_labels(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(6, 4))
    dataset = oga.from_arrays(samples, ["cat", "dog"] * 3)
    run = oga.score(nn.Linear(4, 2), dataset, detectors="l1", workspace=tmp_path)
    say(run, [0, 5], "remove")
    say(run, [1], "relabel", "cat")
    assert rows(run, "cleaned").to_numpy().tolist() == [
        ["row 1", "cat", "relabel"],
        ["row 2", "cat", "not reviewed"],
        ["row 3", "dog", "not reviewed"],
        ["row 4", "cat", "not reviewed"],
    ]


@pytest.mark.parametrize(
    ("what", "detector", "budget", "message"),
    [
        ("everything", None, None, "unknown export 'everything'; there are: removed, relabelled, cleaned, flags"),
        ("flags", None, None, "need both a detector and a budget"),
        ("removed", "l1", None, "need both a detector and a budget"),
        ("removed", None, 0.1, "need both a detector and a budget"),
        ("cleaned", "l3", 0.1, "has no score 'l3'"),
        ("flags", "iforest", 0.1, "has no score 'iforest'"),
        ("flags", "l1", -0.1, "budget"),
        ("flags", "l1", float("nan"), "budget"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    run: Run, what: str, detector: str | None, budget: float | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        rows(run, what, detector=detector, budget=budget)
