"""Networks that are trained together are the ones that PyTorch trains alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from oga_core.experiments.toy_network import DECAY, RATE, Networks, fit
from oga_core.progress import silent

M, N, EPOCHS = 5, 40, 300


def stacked() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(M, N, 2))
    labels = (points.sum(2) + rng.normal(size=(M, N)) > 0).astype(np.int64)
    kept = rng.random((M, N)) < 0.8
    return points, labels, kept


def alone(network: Networks, points: np.ndarray, labels: np.ndarray) -> nn.Module:
    """The same network as a module, trained by PyTorch."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), network.values):
            parameter.copy_(value[0].reshape(parameter.shape))
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE, weight_decay=DECAY)
    x, y = torch.from_numpy(points), torch.from_numpy(labels).double()
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(module(x)[:, 0], y).backward()
        optimizer.step()
    return module


def test_each_is_trained_as_if_it_were_alone_on_its_own_samples() -> None:
    points, labels, kept = stacked()
    start = Networks.drawn(np.arange(M))
    fitted = fit(start, points, labels, kept, EPOCHS, silent)
    for i in range(M):
        module = alone(start.one(i), points[i][kept[i]], labels[i][kept[i]])
        logits, features = fitted.one(i).run_alone(points[i])
        x = torch.from_numpy(points[i])
        with torch.no_grad():
            np.testing.assert_allclose(logits, module(x)[:, 0].numpy(), atol=1e-9)
            np.testing.assert_allclose(features, module[:-1](x).numpy(), atol=1e-9)  # type: ignore[index]


def test_training_leaves_the_start_as_it_is_and_changes_the_rest() -> None:
    points, labels, kept = stacked()
    start = Networks.drawn(np.arange(M))
    before = [v.clone() for v in start.values]
    fitted = fit(start, points, labels, kept, 5, silent)
    assert all(torch.equal(a, b) for a, b in zip(before, start.values))
    assert not torch.equal(fitted.values[0], start.values[0])


def test_weights_are_drawn_by_each_networks_seed_within_the_usual_bounds() -> None:
    some, other = Networks.drawn(np.array([3, 4])), Networks.drawn(np.array([4, 3]))
    assert all(torch.equal(a[0], b[1]) and torch.equal(a[1], b[0]) for a, b in zip(some.values, other.values))
    many = Networks.drawn(np.arange(500)).values
    assert all(0.6 < float(v.abs().max()) <= 2**-0.5 for v in many)


def test_one_run_gives_what_each_network_gives() -> None:
    networks = Networks.drawn(np.arange(M))
    points = np.random.default_rng(0).normal(size=(7, 2))
    logits, features = networks.run(points)
    assert (logits.shape, features.shape) == ((M, 7), (M, 7, 2))
    for i in range(M):
        np.testing.assert_allclose(networks.one(i).run_alone(points)[0], logits[i])
