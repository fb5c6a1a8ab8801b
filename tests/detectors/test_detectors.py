"""Detectors and controls: higher = more suspicious, few ties, seeded; and what a budget flags."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from oga_core.detectors import ALL, CONTROLS, DETECTORS, Gradients, chosen, flagged, scores
from oga_core.errors import InputError
from oga_core.gradients import Factors, head_gradients, unit_rows

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
    g = head_gradients(torch.from_numpy(fitted.decision_function(h)), torch.from_numpy(h), torch.from_numpy(given))
    (residuals, residual_norms), (features, feature_norms) = unit_rows(g.residuals), unit_rows(g.features)
    return Gradients(Factors(residuals, features, residual_norms, feature_norms), g.l1, g.l2, g.losses)


@pytest.mark.parametrize("name", [name for name in ALL if name != "random"])
def test_a_flipped_label_scores_higher(planted: Gradients, name: str) -> None:
    score = scores([ALL[name]], planted, seed=0)[name]
    assert (score.shape, score.dtype) == ((N,), np.float64)
    assert roc_auc_score(np.arange(N) < FLIPS, score) > 0.95


def test_the_random_control_finds_nothing(planted: Gradients) -> None:
    random = [scores([ALL["random"]], planted, seed=s)["random"] for s in range(40)]
    assert 0.45 < np.mean([roc_auc_score(np.arange(N) < FLIPS, r) for r in random]) < 0.55


@pytest.mark.parametrize("name", list(ALL))
def test_scores_are_continuous(planted: Gradients, name: str) -> None:
    different = len(np.unique(scores([ALL[name]], planted, seed=0)[name]))
    assert different > 0.85 * N if name == "iforest" else different == N  # a forest has finitely many leaves


def test_well_fitted_samples_do_not_tie() -> None:
    margins = torch.linspace(1, 150, 100)[:, None]
    g = head_gradients(torch.cat([margins, -margins], 1), torch.ones(100, 2), torch.zeros(100, dtype=torch.int64))
    (residuals, residual_norms), (features, feature_norms) = unit_rows(g.residuals), unit_rows(g.features)
    gradients = Gradients(Factors(residuals, features, residual_norms, feature_norms), g.l1, g.l2, g.losses)
    for name in ("l1", "l2", "loss", "low_confidence"):
        assert (np.diff(scores([ALL[name]], gradients, seed=0)[name]) < 0).all()


def test_only_chance_depends_on_the_seed(planted: Gradients) -> None:
    first, again, other = (scores(list(ALL.values()), planted, seed=s) for s in (1, 1, 2))
    assert list(first) == ["l1", "l2", "iforest", "random", "loss", "low_confidence"]
    assert all(np.array_equal(first[name], again[name]) for name in ALL)
    assert {name for name in ALL if not np.array_equal(first[name], other[name])} == {"iforest", "random"}


def test_controls_are_what_they_are_called(planted: Gradients) -> None:
    found = scores(list(CONTROLS.values()), planted, seed=0)
    assert np.array_equal(found["loss"], planted.losses)
    np.testing.assert_allclose(found["low_confidence"], 1 - np.exp(-planted.losses), atol=1e-15)
    assert np.array_equal(np.argsort(found["loss"]), np.argsort(found["low_confidence"]))
    assert ((found["random"] >= 0) & (found["random"] < 1)).all()


@pytest.mark.parametrize("asked", ["l2", "l2, iforest", ["iforest"], ["l1", "l1"], "random", list(ALL)])
def test_the_controls_always_come_along(asked: str | list[str]) -> None:
    names = [d.name for d in chosen(asked)]
    wanted = [n.strip() for n in asked.split(",")] if isinstance(asked, str) else asked
    assert names == [*dict.fromkeys(n for n in wanted if n in DETECTORS), "random", "loss", "low_confidence"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("l3", "unknown detector 'l3'; there are: l1, l2, iforest"),
        (["l1", "L2"], "'L2'"),
        ("", "''"),
        ("l1,", "''"),
        ([], "no detector is named"),
    ],
)
def test_unknown_detectors_are_refused(asked: str | list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        chosen(asked)


@pytest.mark.parametrize(
    ("budget", "rows"),
    [
        (0, []), (0.05, []), (0.2, [3]), (0.4, [3, 0]), (0.99, [3, 0, 2, 4, 1]), (1, [3]), (1.0, [3]), (3, [3, 0, 2]),
        (5, [3, 0, 2, 4, 1]), (9, [3, 0, 2, 4, 1]), (np.int64(2), [3, 0]),
    ],
)  # fmt: skip
def test_a_budget_is_a_share_or_a_number(budget: float, rows: list[int]) -> None:
    found = flagged(np.array([0.5, -1.0, 0.5, 7.0, 0.1]), budget)
    assert found.dtype == np.int64
    assert found.tolist() == rows


@pytest.mark.parametrize("budget", [-1, -0.1, 1.5, 20.5, float("nan"), float("inf")])
def test_other_budgets_are_refused(budget: float) -> None:
    with pytest.raises(InputError, match=f"budget {budget} is not a share between 0 and 1 or a whole number of samples"):
        flagged(np.arange(100.0), budget)


def test_equal_scores_keep_the_order_of_the_data() -> None:
    assert flagged(np.array([1.0, 2, 1, 2, 1]), 4).tolist() == [1, 3, 0, 2]
    assert flagged(np.array([]), 3).tolist() == []
