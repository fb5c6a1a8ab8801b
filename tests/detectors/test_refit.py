"""The head fitted again: scikit-learn's logistic regression, folds even in every class, logits that a plain loop gives too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import LogisticRegression

from oga_core.detectors import of_head, refit
from oga_core.detectors.refit import fit_head, folds, out_of_fold_logits, require_features
from oga_core.errors import InputError
from oga_core.gradients import unit_rows


def data(n: int, classes: int = 3, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(n, d)`` of unequal means and spreads, and labels, of overlapping classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = rng.normal(size=(n, d)) + np.eye(classes, d)[labels]
    return features * 10.0 ** np.arange(-2, d - 2) + 3, labels


def centred(logits: np.ndarray) -> np.ndarray:
    """Less their mean: a softmax does not see it."""
    return logits - logits.mean(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("decay", [refit.DECAY, 1e-3, 1.0])
def test_a_head_is_the_logistic_regression_of_scikit_learn(classes: int, decay: float) -> None:
    n = 210
    features, labels = data(n, classes, 8)
    head = fit_head(features, labels, classes, decay)
    standardised = (features - features.mean(0)) / features.std(0)
    np.testing.assert_allclose(head.mean, features.mean(0))
    np.testing.assert_allclose(head.spread, features.std(0))
    # C Σ ℓ + ½ ‖w‖², so C = 1 / (n decay). Of two classes w is the difference of ours, ½ ‖w‖² twice our penalty.
    theirs = LogisticRegression(C=(2 if classes == 2 else 1) / (n * decay), tol=1e-10, max_iter=10_000).fit(standardised, labels)
    found = theirs.decision_function(standardised)
    if classes == 2:
        found = np.stack([-found, found], 1) / 2
    np.testing.assert_allclose(centred(head.logits(features)), centred(found), atol=2e-3)


def test_a_head_is_the_same_each_time_and_nothing_near_it_is_better() -> None:
    features, labels = data(100)
    head = fit_head(features, labels, 3)
    assert np.array_equal(head.weight, fit_head(features, labels, 3).weight)

    def objective(weight: np.ndarray) -> float:
        logits = (features - head.mean) / head.spread @ weight.T + head.bias
        losses = np.log(np.exp(logits - logits[np.arange(100), labels][:, None]).sum(1))
        return float(losses.mean() + refit.DECAY / 2 * (weight**2).sum())

    rng = np.random.default_rng(0)
    best = objective(head.weight)
    assert all(
        objective(head.weight + step * rng.normal(size=head.weight.shape)) > best for step in (0.01, 0.1, 1) for _ in range(9)
    )


def test_features_that_do_not_vary_and_classes_without_samples_do_no_harm() -> None:
    features, labels = data(60)
    features[:, 1], features[:, 2] = 0.0, 7.1
    head = fit_head(features, labels, 5)
    logits = head.logits(features)
    assert logits.shape == (60, 5)
    assert np.isfinite(logits).all()
    assert np.abs(head.weight[:, 1:3]).max() < 1e-12
    assert logits[:, 3:].max() < logits[:, :3].max(1).min()


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 23), min_size=1, max_size=6), k=st.integers(2, 7), seed=st.integers(0, 2**31))
def test_folds_are_even_in_every_class(counts: list[int], k: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    fold = folds(labels, k, seed)
    assert (fold.dtype, fold.shape) == (np.int64, labels.shape)
    assert np.array_equal(fold, folds(labels, k, seed))
    for some in [labels >= 0, *(labels == c for c in range(len(counts)))]:
        sizes = np.bincount(fold[some], minlength=k)
        assert len(sizes) == k
        assert np.ptp(sizes) <= 1


def test_folds_are_drawn_by_the_seed() -> None:
    labels = np.arange(100) % 4
    assert not np.array_equal(folds(labels, 5, 0), folds(labels, 5, 1))
    shares = np.mean([folds(labels, 5, s) == 0 for s in range(400)], axis=0)
    assert np.abs(shares - 0.2).max() < 0.1  # any sample in any fold


def test_out_of_fold_logits_are_those_of_a_loop() -> None:
    features, labels = data(83)
    units, norms = unit_rows(features)
    kept = units.astype(np.float64) * norms[:, None]
    found = out_of_fold_logits(units, norms, labels, 3, seed=2, k=4)
    fold = folds(labels, 4, 2)
    for j in range(83):
        others = fold != fold[j]
        wanted = fit_head(kept[others], labels[others], 3).logits(kept[[j]])[0]
        np.testing.assert_allclose(found[j], wanted, rtol=1e-6, atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data(83)
    whole = out_of_fold_logits(*unit_rows(features), labels, 3, seed=2)
    monkeypatch.setattr(refit, "BLOCK", 4)
    np.testing.assert_allclose(out_of_fold_logits(*unit_rows(features), labels, 3, seed=2), whole, rtol=1e-9)


def test_only_a_sample_of_many_is_learned_from_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data(300)
    sizes = []

    def watched(features: np.ndarray, labels: np.ndarray, classes: int) -> refit.Head:
        sizes.append(len(labels))
        return fit_head(features, labels, classes)

    monkeypatch.setattr(refit, "fit_head", watched)
    monkeypatch.setattr(refit, "LEARNED_FROM", 100)
    first, again, other = (out_of_fold_logits(*unit_rows(features), labels, 3, seed=s) for s in (1, 1, 2))
    assert set(sizes) == {100}
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_features_or_other_samples_there_is_no_head() -> None:
    features, labels = data(4)
    with pytest.raises(InputError, match="need two samples at least"):
        out_of_fold_logits(*unit_rows(features[:1]), labels[:1], 3, seed=0)
    assert np.isfinite(out_of_fold_logits(*unit_rows(features[:2]), labels[:2], 3, seed=0)).all()
    gradients = of_head(np.zeros((4, 3)), features, labels)
    assert require_features(gradients)[0] is gradients.features
    with pytest.raises(InputError, match="no head to fit again"):
        require_features(replace(gradients, features=None))
