"""The one-class SVM on factors against scikit-learn's on the gradients written out."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.svm import OneClassSVM as ExactOneClassSVM

from oga_core.detectors import Gradients, make_detector, of_head, one_class_svm
from oga_core.gradients import Factors, unit_rows


def drawn(n: int, classes: int = 4, d: int = 7, outliers: int = 0, seed: int = 0) -> Gradients:
    """Gradients of random outputs; the features of the first few are three times as long."""
    rng = np.random.default_rng(seed)
    features = 1 + rng.normal(size=(n, d))
    features[:outliers] *= 3
    return of_head(rng.normal(size=(n, classes)), features, rng.integers(0, classes, n))


def written_out(gradients: Gradients) -> np.ndarray:
    """The gradients, float64, shape ``(n, classes × d)``."""
    residuals, features = (v.astype(np.float64) for v in gradients.factors.block(slice(None)))
    return (residuals[:, :, None] * features[:, None, :]).reshape(len(gradients), -1)


@pytest.mark.parametrize(("classes", "d"), [(2, 1), (4, 7), (30, 50)])
def test_scores_are_those_of_scikit_learn(classes: int, d: int) -> None:
    seen, unseen = drawn(300, classes, d), drawn(100, classes, d, seed=1)
    theirs = ExactOneClassSVM(gamma="scale").fit(written_out(seen))
    mine = make_detector("ocsvm").fit(seen)
    for gradients in (seen, unseen):
        wanted = -theirs.decision_function(written_out(gradients))
        score = mine.score_samples(gradients)
        assert (score.shape, score.dtype) == ((len(gradients),), np.float64)
        # libsvm stops at a tolerance, and reads the kernel in another order.
        np.testing.assert_allclose(score, wanted, atol=2e-3 * np.ptp(wanted))


def test_beyond_the_head_scores_are_those_of_the_sketches() -> None:
    rng = np.random.default_rng(0)
    sketch = 2 + rng.normal(size=(200, 16))  # unlike a head's gradients, these do not sum to zero
    unit, norms = unit_rows(sketch)
    ones = np.ones(200, np.float32)
    gradients = replace(drawn(200), factors=Factors(ones[:, None].astype(np.float16), unit, ones, norms))
    wanted = -ExactOneClassSVM(gamma="scale").fit(sketch).decision_function(sketch)
    np.testing.assert_allclose(make_detector("ocsvm").fit_score(gradients), wanted, atol=5e-3 * np.ptp(wanted))


def test_half_lie_outside_and_what_is_unusual_farthest() -> None:
    gradients = drawn(400, outliers=20)
    score = make_detector("ocsvm").fit_score(gradients)
    assert np.mean(score > 0) == pytest.approx(0.5, abs=0.02)
    assert np.median(score[:20]) > np.quantile(score[20:], 0.8)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = drawn(200)
    whole = make_detector("ocsvm").fit_score(gradients)
    monkeypatch.setattr(one_class_svm, "BLOCK", 33)
    np.testing.assert_allclose(make_detector("ocsvm").fit_score(gradients), whole, rtol=1e-12, atol=1e-12)


def test_only_a_sample_of_many_is_learned_from_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = drawn(600)
    whole = make_detector("ocsvm").fit_score(gradients, seed=1)
    assert np.array_equal(make_detector("ocsvm").fit_score(gradients, seed=2), whole)
    monkeypatch.setattr(one_class_svm, "LEARNED_FROM", 200)
    first, again, other = (make_detector("ocsvm").fit_score(gradients, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert spearmanr(first, whole).statistic > 0.95
    rows = np.sort(np.random.default_rng(1).choice(600, 200, replace=False))
    theirs = ExactOneClassSVM(gamma="scale").fit(written_out(gradients)[rows])
    assert spearmanr(first, -theirs.decision_function(written_out(gradients))).statistic > 0.9999


def test_gradients_all_alike_are_scored_alike() -> None:
    one = of_head(np.zeros((10, 3)), np.ones((10, 4)), np.zeros(10, np.int64))
    assert np.ptp(make_detector("ocsvm").fit_score(one)) == pytest.approx(0, abs=1e-12)


def test_the_gradients_are_never_in_memory() -> None:
    gradients = drawn(1500, 200, 500)
    tracemalloc.start()
    try:
        make_detector("ocsvm").fit_score(gradients)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 250e6 < 8 * len(gradients) * gradients.factors.width / 4
