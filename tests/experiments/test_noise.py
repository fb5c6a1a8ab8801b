"""Noise that is made on purpose has the promised rates, and is the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from oga_core.experiments.noise import confusions, flip_by_class, flip_each, flip_uniformly

LABELS = np.random.default_rng(1).integers(0, 5, 4000)
Flip = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


@pytest.mark.parametrize("flip", [flip_uniformly, flip_by_class])
def test_the_same_for_a_seed_and_the_labels_given_are_left_alone(flip: Flip) -> None:
    before = LABELS.copy()
    first, again, other = (flip(LABELS, 5, 0.2, np.random.default_rng(s)) for s in (3, 3, 4))
    assert np.array_equal(LABELS, before)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(np.unique(first)) <= set(range(5))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_uniform_flips_are_exactly_the_share_and_go_everywhere(share: float) -> None:
    noisy = flip_uniformly(LABELS, 5, share, np.random.default_rng(0))
    assert (noisy != LABELS).sum() == round(share * 4000)
    if share:
        steps = np.bincount((noisy - LABELS)[noisy != LABELS] % 5, minlength=5)
        assert steps[0] == 0
        assert steps[1:].min() > 0.8 * steps[1:].mean()


def test_class_dependent_flips_have_the_share_in_every_class_and_its_distribution() -> None:
    labels = np.repeat(np.arange(4), 5000)
    noisy = flip_by_class(labels, 4, 0.3, np.random.default_rng(0))
    for c in range(4):
        wrong = noisy[(labels == c) & (noisy != labels)]
        assert len(wrong) == 1500
        np.testing.assert_allclose(np.bincount(wrong, minlength=4) / 1500, confusions(4)[c], atol=0.04)


def test_what_a_class_is_taken_for_is_drawn_once_and_for_all() -> None:
    table = confusions(10)
    assert np.array_equal(table, confusions(10))
    np.testing.assert_allclose(table.sum(1), 1)
    assert (np.diag(table) == 0).all()
    assert table.max(1).min() > 0.15  # far from uniform


def test_as_many_of_each_class_are_turned() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 250)
    noisy = flip_each(labels, 10, np.random.default_rng(1))
    assert [(labels[noisy != labels] == c).sum() for c in (0, 1)] == [10, 10]
