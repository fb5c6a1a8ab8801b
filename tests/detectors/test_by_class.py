"""Class-conditional scores against a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from oga_core.detectors import Gradients, flag_rows, make_detector, of_head


def lengths(features: list[float], labels: list[int], classes: int = 3) -> Gradients:
    """Gradients of a model without an opinion: their norm is the feature times a constant."""
    return of_head(np.zeros((len(labels), classes)), np.array(features)[:, None], np.array(labels))


def test_a_score_is_the_share_of_the_class_that_scores_lower() -> None:
    # Class 0: 1, 4, 4, 9; class 1: 1000, 200.
    gradients = lengths([9, 1000, 4, 1, 200, 4], [0, 1, 0, 0, 1, 0])
    score = make_detector("by_class:l2").fit_score(gradients)
    assert score.dtype == np.float64
    assert score.tolist() == [3.5 / 4, 1.5 / 2, 2 / 4, 0.5 / 4, 0.5 / 2, 2 / 4]  # itself counts half, and so does a tie


def test_others_are_placed_among_those_it_was_fitted_to() -> None:
    detector = make_detector("by_class:l2").fit(lengths([9, 1000, 4, 1, 200, 4], [0, 1, 0, 0, 1, 0]))
    unseen = lengths([0.5, 4, 5, 100, 300, 5000, 7], [0, 0, 0, 0, 1, 1, 2])
    assert detector.score_samples(unseen).tolist() == [0, 2 / 4, 3 / 4, 1, 1 / 2, 1, 0.5]


def test_a_class_of_one_sample_is_in_the_middle() -> None:
    score = make_detector("by_class:l2").fit_score(lengths([1, 2, 1e6], [0, 0, 2]))
    assert score.tolist() == [0.25, 0.75, 0.5]


@pytest.mark.parametrize("name", ["l1", "loss", "iforest", "ocsvm"])
def test_classes_are_flagged_in_proportion(name: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [400, 150, 50])
    # Class 2 has much the longest gradients, and the largest losses.
    features, logits = rng.normal(size=(600, 5)) * (1 + 3.0 * labels[:, None]), rng.normal(size=(600, 3)) - 2.0 * np.eye(3)[2]
    gradients = of_head(logits, features, labels)
    by_class = flag_rows(make_detector(f"by_class:{name}").fit_score(gradients), 0.1)
    assert np.abs(np.bincount(labels[by_class], minlength=3) - [40, 15, 5]).max() <= 3
    plain = flag_rows(make_detector(name).fit_score(gradients), 0.1)
    assert np.bincount(labels[plain], minlength=3)[2] > 15


def test_the_order_within_a_class_is_that_of_the_detector_fitted_to_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    gradients = of_head(rng.normal(size=(300, 3)), rng.normal(size=(300, 5)), labels)
    score = make_detector("by_class:ocsvm").fit_score(gradients, seed=4)
    for label in range(3):
        rows = np.flatnonzero(labels == label)
        alone = make_detector("ocsvm").fit_score(gradients.take(rows), seed=4)
        assert np.array_equal(np.argsort(score[rows]), np.argsort(alone))
