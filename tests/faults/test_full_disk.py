"""Faults 4 and 5: a disk that is really full."""

from __future__ import annotations

import re
import resource
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st

from app import queues
from oga_core.cli import main
from oga_core.errors import InputError
from oga_core.review import Selection, decide, decisions
from oga_core.runs import Run, Workspace
from oga_core.runs.run import TABLE
from oga_core.scoring import do_run, passes, prepare, saved_state
from tests.app.conftest import browser
from tests.faults.disks import fill, mounted
from tests.faults.killed import fork
from tests.faults.killed_reviews import made_run
from tests.faults.killed_scorings import results

MEGABYTE = 1 << 20


N, SHARD, WIDTH = 48, 16, 1 << 15
"""Samples, and how many of them make a shard of a megabyte; too few for a recommendation, which would take a while."""


WIDE = f"""
from torch import nn, Generator, manual_seed
def make():
    manual_seed(0)
    return nn.Sequential(nn.Linear(6, {WIDTH}), nn.Tanh(), nn.Linear({WIDTH}, 2))
"""


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `prepare` takes: features of which each sample's gradient has 64 kB."""
    monkeypatch.setattr(passes, "BATCH", 8)
    monkeypatch.setattr(passes, "SHARD", SHARD)
    y = np.arange(N) % 2
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(N, 6)) + y[:, None], y=y)
    (tmp_path / "wide_model.py").write_text(WIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return {"data": tmp_path / "data.npz", "model": "wide_model:make", "detectors": "l1"}


def test_scoring_on_a_full_disk_says_how_much_it_needs_and_goes_on_when_there_is_room(
    tmp_path: Path, wide: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken = prepare(Workspace(tmp_path / "elsewhere"), **wide)
    do_run(unbroken)
    with mounted(tmp_path / "disk", 48) as disk:
        workspace = Workspace(disk / "workspace")
        reviewed = made_run(disk / "workspace")
        run = prepare(workspace, **wide)
        filler = fill(disk, saved_state.RESERVE + 3 * MEGABYTE // 2)  # one shard of a megabyte, and no more
        for _ in range(2):
            with pytest.raises(
                InputError, match=r"the disk of .* is too full: \d+ MB are free, and this run needs about"
            ) as told:
                do_run(run)
            assert run.status().message == str(told.value)
            assert run.status().state == "failed"
            assert f"oga resume {run.id}" in str(told.value)
            needs = int(re.search(r"needs about ([\d,]+) MB", str(told.value))[1])  # type: ignore[index]
            assert 16 + 5 <= needs <= 16 + 6  # two shards, and all three joined, beside the reserve
            assert sum(name.endswith(".npz") for name in run.file_names()) == 1
            assert decide(reviewed, reviewed.table, "keep", reviewer="ann") == 40  # decisions still work
        filler.unlink()
        assert main(["resume", run.id, "--workspace", str(workspace.path)]) == 0
        assert results(run) == results(unbroken)
        assert "48 of 48 samples scored" in capsys.readouterr().out
        assert len(decisions(reviewed)) == 40


def test_a_disk_that_fills_up_while_a_file_is_written_leaves_no_half_file(
    tmp_path: Path, wide: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy = shutil.disk_usage(tmp_path)._replace(free=1 << 40)
    with mounted(tmp_path / "disk", 8) as disk:
        run = prepare(Workspace(disk / "workspace"), **wide)
        filler = fill(disk, MEGABYTE // 2)  # of a shard's megabyte a part only
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: roomy)  # another program fills it just then
            with pytest.raises(InputError, match="is too full"):
                do_run(run)
        assert not list(run.path.rglob(".*.part"))
        assert not run.has_file(TABLE)
        filler.unlink()
        monkeypatch.setattr(saved_state, "RESERVE", 0)
        do_run(run)
        assert run.status().state == "done"


def test_where_no_file_may_be_larger_it_is_told_as_a_full_disk(tmp_path: Path, wide: dict[str, Any]) -> None:
    run = prepare(Workspace(tmp_path / "workspace"), **wide)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE // 2, MEGABYTE // 2))
        with pytest.raises(InputError, match="is too full"):
            do_run(run)

    child = fork.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert "is too full" in run.status().message
    do_run(run)
    assert run.status().state == "done"


def test_a_decision_on_a_full_disk_is_answered_as_not_saved_and_works_when_there_is_room(
    scored: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted(tmp_path / "disk", 32) as disk:
        shutil.copytree(scored.workspace.path, disk / "workspace")
        monkeypatch.setenv("OGA_WORKSPACE", str(disk / "workspace"))
        st.cache_resource.clear()
        run = Workspace().run(scored.id)
        queue = queues.keep(run, run.ranked("l1"), Selection("l1", 0.2, flagged_only=False))
        with browser() as client:

            def keep(row: int) -> tuple[int, str]:
                sent = {
                    "run": run.id,
                    "queue": queue.name,
                    "action": "keep",
                    "label": "",
                    "samples": [[row, 0]],
                    "op": uuid.uuid4().hex,
                }
                answer = client.post("/oga/decide", json=sent)
                return answer.status_code, answer.json().get("error", "")

            assert keep(0) == (200, "")
            filler = fill(disk)
            status, told = keep(1)
            assert status >= 500
            assert "full" in told
            assert len(decisions(run)) == 1
            filler.unlink()
            assert keep(1) == (200, "")
        assert len(decisions(Workspace().run(run.id))) == 2
