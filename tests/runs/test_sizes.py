"""What a workspace takes on the disk."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from oga_core.errors import InputError
from oga_core.review import decide, decisions, redo, undo
from oga_core.runs import Workspace
from oga_core.runs.sizes import measure_workspace
from tests.faults.killed_reviews import made_run
from tests.runs.runs_on_files import dropped, rows_of, run_on


def test_the_sizes_of_a_workspace_add_up(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    workspace = run.workspace
    chance = random.Random(0)
    for _ in range(40):
        act = chance.choice((None, None, undo, redo))
        if act is None:
            decide(run, run.table.sample(3, random_state=chance.randrange(99)), "remove", reviewer=chance.choice("ab"))
        else:
            act(run, reviewer=chance.choice("ab"))
    other = run_on(workspace, "another", dropped(workspace, b"12345"))
    dropped(workspace, b"123", "unused.csv")
    workspace.delete([other.id])
    (workspace.path / "examples").mkdir()
    (workspace.path / "examples" / "a.csv").write_bytes(bytes(70))
    (workspace.path / "oga.sqlite.backup").write_bytes(bytes(90))
    (workspace.path / "numba").mkdir()
    (workspace.path / "numba" / "cache").write_bytes(bytes(11))
    sizes = measure_workspace(workspace)
    in_run = sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())
    assert [(r.run, r.bytes, r.deleted) for r in sizes.runs] == [(run.id, in_run, "")]
    assert [(r.run, r.bytes, r.samples, r.state) for r in sizes.trash] == [(other.id, 1000, None, "absent")]
    assert (sizes.used.bytes, sizes.unused.bytes, sizes.examples.bytes, sizes.copies.bytes) == (5, 3, 70, 90)
    assert sizes.database.bytes == workspace.database.stat().st_size
    assert (sizes.other.bytes, sizes.schema) == (11, 3)
    assert sizes.total.bytes == sum(p.stat().st_size for p in workspace.path.rglob("*") if p.is_file())
    assert (sizes.events, sizes.decided) == (len(rows_of(workspace, "events")), len(decisions(run)))
    assert sizes.free > 0
    assert sizes.to_dict()["uploads"] == {"used": {"files": 1, "bytes": 5}, "unused": {"files": 1, "bytes": 3}}


def test_a_workspace_that_must_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no workspace at {tmp_path / 'none'}; .* --workspace or OGA_WORKSPACE"):
        Workspace(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    Workspace(tmp_path / "some")
    assert Workspace(tmp_path / "some", create=False).runs() == []
