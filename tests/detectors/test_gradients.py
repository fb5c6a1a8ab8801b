"""What a detector may look at, of a head: against torch.autograd one sample at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from oga_core.detectors import Gradients, gradients, of_head
from oga_core.detectors.gradients import of_units
from oga_core.gradients import unit_rows

HALF = 2e-3
"""Relative error of factors kept in float16, each within 2⁻¹¹ of its unit vector."""


def autograd(weight: np.ndarray, bias: np.ndarray, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the weight, float64, shape ``(n, classes × d)``, and losses, ``(n,)``; one sample at a time."""
    found, losses = [], []
    for h, y in zip(features, labels):
        w = torch.from_numpy(weight).requires_grad_()
        loss = F.cross_entropy(F.linear(torch.from_numpy(h), w, torch.from_numpy(bias))[None], torch.tensor([int(y)]))
        found.append(torch.autograd.grad(loss, w)[0].flatten().numpy())
        losses.append(loss.item())
    return np.stack(found), np.array(losses)


def head(n: int, classes: int, d: int, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, ...]:
    """Weight, bias, features and labels."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(classes, d)) / np.sqrt(d), rng.normal(size=classes)
    return weight, bias, scale * rng.normal(size=(n, d)), rng.integers(0, classes, n)


def written_out(made: Gradients) -> np.ndarray:
    residuals, features = (v.astype(np.float64) for v in made.factors.block(slice(None)))
    return (residuals[:, :, None] * features[:, None, :]).reshape(len(made), -1)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 6), classes=st.integers(2, 9), d=st.integers(1, 30), scale=st.floats(1e-3, 5), seed=st.integers(0, 2**31))
def test_gradients_norms_and_losses_are_those_of_autograd(n: int, classes: int, d: int, scale: float, seed: int) -> None:
    weight, bias, features, labels = head(n, classes, d, seed, scale)
    made = of_head(features @ weight.T + bias, features, labels)
    true, losses = autograd(weight, bias, features, labels)
    l2 = np.linalg.norm(true, axis=1)
    assert (len(made), made.classes, made.factors.width) == (n, classes, classes * d)
    assert (np.linalg.norm(written_out(made) - true, axis=1) <= HALF * l2).all()
    assert made.l1.dtype == made.l2.dtype == made.losses.dtype == np.float64
    np.testing.assert_allclose(made.l2, l2, rtol=HALF)
    np.testing.assert_allclose(made.l1, np.abs(true).sum(1), rtol=HALF)
    np.testing.assert_allclose(made.losses, losses, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_lengths_that_float16_does_not_hold_are_kept(scale: float) -> None:
    weight, bias, features, labels = head(5, 3, 4)
    made = of_head(features @ weight.T + bias, scale * features, labels)
    true = scale * autograd(weight, bias, features, labels)[0]
    assert (np.linalg.norm(written_out(made) - true, axis=1) <= HALF * np.linalg.norm(true, axis=1)).all()


def test_features_are_kept_as_unit_vectors_and_lengths() -> None:
    weight, bias, features, labels = head(20, 3, 6)
    logits = features @ weight.T + bias
    made = of_head(logits, features, labels)
    assert made.features is not None
    assert made.feature_norms is not None
    assert (made.features.dtype, made.feature_norms.dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(made.features * made.feature_norms[:, None], features, atol=2e-3 * np.abs(features).max())
    kept = of_units(logits, *unit_rows(features), labels)
    assert np.array_equal(kept.l1, made.l1)
    assert np.array_equal(kept.factors.residuals, made.factors.residuals)


def test_blocks_change_nothing_and_cover_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, features, labels = head(23, 4, 6)
    logits = features @ weight.T + bias
    whole = of_head(logits, features, labels)
    residuals = np.concatenate([found.residuals for _, found in whole.blocks()])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(residuals, p - np.eye(4)[labels], rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(gradients, "BLOCK", 5)
    small = of_head(logits, features, labels)
    for name in ("l1", "l2", "losses"):
        np.testing.assert_allclose(getattr(small, name), getattr(whole, name), rtol=1e-12)
    assert np.array_equal(small.factors.residuals, whole.factors.residuals)
    rows = [rows for rows, _ in small.blocks()]
    assert [(r.start, r.stop) for r in rows] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    assert all(len(found.losses) == r.stop - r.start for r, found in small.blocks())


def test_some_samples_are_taken_in_the_order_asked_for() -> None:
    weight, bias, features, labels = head(30, 4, 6)
    made = of_head(features @ weight.T + bias, features, labels)
    rows = np.array([7, 29, 7, 0])
    some = made.take(rows)
    assert (len(some), some.classes) == (4, 4)
    assert np.array_equal(written_out(some), written_out(made)[rows])
    for name in ("l1", "l2", "losses", "labels", "logits", "features", "feature_norms"):
        assert np.array_equal(getattr(some, name), getattr(made, name)[rows]), name
    by_others = replace(made, out_of_fold=replace(made, l1=2 * made.l1, fold=np.arange(30) % 3)).take(rows)
    assert by_others.fold is None
    assert by_others.out_of_fold is not None
    assert by_others.out_of_fold.fold is not None
    assert by_others.out_of_fold.fold.tolist() == [1, 2, 1, 0]
    assert np.array_equal(by_others.out_of_fold.l1, 2 * some.l1)
    headless = Gradients(made.factors, made.l1, made.l2, made.logits, made.labels).take(rows)
    assert headless.features is None
    assert headless.feature_norms is None
    assert len(made.take(np.array([], np.int64)).losses) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_and_labels_may_be_on_disk(dtype: type, tmp_path: Path) -> None:
    weight, bias, features, labels = head(12, 3, 5)
    logits = (features @ weight.T + bias).astype(dtype)
    for name, array in (("logits", logits), ("labels", labels)):
        np.save(tmp_path / f"{name}.npy", array)
    on_disk, labels_on_disk = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("logits", "labels"))
    made, whole = of_head(on_disk, features, labels_on_disk), of_head(logits, features, labels)
    assert np.array_equal(made.losses, whole.losses)
    assert np.array_equal(made.l2, whole.l2)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), logits)
