"""A run of as many samples as one likes, scored like any other: for timings, and to look at the pages with."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from oga_core.data import Dataset, from_arrays
from oga_core.progress import Progress, silent
from oga_core.runs import Run, Workspace
from oga_core.scoring import score

WRONG = 0.05
"""Share of the labels that are drawn anew."""
TRAINED_ON, STEPS, WIDTH = 20_000, 300, 32


def big_run(workspace: Workspace, samples: int, seed: int = 0, progress: Progress = silent) -> Run:
    """Score digits of 8 × 8 pixels with the head of a small model; about a minute for 500,000.

    Parameters
    ----------
    samples
        How many digits, some of them under a wrong label.
    """
    dataset = digits(samples, seed)
    return score(
        _model(dataset, seed),
        dataset,
        detectors="l1,l2,iforest",
        seed=seed,
        workspace=workspace,
        title=f"{samples:,} digits",
        transform=_encode,
        progress=progress,
    )


def digits(samples: int, seed: int = 0) -> Dataset:
    """Handwritten digits (those of scikit-learn) laid over others of their class, with noise: no two are the same."""
    rng = np.random.default_rng(seed)
    found = load_digits()
    images, classes = found.images.astype(np.float32) * (255 / 16), found.target
    of_class = [np.flatnonzero(classes == c) for c in range(10)]
    labels = rng.integers(0, 10, samples)
    pixels = np.empty((samples, 8, 8), np.uint8)
    for start in range(0, samples, 100_000):
        true = labels[start : start + 100_000]
        one, other = (np.array([of_class[c][0] for c in range(10)])[true] for _ in range(2))
        for c in range(10):
            rows = np.flatnonzero(true == c)
            one[rows], other[rows] = rng.choice(of_class[c], (2, len(rows)))
        share = rng.uniform(0, 0.5, (len(true), 1, 1)).astype(np.float32)
        noisy = images[one] * (1 - share) + images[other] * share + 16 * rng.standard_normal((len(true), 8, 8), np.float32)
        pixels[start : start + 100_000] = noisy.clip(0, 255)
    wrong = rng.random(samples) < WRONG
    labels[wrong] = rng.integers(0, 10, int(wrong.sum()))
    return from_arrays(pixels, labels, [str(c) for c in range(10)])


def _encode(image: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image)[..., 0].astype(np.float32).ravel() / 255)


def _model(dataset: Dataset, seed: int) -> nn.Module:
    """A small network, trained on the first samples."""
    some = range(min(TRAINED_ON, len(dataset)))
    inputs = torch.stack([_encode(dataset.load(i)) for i in some])
    labels = torch.from_numpy(dataset.labels[: len(inputs)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(STEPS):
            rows = torch.randint(len(inputs), (256,))
            optimizer.zero_grad()
            functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return module
