"""Fault 3: kill -9 in the middle of a review. Everything that was acknowledged is there, and each action whole or not at all."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from oga_core.review import decide, decisions, redo, undo
from oga_core.runs import Run, Workspace, database
from oga_core.runs.run import TABLE
from tests.faults.killed import killed_after
from tests.summaries import make_summary

CLASSES = ["cat", "dog", "owl"]
SAMPLES = 40
LONGEST = 0.1
"""Seconds after which the process is killed, at most."""
ROUNDS_IN_A_WORKSPACE = 25
"""Then a new one is begun: all of the log is read after each round."""
REVIEWER = "ann"
Standing = dict[str, tuple[str, str]]


@dataclass
class Told:
    """What came of some rounds."""

    rounds: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"rounds: {self.rounds:,}, decisions acknowledged: {self.acknowledged:,}, lost: {len(self.lost):,}"


@dataclass(frozen=True)
class Action:
    """What the reviewer does: the same for the same number, in whichever process."""

    name: str
    rows: list[int]
    label: str

    @classmethod
    def numbered(cls, number: int) -> Action:
        chance = random.Random(number)
        name = chance.choices(("keep", "remove", "relabel", "unsure", "undo", "redo"), (4, 4, 3, 1, 3, 2))[0]
        most = SAMPLES if chance.random() < 0.2 else 1  # one in five is a bulk action
        return cls(name, sorted(chance.sample(range(SAMPLES), chance.randint(1, most))), chance.choice(CLASSES))

    def do(self, run: Run, op_id: str) -> None:
        if self.name in ("undo", "redo"):
            {"undo": undo, "redo": redo}[self.name](run, reviewer=REVIEWER, op_id=op_id)
        else:
            decide(run, run.table.iloc[self.rows], self.name, reviewer=REVIEWER, new_label=self.label, op_id=op_id)


class Reviewer:
    """What must stand after each action: a reviewer who remembers every state, and no log."""

    def __init__(self) -> None:
        self.states: list[Standing] = [{}]
        self.at = 0

    @property
    def standing(self) -> Standing:
        return self.states[self.at]

    def after(self, action: Action) -> Reviewer:
        new = Reviewer()
        new.states, new.at = list(self.states), self.at
        if action.name == "undo":
            new.at = max(self.at - 1, 0)
        elif action.name == "redo":
            new.at = min(self.at + 1, len(self.states) - 1)
        else:
            label = action.label if action.name == "relabel" else ""
            changed = self.standing | {f"s{row}": (action.name, label) for row in action.rows}
            new.states, new.at = [*self.states[: self.at + 1], changed], self.at + 1
        return new


def made_run(folder: Path) -> Run:
    """A run with samples ``s0`` … to decide on, in a new workspace."""
    run = Workspace(folder).new_run("to be reviewed")
    labels = [CLASSES[i % len(CLASSES)] for i in range(SAMPLES)]
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(SAMPLES)], "index": range(SAMPLES), "label": labels})
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    run.set_summary(make_summary(class_names=tuple(CLASSES), detectors=()))
    return run


def review(workspace: Path, run_id: str, first: int, pipe: int) -> None:
    """Act for ever; the number of each action is written once it has returned."""
    run = Workspace(workspace).run(run_id)
    for number in range(first, first + 1_000_000):
        Action.numbered(number).do(run, str(number))
        os.write(pipe, f"{number}\n".encode())


def rounds(count: int, folder: Path, seed: int = 0, after_each: Callable[[int], object] = lambda number: None) -> Told:
    """Kill a reviewing process so many times, each time opening the workspace anew to compare it with what must stand."""
    told, moments = Told(), random.Random(seed)
    number = seed * 10_000_000
    for i in range(count):
        if i % ROUNDS_IN_A_WORKSPACE == 0:
            run = made_run(folder / f"reviews{i}")
            reviewer = Reviewer()
        begun = moments.random() < 0.9  # else it may be killed before it has done anything
        acknowledged = killed_after(moments.uniform(0, LONGEST), partial(review, run.workspace.path, run.id, number), begun=begun)
        assert acknowledged == [str(n) for n in range(number, number + len(acknowledged))]
        for n in map(int, acknowledged):
            reviewer = reviewer.after(Action.numbered(n))
        number += len(acknowledged)
        again = Workspace(run.workspace.path).run(run.id)
        sizes = logged(again)
        standing = {sample: (d.action, d.new_label) for sample, d in decisions(again).items()}
        if str(number) in sizes:  # the last one was written, and killed before it was acknowledged
            reviewer = reviewer.after(Action.numbered(number))
        number += 1
        told.lost += [n for n in acknowledged if (size := expected_size(int(n))) and sizes.get(n) != size]
        if standing != reviewer.standing and not told.lost:
            told.lost.append(f"round {i}: {standing} stands, {reviewer.standing} must")
        told.rounds, told.acknowledged = told.rounds + 1, told.acknowledged + len(acknowledged)
        after_each(i + 1)
    return told


def expected_size(number: int) -> int | None:
    """Events of a decision; None for an undo or redo, of which what stands tells."""
    action = Action.numbered(number)
    return None if action.name in ("undo", "redo") else len(action.rows)


def logged(run: Run) -> dict[str, int]:
    """Events of each action."""
    with database.reading(run.workspace.database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return {row[0]: row[1] for row in connection.execute("SELECT batch, count(*) FROM events GROUP BY batch")}
