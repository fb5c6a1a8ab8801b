"""Sketches: unbiased, seeded, the same whatever is computed beside them, and as precise as they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients
from oga_core.gradients.sketch import FACTOR, KERNEL_FACTORS, Fold, Kronecker, projection

SHAPES = [(7,), (30, 40), (200, 90), (96, 40, 3, 3), (64, 64, 5)]


def gradients(shape: tuple[int, ...], n: int = 3) -> Tensor:
    """Gradients of a few outer products, as real ones are."""
    torch.manual_seed(0)
    if len(shape) == 1:
        return torch.randn(n, *shape, dtype=torch.float64)
    left, right = torch.randn(n, 4, shape[0]), torch.randn(n, 4, int(np.prod(shape[1:])))
    return torch.einsum("ntp,ntd->npd", left, right).reshape(n, *shape).double()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["kronecker", "sign_fold"])
def test_inner_products_are_unbiased(kind: str, shape: tuple[int, ...]) -> None:
    g = gradients(shape)
    true = (g.flatten(1) @ g.flatten(1).T).numpy()
    found = []
    for seed in range(300):
        s = projection("w", shape, g, width=64, seed=seed, kind=kind).dense(g)
        found.append((s @ s.T).numpy())
    error = np.mean(found, 0) - true
    spread = np.std(found, 0) / np.sqrt(len(found))
    assert (np.abs(error) < 4.5 * spread + 1e-9 * np.abs(true).max()).all()


@pytest.mark.parametrize("width", [64, 256, 1024])
def test_a_fold_has_the_variance_that_is_promised(width: int) -> None:
    g = torch.randn(2, 3000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a, b = g[0], 0.5 * g[0] + g[1]
    true = float(a @ b)
    sketches = [projection("w", (3000,), g, width=width, seed=s).dense(torch.stack([a, b])) for s in range(400)]
    variance = float(np.mean([(float(s[0] @ s[1]) - true) ** 2 for s in sketches]))
    assert variance < 1.25 * 2 * float(a @ a) * float(b @ b) / width


def test_a_gradient_no_longer_than_the_fold_keeps_its_norm_exactly() -> None:
    g = gradients((500,))
    s = projection("w", (500,), g, width=512, seed=3).dense(g)
    torch.testing.assert_close(s @ s.T, g @ g.T)


def test_a_side_no_longer_than_its_factor_is_not_projected() -> None:
    found = projection("w", (FACTOR, 3000), gradients((2, 3)), width=512, seed=0)
    assert isinstance(found, Kronecker)
    assert found.row_directions is None
    assert found.column_directions is not None
    kernel = projection("w", (KERNEL_FACTORS[0], 600, 3, 3), gradients((2, 3)), width=512, seed=0)
    assert isinstance(kernel, Kronecker)
    assert kernel.row_directions is None


def test_directions_are_orthogonal_and_scaled() -> None:
    found = projection("w", (300, 200), gradients((2, 3)), width=512, seed=0)
    assert isinstance(found, Kronecker)
    assert found.row_directions is not None
    d = found.row_directions
    torch.testing.assert_close(d.T @ d, torch.eye(FACTOR, dtype=torch.float64) * 300 / FACTOR)


def test_small_parameters_and_vectors_are_folded() -> None:
    for shape in ((100_000,), (64, 128), (8, 4096), (4096, 16)):
        assert isinstance(projection("w", shape, torch.zeros(1), width=64, seed=0), Fold)
    for shape in ((65, 128), (64, 3000)):
        assert isinstance(projection("w", shape, torch.zeros(1), width=64, seed=0), Kronecker)
    assert isinstance(projection("w", (65, 128), torch.zeros(1), width=64, seed=0, kind="sign_fold"), Fold)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), width=st.integers(1, 600), shape=st.sampled_from(SHAPES))
def test_a_sketch_is_linear_and_the_same_for_the_same_seed(seed: int, width: int, shape: tuple[int, ...]) -> None:
    g = gradients(shape)
    one, two = (projection("w", shape, g, width=width, seed=seed) for _ in range(2))
    s = one.dense(g)
    assert s.shape == (3, width)
    assert torch.equal(s, two.dense(g))
    torch.testing.assert_close(one.dense(g[:1] - 2 * g[1:2]), s[:1] - 2 * s[1:2])


def test_seeds_and_names_give_other_projections() -> None:
    g = gradients((40, 300))
    sketches = [projection(name, (40, 300), g, width=64, seed=seed).dense(g) for name in ("a", "b") for seed in (0, 1)]
    for i in range(4):
        for j in range(i):
            assert not torch.allclose(sketches[i], sketches[j])


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40 * 36, 70), nn.ReLU(), nn.Linear(70, 4)
    ).double()


X, Y = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(12) % 4


def sketch(x: Tensor = X, y: Tensor = Y, scope: str = "all", **options: bool | int | str) -> np.ndarray:
    found = PerSampleGradients(model(), scope, width=256, **options)(x, y).sketch  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_sketch_does_not_depend_on_the_batch_or_on_what_is_asked_beside_it() -> None:
    whole = sketch()
    backwards = torch.arange(11, -1, -1)
    np.testing.assert_allclose(sketch(X[:5], Y[:5]), whole[:5], rtol=1e-9)
    np.testing.assert_allclose(sketch(X[backwards], Y[backwards]), whole[::-1], rtol=1e-9)
    np.testing.assert_allclose(sketch(l1=False, l2=False), whole, rtol=1e-9)
    np.testing.assert_allclose(sketch(l1=False), whole, rtol=1e-9)


def test_the_sketch_of_a_scope_is_the_sum_over_its_parts() -> None:
    np.testing.assert_allclose(sketch(scope="0.*") + sketch(scope="3.*") + sketch(scope="5.*"), sketch(), rtol=1e-9, atol=1e-12)


def test_the_reference_and_the_quick_sketch_agree_with_the_gradients() -> None:
    net = model()
    true = []
    for i in range(12):
        loss = nn.functional.cross_entropy(net(X[i : i + 1]), Y[i : i + 1])
        true.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]))
    g = torch.stack(true)
    cosines = (g @ g.T / g.norm(dim=1)[:, None] / g.norm(dim=1)).numpy()
    for kind in ("kronecker", "sign_fold"):
        s = sketch(kind=kind)
        found = s @ s.T / np.linalg.norm(s, axis=1)[:, None] / np.linalg.norm(s, axis=1)
        assert np.sqrt(np.mean((found - cosines) ** 2)) < 0.12


def test_a_sketch_in_another_precision_is_the_same_to_its_digits() -> None:
    found = PerSampleGradients(model().float(), width=256)(X.float(), Y).sketch
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, sketch(), rtol=2e-3, atol=1e-4 * np.abs(sketch()).max())


def test_no_width_gives_no_sketch_and_bad_settings_are_refused() -> None:
    assert PerSampleGradients(model(), width=0)(X, Y).sketch is None
    with pytest.raises(InputError, match="unknown kind of sketch 'fft'; there are: kronecker, sign_fold"):
        PerSampleGradients(model(), kind="fft")
    with pytest.raises(InputError, match="a sketch cannot have the width -1"):
        PerSampleGradients(model(), width=-1)
