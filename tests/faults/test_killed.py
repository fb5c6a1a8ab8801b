"""Faults 2, 3 and 7: processes that are killed while they decide or export, and memory that runs out."""

from __future__ import annotations

import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oga_core import export, from_arrays
from oga_core.review import decide
from oga_core.runs import Run, Workspace
from oga_core.scoring import score
from tests.faults import killed_reviews
from tests.faults.killed import fork, killed_after


# ---- 3 -------------------------------------------------------------------------------------------------------------------------
def test_nothing_that_was_acknowledged_is_lost_when_a_review_is_killed(tmp_path: Path) -> None:
    told = killed_reviews.rounds(30, tmp_path)
    assert told.lost == []
    assert told.acknowledged > 15
    assert str(told) == f"rounds: 30, decisions acknowledged: {told.acknowledged:,}, lost: 0"


@pytest.mark.parametrize("kind", ["never written", "half written"])
def test_what_is_acknowledged_and_not_there_would_be_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(run: Run, samples: object, action: str, **options: object) -> int:
        if kind == "half written":
            decide(run, samples.iloc[: len(samples) // 2], action, **options)  # type: ignore[attr-defined, arg-type]
        return 1

    monkeypatch.setattr(killed_reviews, "decide", lying)
    told = killed_reviews.rounds(4, tmp_path, seed=1)
    assert told.lost


# ---- 2 -------------------------------------------------------------------------------------------------------------------------
def test_a_kill_while_exporting_leaves_the_old_file_whole_or_the_new_one(run: Run, tmp_path: Path) -> None:
    moments, out = random.Random(0), tmp_path / "out.csv"
    versions = []
    for rows in (2, 4):
        decide(run, run.table.iloc[:rows], "remove", reviewer="ann")
        export(run, "removed", "csv", out)
        versions.append(out.read_bytes())
    decide(run, run.table.iloc[2:4], "keep", reviewer="ann")
    found = []
    for i in range(20):

        def write(pipe: int, i: int = i) -> None:
            for n in range(i, 10_000):
                decide(run, run.table.iloc[2:4], ("remove", "keep")[n % 2], reviewer="ann")
                export(run, "removed", "csv", out)
                os.write(pipe, b"exported\n")

        killed_after(moments.uniform(0, 0.05), write, begun=True)
        found.append(versions.index(undated(out, versions)))
    assert set(found) == {0, 1}


def undated(out: Path, versions: list[bytes]) -> bytes:
    """Which of the versions a file is, whenever its decisions were taken; the file itself where it is none."""
    rows = out.read_bytes().count(b"\n")
    same = [v for v in versions if v.count(b"\n") == rows and out.read_bytes().endswith(b"\n") and len(v) == out.stat().st_size]
    return same[0] if same else out.read_bytes()


# ---- 7 -------------------------------------------------------------------------------------------------------------------------
class Hungry(nn.Module):
    """Takes 24 MB a sample, and 4 GB for one whose first feature is above 100."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        size = int((torch.where(x[:, 0] > 100, 4096, 24) << 20).sum())
        room = torch.ones(size, dtype=torch.uint8)
        return self.head(x.clamp(-10, 10) + 0 * room[:1])


def test_a_batch_that_memory_does_not_suffice_for_is_halved_and_a_sample_alone_is_listed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(128, 4)).astype(np.float32)
    x[[70, 90], 0] = 1000
    torch.manual_seed(0)
    hungry = Hungry()
    with torch.no_grad():
        logits = hungry.head(torch.from_numpy(x).clamp(-10, 10))
    data = from_arrays(x, np.arange(128) % 2)

    def work() -> None:
        taken = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) << 10
        most = taken + (640 << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        score(hungry, data, detectors="l1", workspace=tmp_path)

    child = fork.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    (run,) = Workspace(tmp_path).runs()
    assert run.status().state == "done"
    assert run.not_scored["index"].tolist() == [70, 90]
    assert set(run.not_scored["reason"]) == {"needs more memory than there is"}
    assert run.table["index"].tolist() == [i for i in range(128) if i not in (70, 90)]
    loss = nn.functional.cross_entropy(logits.double(), torch.arange(128) % 2, reduction="none")
    np.testing.assert_allclose(run.table["loss"], loss[run.table["index"].tolist()], rtol=1e-4)
