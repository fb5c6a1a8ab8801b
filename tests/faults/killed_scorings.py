"""Faults 1 and 13: kill -9 in the middle of scoring. Started again, it gives byte for byte what an unbroken run gives."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from oga_core.files import sha256
from oga_core.progress import Progress, silent
from oga_core.runs import Run, Workspace
from oga_core.scoring import do_run, passes, prepare
from tests.faults.killed import fork, killed_after

SAMPLES, CLASSES, UNREADABLE = 400, 3, 5
SHARD = 64
FOLDS = 2


@dataclass
class Told:
    """What came of some rounds."""

    rounds: int = 0
    finished: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"rounds: {self.rounds:,}, results after going on: {self.finished:,}, "
            f"byte-identical to an unbroken run: {self.finished - len(self.lost):,}, lost: {len(self.lost):,}"
        )


def made_data(path: Path) -> Path:
    """Features of three classes; one in ten has a wrong label, and some cannot be scored."""
    chance = np.random.default_rng(0)
    true = np.arange(SAMPLES) % CLASSES
    x = chance.normal(size=(SAMPLES, 8)) + 3 * np.eye(8)[true]
    x[chance.choice(SAMPLES, UNREADABLE, replace=False)] = np.nan
    np.savez(path, x=x, y=np.where(chance.random(SAMPLES) < 0.1, (true + 1) % CLASSES, true))
    return path


def made_run(workspace: Workspace, data: Path, **options: Any) -> Run:
    usual: dict[str, Any] = {"folds": FOLDS, "epochs": 2, "seed": 3, "title": "to be killed"}
    return prepare(workspace, data, **usual | options)


def score(workspace: Path, run_id: str, pipe: int = -1, progress: Progress = silent) -> None:
    """Do a run in this process, in small shards."""
    passes.SHARD = SHARD
    do_run(Workspace(workspace).run(run_id), progress)


def finished(run: Run) -> Run:
    """Go on with a run in a process of its own, until it is done."""
    child = fork.Process(target=score, args=(run.workspace.path, run.id))
    child.start()
    child.join()
    assert (child.exitcode, run.status().state) == (0, "done"), run.status().message
    return Workspace(run.workspace.path).run(run.id)


def results(run: Run) -> dict[str, Any]:
    """The hash of each file of a run that is done, and what its summary says beside the time."""
    files = sorted(p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file() and p.stat().st_size)
    assert files == run.file_names()
    return {**{name: sha256(run.file(name)) for name in files}, "summary": replace(run.summary, seconds=0.0)}


def rounds(count: int, folder: Path, seed: int = 0, after_each: Callable[[int], object] = lambda number: None) -> Told:
    """Kill a scoring process so many times; one in three is killed again when it goes on, the others are finished.

    Half of them are killed at any moment, and half before the detectors begin, which are done again in any case.
    """
    told, chance = Told(), random.Random(seed)
    data = made_data(folder / "data.npz")
    workspace = Workspace(folder / "workspace")
    ends: dict[str, float] = {}
    for _ in range(2):  # the first loads what is only loaded when it is used; processes that are forked have it then
        began = time.monotonic()
        unbroken = made_run(workspace, data)
        score(workspace.path, unbroken.id, progress=lambda stage, *_: ends.update({stage: time.monotonic()}))
    wanted = results(unbroken)
    run = made_run(workspace, data)
    while told.rounds < count:
        until = ends[chance.choice(("scoring", "writing"))] - began
        killed_after(chance.uniform(0, until), partial(score, run.workspace.path, run.id))
        told.rounds += 1
        if chance.random() < 2 / 3 or told.rounds == count:
            found = results(finished(run))
            told.finished += 1
            if found != wanted:
                differ = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
                told.lost.append(f"round {told.rounds}: {', '.join(differ)} of run {run.id} differ")
            run = made_run(workspace, data)
        after_each(told.rounds)
    return told
