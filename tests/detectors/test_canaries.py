"""Canaries: which labels are flipped to what, and how well they are found, against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, precision_score, recall_score

from oga_core.detectors import Gradients, canaries, of_head
from oga_core.detectors.canaries import BUDGETS, CANDIDATES, KINDS, ROUNDS, _measures, _relabel, plant, trial
from oga_core.detectors.noise import NoiseModel
from oga_core.detectors.out_of_fold import out_of_fold
from oga_core.detectors.refit import out_of_fold_logits

CLEAN = NoiseModel(1.0, np.zeros(3), np.full((3, 3), 1e-3) + 0.997 * np.eye(3), 1.0)


def blobs(n: int = 240, seed: int = 0) -> Gradients:
    """Three classes a little apart; the model has no opinion of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    return of_head(np.zeros((n, 3)), rng.normal(size=(n, 6)) + 3 * np.eye(6)[labels], labels)


def certain(n: int, outputs: int, labels: list[int]) -> Gradients:
    """Samples with these labels by turns, of a model that has a preference."""
    logits = np.tile(np.linspace(0, 1, outputs), (n, 1))
    return of_head(logits, np.ones((n, 1)), np.resize(labels, n))


@pytest.fixture(scope="module")
def gradients() -> Gradients:
    return blobs()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "count"), [(2000, 100), (600, 30), (200, 30), (60, 15), (9, 2), (3, 1)])
def test_one_in_twenty_is_a_canary_but_thirty_at_least_up_to_a_quarter(n: int, count: int, kind: str) -> None:
    gradients = certain(n, 3, [0, 1, 2])
    labels, planted = plant(gradients, CLEAN, kind, np.random.default_rng(0))
    assert planted.sum() == count
    assert np.array_equal(labels != gradients.labels, planted)  # no canary keeps its label, and no other sample loses its own
    assert ((labels >= 0) & (labels < 3)).all()


def test_any_sample_may_be_a_canary() -> None:
    gradients = certain(100, 3, [0, 1, 2])
    shares = np.mean([plant(gradients, CLEAN, "uniform", np.random.default_rng(s))[1] for s in range(400)], axis=0)
    np.testing.assert_allclose(shares, 0.25, atol=0.09)


def test_uniform_canaries_have_any_other_label_that_occurs() -> None:
    gradients = certain(3000, 5, [0, 2, 3])
    chosen = np.zeros((5, 5))
    for seed in range(10):
        labels, planted = plant(gradients, CLEAN, "uniform", np.random.default_rng(seed))
        np.add.at(chosen, (gradients.labels[planted], labels[planted]), 1)
    assert set(np.flatnonzero(chosen.sum(0))) == {0, 2, 3}
    np.testing.assert_allclose(chosen[[0, 0, 2, 2, 3, 3], [2, 3, 0, 3, 0, 2]], 250, atol=60)


def test_where_only_one_label_occurs_a_canary_has_one_that_does_not() -> None:
    gradients = certain(100, 3, [0])
    labels, planted = plant(gradients, CLEAN, "uniform", np.random.default_rng(0))
    assert set(labels[planted]) == {1, 2}


def test_confusions_are_drawn_by_the_calibrated_probabilities_of_the_other_classes() -> None:
    gradients = certain(3000, 3, [0, 1, 2])
    model = replace(CLEAN, scale=2.0, bias=np.array([0.3, 0.0, -0.5]))
    chosen = np.zeros((3, 3))
    for seed in range(30):
        labels, planted = plant(gradients, model, "confusions", np.random.default_rng(seed))
        np.add.at(chosen, (gradients.labels[planted], labels[planted]), 1)
    weights = np.exp(2.0 * np.array([0, 0.5, 1]) + [0.3, 0.0, -0.5])
    wanted = np.tile(weights, (3, 1)) * (1 - np.eye(3))
    np.testing.assert_allclose(chosen / chosen.sum(1, keepdims=True), wanted / wanted.sum(1, keepdims=True), atol=0.05)


def test_a_model_without_any_doubt_still_names_another_class() -> None:
    gradients = replace(certain(400, 3, [0, 1, 2]), logits=1e6 * np.eye(3)[np.arange(400) % 3])
    labels, planted = plant(gradients, CLEAN, "confusions", np.random.default_rng(0))
    assert np.array_equal(labels != gradients.labels, planted)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 60), share=st.floats(0.05, 0.95), seed=st.integers(0, 2**31))
def test_measures_are_those_of_scikit_learn_with_a_weight_for_each_sample_that_is_no_canary(
    n: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    score, planted, right = rng.permutation(n).astype(float), rng.random(n) < share, rng.random(n)
    planted[rng.integers(n)] = True
    budgets = np.unique(rng.integers(1, n + 1, 4))
    average, precision, recall = _measures(score, planted, right, budgets)
    weights = np.where(planted, 1.0, right)
    assert average == pytest.approx(average_precision_score(planted, score, sample_weight=weights))
    for i, budget in enumerate(budgets):
        trimmed = score >= n - budget
        assert precision[i] == pytest.approx(precision_score(planted, trimmed, sample_weight=weights, zero_division=0))
        assert recall[i] == pytest.approx(recall_score(planted, trimmed))


def test_true_errors_that_come_first_are_not_held_against_a_detector() -> None:
    score, planted = np.array([9.0, 8, 7, 6, 5]), np.array([False, True, False, True, False])
    known_wrong = np.array([0.0, 1, 1, 1, 1])
    found = _measures(score, planted, known_wrong, np.array([2]))
    assert found[0] == pytest.approx((1 + 2 / 3) / 2)  # as if the first were not there
    assert (found[1].tolist(), found[2].tolist()) == ([1.0], [0.5])


def test_every_detector_is_tried_with_every_kind_in_every_round(gradients: Gradients) -> None:
    told: list[tuple[str, int, int]] = []
    found = trial(gradients, out_of_fold(gradients, 0), CLEAN, 0, lambda *step: told.append(step))
    assert {(f.detector, f.kind) for f in found} == {(name, kind) for name in CANDIDATES for kind in KINDS}
    assert len(found) == len(CANDIDATES) * len(KINDS)
    for one in found:
        assert one.average_precision.shape == (ROUNDS,)
        assert one.precision.shape == one.recall.shape == (ROUNDS, len(BUDGETS))
        assert ((one.precision >= 0) & (one.precision <= 1)).all()
        assert (np.diff(one.recall, axis=1) >= 0).all()
    by_name = {(f.detector, f.kind): f.average_precision.mean() for f in found}
    assert by_name["noise", "uniform"] > 0.8  # 30 in 240 by chance: 0.125
    assert by_name["noise", "uniform"] > by_name["noise", "confusions"]
    assert told == [("planting canaries", i + 1, ROUNDS * len(KINDS)) for i in range(ROUNDS * len(KINDS))]


def test_a_seed_gives_the_same_trial_and_another_another(gradients: Gradients) -> None:
    base = out_of_fold(gradients, 0)
    first, again, other = (trial(gradients, base, CLEAN, seed) for seed in (1, 1, 2))
    for one, same in zip(first, again):
        assert np.array_equal(one.average_precision, same.average_precision)
        assert np.array_equal(one.precision, same.precision)
    assert any(not np.array_equal(a.average_precision, b.average_precision) for a, b in zip(first, other))
    assert all(len(np.unique(f.average_precision)) > 1 for f in first)  # nor are the rounds the same


def test_a_head_is_fitted_again_with_the_canaries_inside(gradients: Gradients) -> None:
    base = out_of_fold(gradients, 0)
    labels, planted = plant(base, CLEAN, "uniform", np.random.default_rng(0))
    found = _relabel(gradients, base, labels, 0)
    assert gradients.features is not None
    assert gradients.feature_norms is not None
    wanted = out_of_fold_logits(gradients.features, gradients.feature_norms, labels, 3, seed=0)
    np.testing.assert_allclose(found.logits, wanted, rtol=1e-9)
    assert (np.abs(found.logits - base.logits).max(1)[~planted] > 1e-3).mean() > 0.9
    assert np.array_equal(found.labels, labels)


def test_models_that_have_not_seen_the_samples_are_not_trained_again(
    gradients: Gradients, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen = replace(blobs(seed=1), logits=out_of_fold(blobs(seed=1), 0).logits, fold=np.arange(240) % 2)
    labels, _ = plant(unseen, CLEAN, "uniform", np.random.default_rng(0))
    monkeypatch.setattr(canaries, "out_of_fold_logits", lambda *_, **__: pytest.fail("fitted again"))
    found = _relabel(replace(gradients, out_of_fold=unseen), unseen, labels, 0)
    assert np.array_equal(found.logits, unseen.logits)
    assert np.array_equal(found.labels, labels)
    assert found.fold is unseen.fold
    p = np.exp(unseen.logits) / np.exp(unseen.logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.losses, -np.log(p[np.arange(240), labels]), rtol=1e-9)


def test_of_many_samples_a_draw_is_tried(gradients: Gradients, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def watched(some: Gradients, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(some))
        return plant(some, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(canaries, "plant", watched)
    monkeypatch.setattr(canaries, "TRIED", 90)
    trial(gradients, out_of_fold(gradients, 0), CLEAN, 0)
    assert sizes == [90] * ROUNDS * len(KINDS)


def test_a_candidate_is_the_detector_of_its_name() -> None:
    assert {name: make().name for name, make in CANDIDATES.items()} == {name: name for name in CANDIDATES}
