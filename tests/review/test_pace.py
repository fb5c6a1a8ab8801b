"""How fast a reviewer decides, from when they decided."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from oga_core.review import decide, pace, undo
from oga_core.runs import Run

START = datetime(2026, 1, 1, tzinfo=UTC)
Keep = Callable[..., None]


@pytest.fixture
def keep_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Decide on some samples at each of some moments, in seconds."""
    module = importlib.import_module("oga_core.review.decisions")

    def keep(*moments: float, reviewer: str = "ann", samples: int = 1) -> None:
        for moment in moments:
            monkeypatch.setattr(module, "now", lambda m=moment: (START + timedelta(seconds=m)).isoformat(timespec="seconds"))
            decide(run, run.table.iloc[:samples], "keep", reviewer=reviewer)

    return keep


def test_before_the_second_action_nothing_is_known(run: Run, keep_at: Keep) -> None:
    assert pace(run, "ann").per_minute == 0
    keep_at(0)
    assert pace(run, "ann").per_minute == 0


def test_one_every_five_seconds_is_twelve_a_minute(run: Run, keep_at: Keep) -> None:
    keep_at(0, 5, 10, 15)
    assert pace(run, " ann ").per_minute == 12


def test_pauses_and_what_others_do_are_left_out_and_a_bulk_action_counts_once(run: Run, keep_at: Keep) -> None:
    keep_at(0, 5)
    keep_at(7, 8, reviewer="bob")
    keep_at(10, samples=6)
    keep_at(3610, 3615)
    assert pace(run, "ann").per_minute == 12
    undo(run, reviewer="ann")
    assert pace(run, "ann").per_minute == 12


def test_only_what_was_done_lately_counts(run: Run, keep_at: Keep) -> None:
    keep_at(*range(0, 1200, 60))
    keep_at(*range(2000, 2250, 5))
    assert pace(run, "ann").per_minute == 12


def test_a_clock_that_is_put_back_or_stands_still_gives_a_number_still(run: Run, keep_at: Keep) -> None:
    keep_at(100, 40, 45)
    assert pace(run, "ann").per_minute == 24
    keep_at(0, 0, reviewer="bob")
    assert pace(run, "bob").per_minute == 60


def test_another_run_has_a_pace_of_its_own(run: Run, keep_at: Keep) -> None:
    keep_at(0, 5)
    assert pace(run.workspace.new_run("other"), "ann").per_minute == 0
