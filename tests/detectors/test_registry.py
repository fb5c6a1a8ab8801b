"""Detectors and controls: higher = more suspicious, few ties, seeded; and what a budget flags."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from oga_core.detectors import (
    ALWAYS,
    CONTROLS,
    DEFAULT,
    DETECTORS,
    Gradients,
    choose_detectors,
    flag_rows,
    list_names,
    make_detector,
    of_head,
    scores,
)
from oga_core.errors import InputError

EVERY = [*DETECTORS, *CONTROLS]
N, FLIPS = 600, 30


@pytest.fixture(scope="module")
def planted() -> Gradients:
    """Gradients of a softmax regression on three classes; the first labels were flipped."""
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    h = rng.normal(size=(N, 8)) + 3 * np.eye(8)[true]
    given = true.copy()
    given[:FLIPS] = (true[:FLIPS] + rng.integers(1, 3, FLIPS)) % 3
    fitted = LogisticRegression().fit(h, given)
    return of_head(fitted.decision_function(h), h, given)


def test_the_names_are_these() -> None:
    assert list(DETECTORS) == ["l1", "l2", "iforest", "ocsvm"]
    assert list(CONTROLS) == ["random", "loss", "low_confidence", "margin", "confidence_entropy", "el2n"]
    assert [*DEFAULT, *ALWAYS] == ["l1", "l2", "iforest", "random", "loss", "low_confidence"]


@pytest.mark.parametrize("name", [*EVERY, "by_class:l2", "by_class:random", "oof:iforest", "oof:by_class:loss"])
def test_a_detector_goes_by_its_name_and_says_what_it_is(name: str) -> None:
    detector = make_detector(name)
    assert detector.name == name
    assert make_detector(name) is not detector
    assert detector.title
    assert detector.meaning.endswith(".")


@pytest.mark.parametrize("name", [name for name in EVERY if name != "random"])
@pytest.mark.parametrize("prefix", ["", "by_class:", "oof:", "oof:by_class:"])
def test_a_flipped_label_scores_higher(planted: Gradients, name: str, prefix: str) -> None:
    score = make_detector(prefix + name).fit_score(planted, seed=0)
    assert (score.shape, score.dtype) == ((N,), np.float64)
    assert roc_auc_score(np.arange(N) < FLIPS, score) > 0.95


def test_the_random_control_finds_nothing(planted: Gradients) -> None:
    random = [make_detector("random").fit_score(planted, seed=s) for s in range(40)]
    assert 0.45 < np.mean([roc_auc_score(np.arange(N) < FLIPS, r) for r in random]) < 0.55


@pytest.mark.parametrize("name", EVERY)
def test_scores_are_continuous(planted: Gradients, name: str) -> None:
    different = len(np.unique(make_detector(name).fit_score(planted, seed=0)))
    assert different > 0.85 * N if name == "iforest" else different == N  # a forest has finitely many leaves


def test_well_fitted_samples_do_not_tie() -> None:
    margins = np.linspace(1, 150, 100)[:, None]
    gradients = of_head(np.concatenate([margins, -margins], 1), np.ones((100, 2)), np.zeros(100, np.int64))
    for name in ("l1", "l2", *(name for name in CONTROLS if name != "random")):
        assert (np.diff(make_detector(name).fit_score(gradients, seed=0)) < 0).all(), name


def test_only_chance_depends_on_the_seed(planted: Gradients) -> None:
    first, again, other = (scores([make_detector(name) for name in EVERY], planted, seed=s) for s in (1, 1, 2))
    assert list(first) == EVERY
    assert all(np.array_equal(first[name], again[name]) for name in EVERY)
    assert {name for name in EVERY if not np.array_equal(first[name], other[name])} == {"iforest", "random"}


@pytest.mark.parametrize("name", [*EVERY, "by_class:l2", "oof:iforest"])
def test_what_was_fitted_before_leaves_no_trace(planted: Gradients, name: str) -> None:
    detector = make_detector(name)
    fresh = detector.fit_score(planted, seed=3)
    detector.fit(planted.take(np.arange(100, 200)), seed=8)
    assert np.array_equal(detector.fit_score(planted, seed=3), fresh)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "random"] + ["by_class:iforest"])
def test_a_score_does_not_depend_on_what_is_scored_beside(planted: Gradients, name: str) -> None:
    detector = make_detector(name).fit(planted, seed=0)
    rows = np.array([500, 3, 77, 3])
    np.testing.assert_allclose(detector.score_samples(planted.take(rows)), detector.score_samples(planted)[rows], rtol=1e-9)


@pytest.mark.parametrize(
    "asked",
    ["l2", "l2, iforest", ["iforest"], ["l1", "l1"], "random", "loss,margin,random", "by_class:l1,oof:loss,ocsvm", EVERY],
)
def test_the_controls_always_come_along(asked: str | list[str]) -> None:
    names = [d.name for d in choose_detectors(asked)]
    wanted = [n.strip() for n in asked.split(",")] if isinstance(asked, str) else asked
    assert list_names(asked) == wanted
    assert names == [*dict.fromkeys(n for n in wanted if n not in ALWAYS), "random", "loss", "low_confidence"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("l3", "unknown detector 'l3'; there are: l1, l2, iforest, ocsvm, "),
        ("l1,by_class:l3", "unknown detector 'by_class:l3'; there are: l1"),
        ("oof:oof:l1", "unknown detector 'oof:oof:l1'"),
        ("by_class:oof:l1", "unknown detector 'by_class:oof:l1'"),
        ("by_class:by_class:l1", "unknown detector 'by_class:by_class:l1'"),
        ("oof:", "unknown detector 'oof:'"),
        ("oof:recommended", "unknown detector 'oof:recommended'"),
        ("by_class:recommended", "unknown detector 'by_class:recommended'"),
        (["l1", "L2"], "'L2'"),
        ("", "''"),
        ("l1,", "''"),
        ([], "no detector is named"),
    ],
)
def test_unknown_detectors_are_refused(asked: str | list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        choose_detectors(asked)


@pytest.mark.parametrize(
    ("budget", "rows"),
    [
        (0, []),
        (0.05, []),
        (0.2, [3]),
        (0.4, [3, 0]),
        (0.99, [3, 0, 2, 4, 1]),
        (1, [3]),
        (1.0, [3]),
        (3, [3, 0, 2]),
        (5, [3, 0, 2, 4, 1]),
        (9, [3, 0, 2, 4, 1]),
        (np.int64(2), [3, 0]),
    ],
)
def test_a_budget_is_a_share_or_a_number(budget: float, rows: list[int]) -> None:
    found = flag_rows(np.array([0.5, -1.0, 0.5, 7.0, 0.1]), budget)
    assert found.dtype == np.int64
    assert found.tolist() == rows


@pytest.mark.parametrize("budget", [-1, -0.1, 1.5, 20.5, float("nan"), float("inf")])
def test_other_budgets_are_refused(budget: float) -> None:
    with pytest.raises(InputError, match=f"budget {budget} is not a share between 0 and 1 or a whole number of samples"):
        flag_rows(np.arange(100.0), budget)


def test_equal_scores_keep_the_order_of_the_data() -> None:
    assert flag_rows(np.array([1.0, 2, 1, 2, 1]), 4).tolist() == [1, 3, 0, 2]
    assert flag_rows(np.array([]), 3).tolist() == []
