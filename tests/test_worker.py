"""The process that works for the dashboard: how it ends is in the workspace, and a cancel reaches it in any step."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oga_core import Run, Workspace, maps, worker
from oga_core.containment import machine_bytes
from oga_core.limits import READER_BYTES
from oga_core.scoring import prepare

SECONDS = 60.0
"""How long is waited for what should happen at once."""
fork = multiprocessing.get_context("fork")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    y = np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 3)) + y[:, None], y=y)
    return tmp_path / "data.npz"


def started(run: Run, folder: Path) -> subprocess.Popen[bytes]:
    """The worker, started as the dashboard starts it, where the owner's own models lie."""
    command = [sys.executable, "-P", "-m", "oga_core.worker", "score", run.id, str(run.workspace.path)]
    process = subprocess.Popen(command, cwd=folder)
    run.job("score").entered(process.pid)
    return process


def test_a_worker_does_the_job_in_a_process_of_its_own(data: Path, tmp_path: Path) -> None:
    (tmp_path / "linear.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n")
    run = prepare(Workspace(tmp_path / "workspace"), data, model="linear:make", detectors="l1")
    process = started(run, tmp_path)
    assert run.status().state == "running"
    assert process.wait(SECONDS) == 0
    assert run.status().state == "done"
    assert len(run.table) == 40


def test_a_step_that_reports_no_progress_is_stopped_too(data: Path, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(
        "import pathlib, time\ndef make():\n    pathlib.Path('reached').touch()\n    while True:\n        time.sleep(0.01)\n"
    )
    run = prepare(Workspace(tmp_path / "workspace"), data, model="stuck:make", detectors="l1")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for what a script starts in the background
    process = started(run, tmp_path)
    signal.signal(signal.SIGINT, before)
    assert becomes(lambda: (tmp_path / "reached").exists())
    run.job("score").cancel()
    assert process.wait(SECONDS) == 1
    assert (run.status().state, run.status().message) == ("cancelled", "stopped by the user")


def forked(run: Run, *, cancelled: bool = False) -> int | None:
    """Exit code of a worker; for jobs that end before anything is computed."""
    ready = fork.Event()

    def work() -> None:
        ready.wait()
        os._exit(worker.main("score", run.id, str(run.workspace.path)))

    child = fork.Process(target=work)
    child.start()
    run.job("score").entered(child.pid)
    if cancelled:
        run.job("score").cancel()
    ready.set()
    child.join()
    return child.exitcode


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux's kernel")
@pytest.mark.parametrize(("model", "refused"), [(None, "True"), ("resnet18", "True"), ("linear:make", "False")])
def test_only_with_code_of_the_owners_own_has_a_job_the_network(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str | None, refused: str
) -> None:
    def reach(run: Run) -> None:
        try:
            socket.socket().close()
        except PermissionError:
            (tmp_path / "refused").write_text("True")
        else:
            (tmp_path / "refused").write_text("False")

    monkeypatch.setitem(worker.JOBS, "score", reach)
    run = prepare(Workspace(tmp_path / "workspace"), data, model=model, weights=data)
    assert forked(run) == 0
    assert (tmp_path / "refused").read_text() == refused


def test_a_job_that_cannot_be_done_fails_with_its_reason(data: Path, tmp_path: Path) -> None:
    run = prepare(Workspace(tmp_path / "workspace"), data)
    data.unlink()
    assert forked(run) == 2
    assert (run.status().state, run.status().message) == ("failed", f"not found: {data}")


def test_a_cancel_left_before_the_worker_came_up_stops_it(data: Path, tmp_path: Path) -> None:
    run = prepare(Workspace(tmp_path / "workspace"), data)
    assert forked(run, cancelled=True) == 1
    assert run.status().state == "cancelled"
    assert not run.has_file("table.parquet")


def test_after_a_cancel_the_job_can_be_started_again(data: Path, tmp_path: Path) -> None:
    run = prepare(Workspace(tmp_path / "workspace"), data)
    data.unlink()
    assert forked(run, cancelled=True) == 1
    assert forked(run) == 2
    assert run.status().state == "failed"


def test_a_worker_that_is_killed_is_told_with_the_signal_and_what_it_had_taken(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stuck.py").write_text(
        "import pathlib, time\ndef make():\n    pathlib.Path('reached').touch()\n    time.sleep(600)\n"
    )
    monkeypatch.chdir(tmp_path)
    run = prepare(Workspace(tmp_path / "workspace"), data, model="stuck:make", detectors="l1")
    worker.start(run, "score")
    assert becomes(lambda: (tmp_path / "reached").exists())
    with sqlite3.connect(run.workspace.database) as connection:
        (pid,) = connection.execute("SELECT pid FROM jobs").fetchone()
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    now, most = resource.prlimit(pid, resource.RLIMIT_DATA)  # while it opens the model: what it has, and as much as a reader
    assert most == machine_bytes()
    assert now == most or READER_BYTES.value < now < READER_BYTES.value + (4 << 30)
    os.kill(pid, signal.SIGKILL)
    assert becomes(lambda: "SIGKILL" in run.status().message)
    assert run.status().state == "failed"
    taken, there = re.findall(r"[\d,]{9,}", run.status().message)
    assert 50 << 20 < int(taken.replace(",", "")) < int(there.replace(",", "")) == machine_bytes()


def becomes(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_every_map_has_a_job() -> None:
    assert set(worker.JOBS) == {"score", *maps.JOBS.values()}
