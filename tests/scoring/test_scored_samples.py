"""ScoredSamples: parts join to the whole, some can be taken, and detectors see the gradients that the arrays hold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from oga_core.detectors import of_units
from oga_core.gradients.factors import Factors, unit_rows
from oga_core.scoring.scored_samples import ScoredSamples

KINDS = ("head", "beyond the head", "no head", "no classes")


def drawn(n: int, kind: str, seed: int = 0) -> ScoredSamples:
    """Arrays as a pass gives them for the scope ``head``, a wider scope, a model without one head, a language model."""
    rng = np.random.default_rng(seed)
    optional: dict[str, Any] = {}
    targets = rng.integers(0, 3, n)
    if kind != "no classes":
        best, other = rng.integers(0, 3, n), rng.integers(0, 3, n)
        optional |= {"logits": rng.normal(size=(n, 3)).astype(np.float32), "predicted": best, "best_other": other}
    if kind in ("head", "beyond the head"):
        optional["features"], optional["feature_norms"] = unit_rows(rng.normal(size=(n, 5)))
    if kind == "head":
        optional["residuals"], optional["residual_norms"] = unit_rows(rng.normal(size=(n, 3)))
    else:
        optional["sketches"], optional["sketch_norms"] = unit_rows(rng.normal(size=(n, 8)))
    ids = np.array([f"{i:032x}" for i in rng.permutation(n)])
    return ScoredSamples(rng.permutation(n), ids, targets, rng.random(n), rng.random(n), rng.random(n), **optional)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@given(n=st.integers(1, 30), kind=st.sampled_from(KINDS), data=st.data())
def test_parts_join_to_the_whole(n: int, kind: str, data: st.DataObject) -> None:
    whole = drawn(n, kind)
    cuts = sorted(data.draw(st.sets(st.integers(0, n), max_size=4)) | {0, n})
    parts = [whole.take(np.arange(a, b)) for a, b in pairwise(cuts)]
    assert sum(map(len, parts)) == len(whole) == n
    assert_equal(ScoredSamples.concat(parts).arrays(), whole.arrays())


@given(kind=st.sampled_from(KINDS), rows=st.lists(st.integers(0, 9), max_size=20))
def test_take_returns_the_rows_in_the_order_wanted(kind: str, rows: list[int]) -> None:
    whole = drawn(10, kind)
    taken = whole.take(np.array(rows, dtype=int))
    assert_equal(taken.arrays(), {name: values[rows] for name, values in whole.arrays().items()})
    mask = np.isin(np.arange(10), rows)
    assert whole.take(mask).index.tolist() == whole.index[mask].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_arrays_make_the_same_samples_again(kind: str) -> None:
    whole = drawn(7, kind)
    assert_equal(ScoredSamples(**whole.arrays()).arrays(), whole.arrays())


def test_gradients_of_the_head_are_the_products_of_residual_and_feature() -> None:
    samples = drawn(12, "head")
    gradients = samples.gradients()
    assert samples.residuals is not None
    assert samples.features is not None
    residuals, features = gradients.factors.block(slice(None))
    np.testing.assert_array_equal(gradients.factors.residuals, samples.residuals)
    np.testing.assert_array_equal(gradients.factors.features, samples.features)
    assert residuals.shape == (12, 3)
    assert features.shape == (12, 5)
    assert gradients.l2 is samples.l2
    assert gradients.classes == 3


@pytest.mark.parametrize("kind", KINDS[1:])
def test_gradients_beyond_the_head_are_their_sketches(kind: str) -> None:
    samples = drawn(12, kind)
    gradients = samples.gradients()
    assert samples.sketches is not None
    assert samples.sketch_norms is not None
    residuals, sketches = gradients.factors.block(slice(None))
    np.testing.assert_array_equal(residuals, np.ones((12, 1), np.float32))
    np.testing.assert_array_equal(sketches, samples.sketches.astype(np.float32) * samples.sketch_norms[:, None])
    assert gradients.classes == (0 if kind == "no classes" else 3)
    if kind == "no classes":
        np.testing.assert_array_equal(gradients.losses, samples.loss)


def test_out_of_fold_gradients_are_passed_on() -> None:
    samples = drawn(6, "head")
    assert samples.features is not None
    assert samples.feature_norms is not None
    assert samples.logits is not None
    other = of_units(samples.logits, samples.features, samples.feature_norms, samples.targets)
    assert samples.gradients(other).out_of_fold is other


def test_factors_from_vectors_have_the_cosines_and_lengths_of_the_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 4))
    factors = Factors.from_vectors(*unit_rows(vectors))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(factors.cosines(3), unit @ unit[3], atol=2e-3)
    residuals, features = factors.block(slice(None))
    np.testing.assert_allclose(residuals * features, vectors, rtol=2e-3, atol=1e-3)
