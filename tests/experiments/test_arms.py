"""The arms: all of them score, random trims have the class counts they promise, and every arm has a name and a kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from oga_core.detectors import Gradients, of_head
from oga_core.experiments import arms, paper


@given(st.integers(0, 1 << 16), st.integers(0, 60))
def test_a_random_trim_has_as_many_of_each_class_as_the_other(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 200)
    flagged = rng.choice(200, count, replace=False)
    drawn = arms.random_like(flagged, labels, seed)
    assert len(set(drawn.tolist())) == count
    assert np.array_equal(np.bincount(labels[drawn], minlength=4), np.bincount(labels[flagged], minlength=4))


def test_a_random_trim_depends_on_class_counts_and_seed_alone() -> None:
    labels = np.arange(300) % 3
    first, same_counts = np.arange(0, 30), np.arange(60, 90)
    assert np.array_equal(arms.random_like(first, labels, 1), arms.random_like(same_counts, labels, 1))
    assert not np.array_equal(arms.random_like(first, labels, 1), arms.random_like(first, labels, 2))


def test_random_trims_take_every_sample_equally_often() -> None:
    labels = np.repeat([0, 1], [30, 70])
    flagged = np.r_[np.arange(6), np.arange(30, 44)]
    times = np.bincount(np.concatenate([arms.random_like(flagged, labels, s) for s in range(1000)]), minlength=100)
    assert times.min() > 140
    assert times.max() < 260


@pytest.mark.parametrize("name", [*arms.SCORED, arms.RANDOM])
def test_every_arm_scores_and_all_but_chance_find_flips(name: str) -> None:
    rng = np.random.default_rng(0)
    true = np.arange(600) % 3
    given = true.copy()
    given[:40] = (true[:40] + 1) % 3
    features = rng.normal(size=(600, 4)) + 3 * np.eye(4)[true]

    def gradients(rows: slice, labels: np.ndarray) -> Gradients:
        return of_head(1.2 * features[rows, :3], features[rows], labels[rows])

    score = arms.score(name, gradients(slice(0, 400), given), gradients(slice(400, 600), true), 0)
    assert (score.shape, score.dtype) == ((400,), np.float64)
    found = int((np.argsort(-score)[:40] < 40).sum())
    assert found > 20 if name != arms.RANDOM else found < 15


def test_every_arm_has_a_title_and_a_kind() -> None:
    for name in (arms.UNTRIMMED, arms.RANDOM, arms.ORACLE, *arms.SCORED):
        assert arms.TITLES[name]
        assert arms.KINDS[name]
    known = {*arms.TITLES}
    for table in (paper.SYNTHETIC_ACCURACY, paper.SYNTHETIC_DETECTION, paper.VISION_ACCURACY, paper.SHIFT_ACCURACY):
        assert all(set(numbers) <= known for numbers in table.values())
