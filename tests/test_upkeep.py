"""The commands that look after a workspace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from oga_core.cli import main
from oga_core.review import decide
from oga_core.runs import DataSource, Run, RunSpec, Workspace, database
from tests.faults.killed_reviews import made_run

Oga = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def oga(capsys: pytest.CaptureFixture[str]) -> Oga:
    """Run a command in this process: exit code, lines of stdout, and stderr."""

    def call(*arguments: object) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


@pytest.fixture
def runs(workspace: Workspace) -> list[Run]:
    """Two runs, 1,500 bytes each, of which one names an upload of 2,000 bytes."""
    with workspace.upload("data.csv") as upload:
        upload.write(bytes(2000))
        path = upload.keep()
    made = [workspace.new_run("first", RunSpec(DataSource(str(path)))), workspace.new_run("\x1b[31msecond")]
    for run in made:
        (run.path / "table").write_bytes(bytes(1500))
    return made


def test_delete_says_what_is_in_the_trash_how_large_it_is_and_what_can_be_done(oga: Oga, runs: list[Run]) -> None:
    first, second = runs
    assert oga("delete", first.id) == (
        0,
        [
            f"deleted: {first.id}  first",
            "1 run is in the trash (3.5 kB); oga clean removes it for good, oga undelete puts it back. Its decisions stay.",
        ],
        "",
    )
    code, out, _ = oga("delete", second.id[:-1])
    assert (code, out[0]) == (0, f"deleted: {second.id}  \\x1b[31msecond")
    assert out[1] == (
        "2 runs are in the trash (5.0 kB); oga clean removes them for good, oga undelete puts them back. Their decisions stay."
    )
    assert oga("runs") == (0, [], "")
    assert [line.split()[0] for line in oga("runs", "--trash")[1]] == [second.id, first.id]
    assert [r["run"] for r in json.loads(oga("runs", "--trash", "--json")[1][0])] == [second.id, first.id]


def test_undelete_puts_several_back(oga: Oga, runs: list[Run]) -> None:
    ids = [run.id for run in runs]
    oga("delete", *ids)
    assert oga("undelete", *ids)[:2] == (0, [f"put back: {ids[0]}  first", f"put back: {ids[1]}  \\x1b[31msecond"])
    assert [line.split()[0] for line in oga("runs")[1]] == ids[::-1]


def test_clean_says_before_and_after_what_is_removed(oga: Oga, runs: list[Run], workspace: Workspace) -> None:
    first, second = runs
    oga("delete", first.id)
    listed = ["upload  data.csv  2.0 kB", f"run     {first.id}  1.5 kB  first"]
    code, out, _ = oga("clean", "--dry-run")
    assert (code, out) == (0, [*listed, "oga clean would remove 1 run and 1 upload (3.5 kB). Decisions stay."])
    assert first.path.is_dir()
    code, out, _ = oga("clean")
    assert (code, out) == (
        0,
        [*listed, "removing 1 run and 1 upload (3.5 kB)", "removed 1 run and 1 upload (3.5 kB). Decisions stay."],
    )
    assert not first.path.exists()
    assert second.path.is_dir()
    for flags in ([], ["--dry-run"]):
        assert oga("clean", *flags) == (0, ["nothing to remove: the trash is empty"], "")


def test_clean_names_what_it_could_not_remove_and_fails(oga: Oga, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    oga("delete", runs[1].id)
    monkeypatch.setattr("oga_core.runs.removal.shutil.rmtree", refuse)
    code, out, err = oga("clean")
    assert (code, err) == (2, f"oga: run {runs[1].id} could not be removed: Permission denied\n")
    assert not any(line.startswith("removed") for line in out)


def test_workspace_lists_sizes_in_a_table_and_as_json(oga: Oga, runs: list[Run], tmp_path: Path) -> None:
    oga("delete", runs[1].id)
    code, out, err = oga("workspace")
    assert (code, err) == (0, "")
    assert out[0] == f"{tmp_path / 'workspace'} (schema {database.SCHEMA_VERSION})"
    table = {line[:16].strip(): line[16:].split() for line in out[1:12]}
    assert table["runs"] == ["1", "1.5", "kB"]
    assert table["trash"] == ["1", "1.5", "kB"]
    assert table["uploads in use"] == ["1", "2.0", "kB"]
    assert table["uploads unused"] == ["0", "0", "B"]
    assert table["decisions"] == ["0", "on", "0", "samples"]
    assert len({len(line) for line in out[1:11]}) == 1
    assert re.fullmatch(rf"  {runs[0].id}  absent +not scored +1.5 kB  first", out[13])
    found = json.loads(oga("workspace", "--json")[1][0])
    assert found["path"] == str(tmp_path / "workspace")
    assert [(r["run"], r["title"], r["bytes"], r["state"]) for r in found["runs"]["list"]] == [
        (runs[0].id, "first", 1500, "absent")
    ]
    assert (found["trash"]["count"], found["trash"]["bytes"]) == (1, 1500)
    assert found["uploads"] == {"used": {"files": 1, "bytes": 2000}, "unused": {"files": 0, "bytes": 0}}
    assert found["free"] > 0


def test_workspace_counts_events_and_decided_samples(oga: Oga, workspace: Workspace) -> None:
    run = made_run(workspace.path)
    decide(run, run.table.iloc[:4], "remove", reviewer="ann")
    decide(run, run.table.iloc[:1], "keep", reviewer="ann")
    assert json.loads(oga("workspace", "--json")[1][0])["decisions"] == {"events": 5, "samples": 4}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("delete", "the following arguments are required: RUN"),
        ("delete nope", "no run 'nope'"),
        ("delete FIRST nope", "no run 'nope'"),
        ("delete TRASHED", "is in the trash; oga undelete TRASHED puts it back"),
        ("undelete FIRST", "run FIRST is not in the trash; 'oga runs --trash' lists those that are"),
        ("undelete TRASHED nope", "no run 'nope' in the trash"),
        ("export TRASHED --format csv --out x.csv", "run TRASHED is in the trash"),
        ("recommend TRASHED", "run TRASHED is in the trash"),
        ("resume TRASHED", "run TRASHED is in the trash"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    oga: Oga, runs: list[Run], workspace: Workspace, command: str, message: str
) -> None:
    workspace.delete([runs[1].id])
    known = {"FIRST": runs[0].id, "TRASHED": runs[1].id}
    code, out, err = oga(*(known.get(word, word) for word in command.split()))
    for word, run_id in known.items():
        message = message.replace(word, run_id)
    assert (code, out, err.count("\n")) == (2, [], 1)
    assert message in err
    assert [r.id for r in workspace.runs()] == [runs[0].id]
    assert [r.id for r in workspace.trash()] == [runs[1].id]


@pytest.mark.parametrize("command", ["workspace", "workspace --json", "clean", "clean --dry-run", "delete x", "undelete x"])
def test_a_workspace_that_is_mistyped_is_not_created(oga: Oga, tmp_path: Path, command: str) -> None:
    code, out, err = oga(*command.split(), "--workspace", tmp_path / "mistyped")
    assert (code, out) == (2, [])
    assert err.startswith(f"oga: no workspace at {tmp_path / 'mistyped'}; ")
    assert "--workspace" in err
    assert "OGA_WORKSPACE" in err
    assert not (tmp_path / "mistyped").exists()
