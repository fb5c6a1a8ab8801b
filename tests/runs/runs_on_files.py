"""Runs on uploaded files, in a workspace of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from oga_core.runs import DataSource, Run, RunSpec, Starter, Weights, Workspace, database
from oga_core.runs.cleaning import OLD

DAY = OLD + 60


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def dropped(workspace: Workspace, data: bytes, name: str = "data.csv") -> Path:
    with workspace.upload(name) as upload:
        upload.write(data)
        return upload.keep()


def run_on(workspace: Workspace, title: str, data: Path, weights: Path | None = None) -> Run:
    model = Starter() if weights is None else Weights(str(weights))
    run = workspace.new_run(title, RunSpec(DataSource(str(data)), model))
    (run.path / "table").write_bytes(bytes(1000))
    return run


def age(path: Path, seconds: float = DAY) -> None:
    then = time.time() - seconds
    for below in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        os.utime(below, (then, then), follow_symlinks=False)


def rows_of(workspace: Workspace, table: str) -> list[str]:
    with database.reading(workspace.database) as connection:
        return [row["run"] for row in connection.execute(f"SELECT run FROM {table}")]
