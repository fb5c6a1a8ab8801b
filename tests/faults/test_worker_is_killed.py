"""Faults 1, 7 and 13 as the page meets them: the process that scores is killed, and goes on at a click."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from oga_core import Workspace, worker
from oga_core.runs import Run
from oga_core.scoring import prepare

SECONDS = 120.0
SLOW = """
import pathlib, time
from torch import nn, manual_seed
class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
    def forward(self, x):
        if len(x) == 64 and pathlib.Path("slow").exists():
            time.sleep(1)
        return self.head(x)
def make():
    manual_seed(0)
    return Slow()
"""


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def process_of(run: Run) -> int:
    with sqlite3.connect(run.workspace.database) as connection:
        return int(connection.execute("SELECT pid FROM jobs WHERE run = ? AND kind = 'score'", (run.id,)).fetchone()[0])


def test_a_killed_worker_is_told_on_the_page_and_goes_on_at_a_click(
    workspace: Workspace, open_page: Callable[..., AppTest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow_model.py").write_text(SLOW)
    (tmp_path / "slow").touch()
    y = np.arange(640) % 2
    np.savez("data.npz", x=np.random.default_rng(0).normal(size=(640, 3)) + y[:, None], y=y)
    run = prepare(workspace, tmp_path / "data.npz", model="slow_model:make", detectors="l1", title="slow")
    worker.start(run, "score")
    wait_until(lambda: run.status().stage == "scoring")
    os.kill(process_of(run), signal.SIGKILL)
    wait_until(lambda: run.status().state == "failed")
    at = open_page("start", run=run.id)
    assert "SIGKILL" in at.error[0].value or "it was killed" in at.error[0].value
    (tmp_path / "slow").unlink()
    again = at.button(key="again_score")
    assert again.label == "Continue"
    again.click().run()
    assert not at.exception
    wait_until(lambda: run.status().finished)
    assert run.status().state == "done", run.status().message
    assert len(run.table) == 640
    assert not run.begun
