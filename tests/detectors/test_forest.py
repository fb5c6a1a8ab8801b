"""The isolation forest on factors against scikit-learn's on the gradients written out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest as ExactIsolationForest
from sklearn.ensemble._iforest import _average_path_length

from oga_core.detectors import Gradients
from oga_core.detectors.forest import IsolationForest, average_path_length
from oga_core.gradients import Factors, unit_rows
from oga_core.progress import Progress, silent

SEEDS = range(5)


def clusters(n: int = 500, outliers: int = 10, classes: int = 3, d: int = 5, seed: int = 0) -> Factors:
    """Gradients around one direction, and as the first rows some with larger factors of any direction."""
    rng = np.random.default_rng(seed)
    r, h = 0.05 * rng.normal(size=(n, classes)), 1 + 0.3 * rng.normal(size=(n, d))
    r[:outliers] = rng.normal(size=(outliers, classes))
    h[:outliers] = 3 * rng.normal(size=(outliers, d))
    (residuals, residual_norms), (features, feature_norms) = unit_rows(r), unit_rows(h)
    return Factors(residuals, features, residual_norms, feature_norms)


def gradients_of(factors: Factors) -> Gradients:
    """All that a forest looks at: the factors."""
    none = np.zeros(len(factors))
    return Gradients(factors, none, none, none[:, None], none.astype(np.int64))


def scores(factors: Factors, seed: int, trees: int = 100, progress: Progress = silent) -> np.ndarray:
    """Of the samples that the forest is grown from."""
    return IsolationForest(trees).fit_score(gradients_of(factors), seed=seed, progress=progress)


def written_out(factors: Factors) -> np.ndarray:
    """The gradients, float32, shape ``(n, classes × d)``."""
    residuals, features = factors.block(slice(None))
    return (residuals[:, :, None] * features[:, None, :]).reshape(len(factors), -1)


def sklearn_scores(gradients: np.ndarray, seed: int) -> np.ndarray:
    return -ExactIsolationForest(n_estimators=100, max_samples=256, random_state=seed).fit(gradients).score_samples(gradients)


def test_average_path_lengths_are_those_of_the_paper() -> None:
    assert [average_path_length(n) for n in (0, 1, 2)] == [0.0, 0.0, 1.0]
    assert average_path_length(3) == pytest.approx(2 * (np.log(2) + 0.5772156649) - 4 / 3)
    assert average_path_length(256) == pytest.approx(10.2448, abs=1e-4)
    ours = [average_path_length(n) for n in range(500)]
    np.testing.assert_allclose(ours, _average_path_length(np.arange(500)), rtol=1e-12)


def test_scores_are_those_of_scikit_learn_but_for_the_draw() -> None:
    factors = clusters()
    gradients = written_out(factors)
    ours = np.stack([scores(factors, s) for s in SEEDS])
    theirs = np.stack([sklearn_scores(gradients, s) for s in SEEDS])
    between = np.mean([spearmanr(a, b).statistic for a in ours for b in theirs])
    among = np.mean([spearmanr(theirs[i], theirs[j]).statistic for i in SEEDS for j in SEEDS if i < j])
    assert among > 0.9
    assert between > among - 0.03
    assert spearmanr(ours.mean(0), theirs.mean(0)).statistic > 0.98
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.02
    for a, b in zip(ours, theirs):
        assert set(np.argsort(-a)[:10]) == set(np.argsort(-b)[:10]) == set(range(10))


@pytest.mark.parametrize(("classes", "d"), [(3, 5), (40, 300)])
def test_the_forest_is_exact_at_any_width(classes: int, d: int) -> None:
    factors = clusters(n=300, classes=classes, d=d)
    ones = np.ones(300, np.float32)
    one_residual = Factors(ones[:, None], written_out(factors), ones, ones)
    assert np.array_equal(scores(factors, 0, trees=20), scores(one_residual, 0, trees=20))


def test_a_seed_gives_the_same_scores_and_another_others() -> None:
    factors = clusters()
    first = scores(factors, 7)
    assert first.dtype == np.float64
    assert np.array_equal(first, scores(factors, 7))
    assert not np.array_equal(first, scores(factors, 8))
    assert ((first > 0) & (first < 1)).all()


def test_a_forest_grown_from_some_scores_others() -> None:
    factors = clusters()
    usual = factors.take(np.arange(10, 400))
    forest = IsolationForest().fit(gradients_of(usual), seed=0)
    others = factors.take(np.r_[:10, 400:500])
    found = forest.score_samples(gradients_of(others))
    assert found[:10].min() > found[10:].max()
    theirs = ExactIsolationForest(n_estimators=100, max_samples=256, random_state=0).fit(written_out(usual))
    assert np.abs(found + theirs.score_samples(written_out(others))).max() < 0.08
    # The same trees, whatever is scored.
    assert np.array_equal(forest.score_samples(gradients_of(others.take(np.array([7])))), found[[7]])


def test_the_forest_never_needs_the_gradients_in_memory() -> None:
    factors = clusters(n=3000, classes=200, d=1000)
    tracemalloc.start()
    try:
        scores(factors, 0, trees=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6 < 4 * len(factors) * factors.width / 10


def by_hand(*coordinates: float) -> Factors:
    """Gradients with a single coordinate each."""
    ones = np.ones(len(coordinates), np.float32)
    return Factors(ones[:, None], np.array(coordinates, np.float32)[:, None], ones, ones)


def test_scores_by_hand() -> None:
    # Two samples: one cut each, depth 1 = c(2), 2^-1. Also where no float lies between them, at either end.
    for low, high in ((0.0, 1.0), (1.0, np.nextafter(np.float32(1), np.float32(2))), (0.0, 1e-45), (-3e38, 3e38)):
        assert scores(by_hand(low, high), 0).tolist() == [0.5, 0.5]
    # Alike: never cut, depth c(4) at once, 2^-1.
    assert scores(by_hand(2, 2, 2, 2), 0).tolist() == pytest.approx([0.5] * 4)
    # One apart from three alike: cut at once. It: 2^-(1 / c(4)); they: 2^-((1 + c(3)) / c(4)).
    c3, c4 = average_path_length(3), average_path_length(4)
    wanted = [2 ** -(1 / c4), *[2 ** -((1 + c3) / c4)] * 3]
    assert scores(by_hand(5, 2, 2, 2), 0).tolist() == pytest.approx(wanted)
    # A sample alone in the run.
    assert np.isfinite(scores(by_hand(5), 0)).all()


def test_the_one_coordinate_that_varies_is_found_among_thousands() -> None:
    features = np.zeros((8, 2000), np.float32)
    features[0, 1234] = 1
    ones = np.ones(8, np.float32)
    found = scores(Factors(ones[:, None], features, ones, ones), 0)
    assert found[0] > found[1:].max()


def test_progress_counts_the_trees() -> None:
    told: list[tuple[str, int, int]] = []
    scores(clusters(50), 0, trees=4, progress=lambda *step: told.append(step))
    assert told == [("isolation forest", i, 4) for i in (1, 2, 3, 4)]
