"""Stored factors against the gradients themselves: norms, cosines, neighbours, sketches, and memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from oga_core.gradients import Factors, factors, find_nearest, unit_rows


def random_factors(n: int, classes: int = 4, d: int = 6, seed: int = 0) -> tuple[Factors, np.ndarray]:
    """Factors, and the unit gradients they stand for, float64, shape ``(n, classes × d)``."""
    rng = np.random.default_rng(seed)
    residuals, residual_norms = unit_rows(rng.normal(size=(n, classes)) * rng.uniform(0.1, 1, (n, 1)))
    features, feature_norms = unit_rows(rng.normal(size=(n, d)) * rng.uniform(0.1, 50, (n, 1)))
    made = Factors(residuals, features, residual_norms, feature_norms)
    return made, np.einsum("nc,nd->ncd", residuals.astype(float), features.astype(float)).reshape(n, -1)


def test_unit_rows_survive_norms_that_float16_does_not() -> None:
    directions = np.random.default_rng(0).normal(size=(6, 512))
    norms = np.array([7e4, 1e-8, 1.0, 1e30, 1e-30, 0.0])
    vectors = directions / np.linalg.norm(directions, axis=1, keepdims=True) * norms[:, None]
    unit, kept = unit_rows(vectors)
    assert (unit.dtype, kept.dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(kept, norms, rtol=1e-6)
    np.testing.assert_allclose(unit[:5].astype(float), vectors[:5] / norms[:5, None], rtol=1e-3, atol=1e-7)
    assert not unit[5].any()


def test_a_block_gives_the_vectors_back_with_their_norms() -> None:
    rng = np.random.default_rng(0)
    r, h = rng.normal(size=(9, 3)), 40 * rng.normal(size=(9, 5))
    (unit_r, norms_r), (unit_h, norms_h) = unit_rows(r), unit_rows(h)
    made = Factors(unit_r, unit_h, norms_r, norms_h)
    assert (len(made), made.width) == (9, 15)
    for rows in (slice(2, 6), np.array([8, 0])):
        residuals, features = made.block(rows)
        np.testing.assert_allclose(residuals, r[rows], rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(features, h[rows], rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("block", [4096, 7])
def test_cosines_and_neighbours_are_those_of_the_gradients(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "BLOCK", block)
    made, unit = random_factors(60)
    true = unit @ unit.T
    for row in (0, 31, 59):
        np.testing.assert_allclose(made.cosines(row), true[row], atol=1e-5)
        rows, cosines = made.neighbours(row, 5)
        others = np.delete(np.arange(60), row)
        assert rows.tolist() == others[np.argsort(-true[row, others])][:5].tolist()
        np.testing.assert_allclose(cosines, true[row, rows], atol=1e-5)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5, 7])
def test_the_largest_values_come_in_their_order_and_equal_ones_in_that_of_their_places(k: int) -> None:
    values = np.array([1, 3, 2, 3, 3, -np.inf, 2], np.float32)
    assert factors.find_largest(values, k).tolist() == [1, 3, 4, 2, 6, 0, 5][:k]


def test_there_are_no_more_neighbours_than_other_samples() -> None:
    made, _ = random_factors(3)
    assert sorted(made.neighbours(1, 10)[0].tolist()) == [0, 2]
    assert random_factors(1)[0].neighbours(0, 5)[0].tolist() == []


def test_the_nearest_of_another_set_are_those_of_brute_force() -> None:
    (queries, q), (among, a) = random_factors(300, seed=1), random_factors(90, seed=2)
    indices, cosines = find_nearest(queries, among, 4)
    true = q @ a.T
    assert np.array_equal(indices, np.argsort(-true, axis=1)[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-true, axis=1)[:, :4], atol=1e-5)
    assert find_nearest(queries, among, 500)[0].shape == (300, 90)


def test_sketches_have_unbiased_inner_products() -> None:
    made, unit = random_factors(6, classes=3, d=5)
    drawn = np.stack([(s := made.sketch(8, seed)) @ s.T for seed in range(800)])
    error = drawn.mean(0) - unit @ unit.T
    standard_error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(error) < 4.5 * standard_error).all()
    assert standard_error.max() < 0.05


def test_a_wide_sketch_is_close_and_a_seed_gives_the_same() -> None:
    made, unit = random_factors(20)
    sketch = made.sketch(8192, 3)
    assert (sketch.dtype, sketch.shape) == (np.float32, (20, 8192))
    assert np.abs(sketch @ sketch.T - unit @ unit.T).max() < 0.15
    assert np.array_equal(sketch, made.sketch(8192, 3))
    assert not np.array_equal(sketch, made.sketch(8192, 4))


def test_blocks_and_memory_maps_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = random_factors(50)
    whole = made.sketch(16, 0)
    arrays = (made.residuals, made.features, made.residual_norms, made.feature_norms)
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    mapped = Factors(*(np.load(tmp_path / f"{i}.npy", mmap_mode="r") for i in range(4)))
    monkeypatch.setattr(factors, "BLOCK", 7)
    np.testing.assert_allclose(mapped.sketch(16, 0), whole, atol=1e-6)
    assert np.array_equal(mapped.neighbours(3, 5)[0], made.neighbours(3, 5)[0])


def test_a_sketch_never_needs_the_gradients_in_memory() -> None:
    made, _ = random_factors(2, classes=200, d=1000)
    rows = np.zeros(3000, np.int64)
    many = Factors(made.residuals[rows], made.features[rows], made.residual_norms[rows], made.feature_norms[rows])
    tracemalloc.start()
    try:
        many.sketch(32, 0)
        many.cosines(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6 < 4 * len(many) * many.width / 10
