"""A run to decide on, made by hand: only ids, labels, scores and gradients of its samples matter here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oga_core.files import save_array
from oga_core.gradients import unit_rows
from oga_core.runs import Run, Workspace
from oga_core.runs.run import TABLE
from tests.summaries import make_summary


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Samples ``s0`` … ``s5``, by turns cat, dog and owl; by L1 the most suspicious are s1, s3, s5, s4, s2, s0."""
    made = Workspace(tmp_path / "workspace").new_run("six")
    labels = ["cat", "dog", "owl"] * 2
    table = pd.DataFrame(
        {"sample_id": [f"s{i}" for i in range(6)], "index": range(6), "label": labels, "predicted": ["cat"] * 3 + ["owl"] * 3}
    )
    table = table.assign(source=[f"{i}/{label}.png" for i, label in enumerate(labels)])
    table = table.assign(l1=[1.0, 6.0, 2.0, 5.0, 3.0, 4.0], loss=[5.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    angles = np.array([0, 10, 20, 90, 100, 180]) * np.pi / 180
    for name, values in (("residual", np.ones((6, 1))), ("feature", np.stack([np.cos(angles), np.sin(angles)], 1))):
        vectors, norms = unit_rows(values)
        made.add_file(f"{name}s.npy", partial(save_array, vectors))
        made.add_file(f"{name}_norms.npy", partial(save_array, norms))
    made.set_summary(make_summary(class_names=("cat", "dog", "owl"), detectors=("l1", "loss")))
    return made
