"""The paper's 2-2-2-1 network, many at a time: full-batch Adam by stacked matrices, each network as if it were alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oga_core.progress import Progress

EPOCHS, RATE, DECAY = 5000, 1e-3, 1e-4


@dataclass
class Networks:
    """Weights of m networks with two hidden layers of two ReLUs and one logit.

    Attributes
    ----------
    values
        Weight and bias of the three layers in turn, float64, shapes ``(m, out, in)`` and ``(m, out, 1)``.
    """

    values: list[Tensor]

    @classmethod
    def drawn(cls, seeds: np.ndarray) -> Networks:
        """As `torch.nn.Linear` draws them, from each network's own seed: uniform in ±1/√in."""
        bound = 2**-0.5
        shapes = [(2, 2), (2, 1), (2, 2), (2, 1), (1, 2), (1, 1)]
        draws = [np.random.default_rng(int(seed)) for seed in seeds]
        values = [np.stack([rng.uniform(-bound, bound, shape) for rng in draws]) for shape in shapes]
        return cls([torch.from_numpy(v) for v in values])

    def one(self, index: int) -> Networks:
        """One of the networks."""
        return Networks([v[index : index + 1] for v in self.values])

    def run(self, points: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Logits and inputs of the last layer.

        Parameters
        ----------
        points
            float64, shape ``(m, n, 2)``, or ``(n, 2)`` for all networks.

        Returns
        -------
        tuple
            float64, shapes ``(m, n)`` and ``(m, n, 2)``.
        """
        w1, b1, w2, b2, w3, b3 = self.values
        hidden = torch.relu(w2 @ torch.relu(w1 @ torch.as_tensor(points).transpose(-1, -2) + b1) + b2)
        return (w3 @ hidden + b3)[:, 0].numpy(), hidden.transpose(1, 2).numpy()

    def run_alone(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a single network: logits ``(n,)`` and inputs of the last layer ``(n, 2)``."""
        logits, features = self.run(points)
        return logits[0], features[0]


@torch.no_grad()
def fit(
    networks: Networks, points: np.ndarray, labels: np.ndarray, weights: np.ndarray, epochs: int, progress: Progress
) -> Networks:
    """Minimise each network's mean cross-entropy over its own samples by Adam, rate 1e-3, weight decay 1e-4.

    Parameters
    ----------
    networks
        m of them; they are left as they are.
    points, labels
        float64, shape ``(m, n, 2)``; 0 or 1, shape ``(m, n)``.
    weights
        Which samples each is trained on, bool, shape ``(m, n)``.
    """
    values = [v.clone() for v in networks.values]
    optimizer = torch.optim.Adam(values, lr=RATE, weight_decay=DECAY)
    w1, b1, w2, b2, w3, b3 = values
    rows = torch.from_numpy(np.ascontiguousarray(points))
    x = rows.transpose(1, 2).contiguous()
    y = torch.from_numpy(labels.astype(np.float64))[:, None]
    share = torch.from_numpy(weights / weights.sum(1, keepdims=True))[:, None]
    # By hand: half the time of autograd, which is most of an experiment.
    for epoch in range(epochs):
        first = torch.baddbmm(b1, w1, x).relu_()
        second = torch.baddbmm(b2, w2, first).relu_()
        out = torch.baddbmm(b3, w3, second).sigmoid_().sub_(y).mul_(share)
        w3.grad, b3.grad = out @ second.transpose(1, 2), out.sum(2, keepdim=True)
        back = (w3.transpose(1, 2) @ out).mul_(second > 0)
        w2.grad, b2.grad = back @ first.transpose(1, 2), back.sum(2, keepdim=True)
        back = (w2.transpose(1, 2) @ back).mul_(first > 0)
        w1.grad, b1.grad = back @ rows, back.sum(2, keepdim=True)
        optimizer.step()
        if epoch % 50 == 0:
            progress("training networks", epoch, epochs)
    progress("training networks", epochs, epochs)
    for v in values:
        v.grad = None
    return Networks(values)
