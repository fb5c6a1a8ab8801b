"""Out-of-fold detectors: no sample's label has a say in the model that it is scored by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oga_core.detectors import Gradients, make_detector, of_head, refit
from oga_core.detectors.out_of_fold import out_of_fold
from oga_core.errors import InputError

N, FLIPS, CLASSES, D = 150, 12, 3, 60


def planted(seed: int = 0) -> Gradients:
    """Features wide enough for a head to learn any labels by heart, wrong ones too; the model has done so."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N) % CLASSES)
    features = rng.normal(size=(N, D)) + 4 * np.eye(CLASSES, D)[labels]
    labels[:FLIPS] = (labels[:FLIPS] + 1) % CLASSES
    return of_head(refit.fit_head(features, labels, CLASSES, 1e-4).logits(features), features, labels)


@pytest.fixture(scope="module")
def gradients() -> Gradients:
    return planted()


def relabelled(gradients: Gradients, row: int) -> Gradients:
    labels = gradients.labels.copy()
    labels[row] = (labels[row] + 1) % CLASSES
    return replace(gradients, labels=labels)


def test_a_samples_own_label_has_no_say_in_its_logits(gradients: Gradients, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = refit.folds(gradients.labels, refit.FOLDS, 0)
    monkeypatch.setattr(refit, "folds", lambda labels, k, seed: fold)
    before = out_of_fold(gradients, 0).logits
    for row in (0, 50, 149):
        after = out_of_fold(relabelled(gradients, row), 0).logits
        own = fold == fold[row]
        assert np.array_equal(after[own], before[own])
        # While those of the other folds have learned from it.
        assert (np.abs(after[~own] - before[~own]).max(1) > 0).all()


def test_out_of_fold_gradients_are_those_of_the_given_labels(gradients: Gradients) -> None:
    seen = out_of_fold(gradients, 3)
    p = np.exp(seen.logits) / np.exp(seen.logits).sum(1, keepdims=True)
    np.testing.assert_allclose(seen.losses, -np.log(p[np.arange(N), gradients.labels]), rtol=1e-9)
    assert np.array_equal(seen.labels, gradients.labels)
    assert seen.features is gradients.features


def test_wrong_labels_that_were_learned_by_heart_stand_out_again(gradients: Gradients) -> None:
    wrong = np.arange(N) < FLIPS
    for name in ("loss", "l2", "by_class:loss"):
        by_heart, fresh = (roc_auc_score(wrong, make_detector(prefix + name).fit_score(gradients)) for prefix in ("", "oof:"))
        assert fresh > 0.9
        assert fresh > by_heart


def test_the_detector_is_fitted_to_the_out_of_fold_gradients(gradients: Gradients) -> None:
    for name in ("l1", "iforest", "by_class:margin", "random"):
        wanted = make_detector(name).fit_score(out_of_fold(gradients, 5), seed=5)
        assert np.array_equal(make_detector(f"oof:{name}").fit_score(gradients, seed=5), wanted)


def test_models_that_have_not_seen_the_samples_go_before_heads_fitted_again(gradients: Gradients) -> None:
    unseen = planted(7)
    both = replace(gradients, out_of_fold=unseen)
    for name in ("loss", "l2", "iforest", "by_class:l1"):
        assert np.array_equal(make_detector(f"oof:{name}").fit_score(both), make_detector(name).fit_score(unseen))
    headless = replace(both, features=None, feature_norms=None)
    assert np.array_equal(make_detector("oof:loss").fit_score(headless), unseen.losses)


@pytest.mark.parametrize("name", ["iforest", "ocsvm", "by_class:iforest"])
def test_gradients_of_different_models_are_not_compared_with_each_other(gradients: Gradients, name: str) -> None:
    fold = np.arange(N) % 2
    unseen = replace(planted(7), fold=fold)
    score = make_detector(f"oof:{name}").fit_score(replace(gradients, out_of_fold=unseen), seed=2)
    for i in range(2):
        rows = np.flatnonzero(fold == i)
        assert np.array_equal(score[rows], make_detector(name).fit_score(unseen.take(rows), seed=2))


@pytest.mark.parametrize("name", ["l2", "loss", "random"])
def test_what_is_of_one_sample_alone_is_taken_over_all_folds(gradients: Gradients, name: str) -> None:
    unseen = planted(7)
    score = make_detector(f"oof:{name}").fit_score(replace(gradients, out_of_fold=replace(unseen, fold=np.arange(N) % 2)), seed=2)
    assert np.array_equal(score, make_detector(name).fit_score(unseen, seed=2))


def test_a_seed_gives_the_same_folds_and_another_others(gradients: Gradients) -> None:
    first, again, other = (make_detector("oof:loss").fit_score(gradients, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_models_own_outputs_have_no_say(gradients: Gradients) -> None:
    other = replace(gradients, logits=np.zeros_like(gradients.logits))
    assert np.array_equal(make_detector("oof:loss").fit_score(other), make_detector("oof:loss").fit_score(gradients))


def test_other_samples_than_those_fitted_to_are_refused(gradients: Gradients) -> None:
    detector = make_detector("oof:l1").fit(gradients)
    for others in (planted(1), gradients.take(np.arange(10))):
        with pytest.raises(InputError, match="oof:l1 scores only the samples it was fitted to"):
            detector.score_samples(others)


def test_without_a_head_there_is_nothing_to_fit_again(gradients: Gradients) -> None:
    headless = replace(gradients, features=None, feature_norms=None)
    with pytest.raises(InputError, match="not the output of one linear layer, so there is no head to fit again"):
        make_detector("oof:loss").fit(headless)
