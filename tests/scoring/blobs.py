"""Three blobs of features with wrong labels, a model fitted to them, and its run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import oga_core as oga
from oga_core.data import Dataset
from oga_core.runs import Run
from oga_core.scoring import score

COLUMNS = [
    "sample_id",
    "index",
    "source",
    "label",
    "predicted",
    "loss",
    "confidence",
    "recommended",
    "l1",
    "l2",
    "iforest",
    "random",
    "low_confidence",
    "suggested_label",
    "suggested_label_source",
]
"""The loss is a control too, in the one column of that name."""

N, FLIPS, NAMES = 330, 20, ["ant", "bee", "cat"]


def blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, given labels (the first `FLIPS` are wrong) and true labels."""
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    given = true.copy()
    given[:FLIPS] = (true[:FLIPS] + rng.integers(1, 3, FLIPS)) % 3
    return (rng.normal(size=(N, 5)) + 4 * np.eye(5)[true]).astype(np.float32), given, true


X, GIVEN, TRUE = blobs()


def data(rows: np.ndarray | slice = slice(None)) -> Dataset:
    return oga.from_arrays(X[rows], GIVEN[rows], NAMES)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    """An MLP fitted to the given labels."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(GIVEN)).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def run(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The scoring that most tests look at."""
    return score(module, data(), workspace=tmp_path_factory.mktemp("workspace"))


def by_id(run: Run) -> pd.DataFrame:
    return run.table.set_index("sample_id").sort_index()
