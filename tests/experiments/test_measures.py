"""Intervals and detection measures, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from oga_core.experiments.measures import detection, mean_and_half


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_the_interval_is_that_of_student(values: list[float]) -> None:
    mean, half = mean_and_half(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    spread = stats.sem(values)
    if spread > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), spread)
        assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    else:
        assert half == pytest.approx(0, abs=1e-6)


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert mean_and_half([1.0, np.nan, 3.0]) == mean_and_half([1.0, 3.0])


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    assert mean_and_half([0.7, np.nan])[0] == 0.7
    assert np.isnan(mean_and_half([0.7])[1])
    assert np.isnan(mean_and_half([])).all()


def test_detection_by_hand() -> None:
    score = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    wrong = np.array([True, False, True, False, False])
    found = detection(score, wrong, np.array([0, 1]))
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["precision"], found["recall"], found["detection_accuracy"]) == (0.5, 0.5, pytest.approx(3 / 5))


@pytest.mark.parametrize(("found", "accuracy"), [(0, 0.82), (20, 0.98)])
def test_detection_accuracy_is_the_papers(found: int, accuracy: float) -> None:
    """25 of 250 flagged, 20 flipped: 82 % when none of them is found, 98 % when all are."""
    wrong = np.arange(250) < 20
    flagged = np.r_[np.arange(found), np.arange(100, 125 - found)]
    assert detection(np.arange(250.0), wrong, flagged)["detection_accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("wrong", [None, np.zeros(4, bool), np.ones(4, bool)])
def test_nothing_is_measured_where_the_truth_is_unknown_or_of_one_kind(wrong: np.ndarray | None) -> None:
    assert all(np.isnan(v) for v in detection(np.arange(4.0), wrong, np.array([3])).values())
