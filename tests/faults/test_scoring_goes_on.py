"""Faults 1, 10, 11, 13 and 17: what a broken scoring has kept is used if it is whole, and never if it is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oga_core.cli import main
from oga_core.errors import InputError
from oga_core.runs import InMemory, Run, RunSpec, Workspace
from oga_core.runs.run import SAVED_STATE, TABLE
from oga_core.scoring import do_run, passes, prepare, saved_state
from tests.faults import killed_scorings
from tests.faults.killed import fork, killed_after
from tests.faults.killed_scorings import results

N, CLASSES, SHARD = 48, 3, 16
"""Too few samples for a recommendation: each scoring takes a fraction of a second."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BATCH", 8)
    monkeypatch.setattr(passes, "SHARD", SHARD)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    y = np.arange(N) % CLASSES
    x = np.random.default_rng(0).normal(size=(N, 4)) + 2 * np.eye(4)[y]
    x[[7, 30]] = np.nan
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path / "data.npz"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def prepared(workspace: Workspace, data: Path, **options: Any) -> Run:
    usual: dict[str, Any] = {"epochs": 2, "folds": 0, "title": "broken"}
    return prepare(workspace, data, **usual | options)


def killed_at(run: Run, stage: str, done: int) -> Run:
    """The run after the process that did it was killed there."""

    def progress(at: str, so_far: int, total: int) -> None:
        if at == stage and so_far >= done:
            os.kill(os.getpid(), signal.SIGKILL)

    killed_after(120, lambda pipe: do_run(run, progress))
    assert run.status().state == "failed"
    assert "killed, or memory ran out" in run.status().message
    return run


def gone_on(run: Run) -> list[str]:
    """The stages that are done when the run goes on."""
    told: list[str] = []
    do_run(run, lambda stage, done, total: told.append(f"{stage} {done}"))
    assert run.status().state == "done"
    return told


def kept(run: Run) -> list[str]:
    return [name.removeprefix(f"{SAVED_STATE}/") for name in run.file_names() if name.endswith(".npz")]


def test_a_killed_scoring_gives_the_bytes_of_an_unbroken_one_at_whatever_moment_it_was_killed(tmp_path: Path) -> None:
    told = killed_scorings.rounds(2, tmp_path)
    assert (told.rounds, told.lost) == (2, [])
    assert told.finished >= 1
    assert str(told).startswith("rounds: 2, results after going on: ")


def test_only_the_open_shard_is_done_again(workspace: Workspace, data: Path) -> None:
    unbroken = prepared(workspace, data)
    do_run(unbroken)
    assert not unbroken.begun
    run = killed_at(prepared(workspace, data), "scoring", 40)
    assert kept(run) == ["pass-0-16.npz", "pass-16-32.npz"]
    assert run.begun
    told = gone_on(run)
    assert [step for step in told if step.startswith(("training", "scoring"))] == ["scoring 40", "scoring 48"]
    assert results(run) == results(unbroken)
    assert sorted([*run.table["index"], *run.not_scored["index"]]) == list(range(N))


def test_the_models_of_the_folds_and_their_passes_are_kept_too(workspace: Workspace, data: Path) -> None:
    options = {"folds": 2}
    many = data.with_name("many.npz")
    y = np.arange(96) % 2
    np.savez(many, x=np.random.default_rng(1).normal(size=(96, 3)) + y[:, None], y=y)
    unbroken = prepared(workspace, many, **options)
    do_run(unbroken)
    run = killed_at(prepared(workspace, many, **options), "out-of-fold model 2 of 2", 40)
    told = gone_on(run)
    assert not [step for step in told if step.startswith(("training", "model 1"))]
    assert results(run) == results(unbroken)


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "a truncated file": lambda path: os.truncate(path, path.stat().st_size // 2),
    "an empty file": lambda path: os.truncate(path, 0),
    "a row without a file": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("name", [f"{SAVED_STATE}/pass-16-32.npz", "model.safetensors"])
def test_a_damaged_part_is_made_again_and_never_used(
    damage: Callable[[Path], object], name: str, workspace: Workspace, data: Path
) -> None:
    unbroken = prepared(workspace, data)
    do_run(unbroken)
    run = killed_at(prepared(workspace, data), "scoring", 40)
    damage(run.path / name)
    told = gone_on(run)
    assert ("scoring 24" in told, "scoring 8" in told) == (name.startswith(SAVED_STATE), False)
    assert any(step.startswith("training") for step in told) == (name == "model.safetensors")
    assert results(run) == results(unbroken)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_result_is_never_shown_and_can_be_made_again(
    damage: Callable[[Path], object], workspace: Workspace, data: Path
) -> None:
    run = prepared(workspace, data)
    do_run(run)
    whole = results(run)
    resume = ["resume", run.id, "--workspace", str(workspace.path)]
    assert main(resume) == 2  # nothing to do
    for name in ("features.npy", TABLE):
        damage(run.path / name)
        with pytest.raises(InputError, match=rf"{name} of run .* has changed|has no {name}"):
            run.file(name)
        assert main(resume) == 0
        assert results(run) == whole


def test_data_that_changed_under_a_broken_run_stop_it(workspace: Workspace, data: Path) -> None:
    run = killed_at(prepared(workspace, data), "scoring", 40)
    arrays = dict(np.load(data))
    arrays["x"][3, 0] += 1e-6
    np.savez(data, **arrays)
    with pytest.raises(InputError, match=f"row 3 has changed since run {run.id} was begun; score the data anew"):
        do_run(run)
    np.savez(data, x=arrays["x"][:-1], y=arrays["y"][:-1])
    with pytest.raises(InputError, match="there were 48 samples, now there are 47; score them anew"):
        do_run(run)
    assert run.status().state == "failed"
    assert not run.has_file(TABLE)


def test_data_that_change_while_they_are_scored_stop_the_run(tmp_path: Path, workspace: Workspace) -> None:
    from PIL import Image

    for i in range(24):
        (tmp_path / "images" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i * 10, 0, 0)).save(tmp_path / "images" / "ab"[i % 2] / f"{i:02}.png")
    for change in (lambda path: Image.new("RGB", (8, 8), "white").save(path), Path.unlink):
        run = prepared(workspace, tmp_path / "images")

        def progress(stage: str, done: int, total: int, change: Callable[[Path], object] = change) -> None:
            if stage == "scoring" and done == 8:
                change(tmp_path / "images" / "b" / "23.png")

        with pytest.raises(InputError, match=rf"b/23\.png has changed since run {run.id} was begun"):
            do_run(run, progress)
        assert not run.has_file(TABLE)
        Image.new("RGB", (8, 8), (230, 0, 0)).save(tmp_path / "images" / "b" / "23.png")


def test_shards_of_other_weights_or_another_version_are_not_joined_with_these(
    workspace: Workspace, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oga_core import open_dataset, save_weights, train

    weights = data.with_name("weights.safetensors")
    dataset = open_dataset(data)
    save_weights(train(dataset, seed=1, epochs=1).classifier, weights)
    run = killed_at(prepared(workspace, data, weights=weights), "scoring", 40)
    save_weights(train(dataset, seed=2, epochs=1).classifier, weights)
    assert "scoring 8" in gone_on(run)
    whole = prepared(workspace, data, weights=weights)
    do_run(whole)
    assert results(run) == results(whole)
    run = killed_at(prepared(workspace, data), "scoring", 40)
    monkeypatch.setattr(saved_state, "FORMAT", saved_state.FORMAT + 1)
    assert {"scoring 8", "training epoch 1 of 2 0"} <= set(gone_on(run))


def test_two_processes_do_not_score_one_run_at_once(workspace: Workspace, data: Path) -> None:
    run = prepared(workspace, data)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "scoring" and done == 16:
            refused.append(fork.Process(target=second))
            refused[0].start()
            refused[0].join()
            assert run.status().state == "running"

    def second() -> None:
        with pytest.raises(InputError, match=f"run {run.id} is being scored by another process"):
            do_run(run)

    refused: list[Any] = []
    do_run(run, progress)
    assert refused[0].exitcode == 0
    assert run.status().state == "done"


def test_what_a_kill_in_the_middle_of_a_file_leaves_is_cleared_away(workspace: Workspace, data: Path) -> None:
    run = prepared(workspace, data)

    def write_half(pipe: int) -> None:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        do_run(run)

    killed_after(120, write_half)
    assert list(run.path.rglob(".*.part"))
    gone_on(run)
    results(run)  # no file is there that the manifest does not have


def test_who_stops_a_scoring_on_the_command_line_is_told_how_to_go_on(
    workspace: Workspace, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(run: Run, progress: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("oga_core.scoring.do_run", stopped)
        assert main(["score", str(data), "--workspace", str(workspace.path)]) == 130
    (run,) = workspace.runs()
    assert f"oga resume {run.id} resumes it" in capsys.readouterr().err
    assert main(["resume", run.id, "--json", "--workspace", str(workspace.path)]) == 0
    assert f'"run": "{run.id}"' in capsys.readouterr().out


def test_a_run_whose_model_only_a_script_has_cannot_go_on_without_it(
    workspace: Workspace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = workspace.new_run("from Python", RunSpec(model=InMemory("Sequential"), detectors=("l1",)))
    assert main(["resume", run.id, "--workspace", str(workspace.path)]) == 2
    assert "only its script has" in capsys.readouterr().err
    with pytest.raises(InputError, match="only its script has"):
        do_run(run)
    assert "only its script has" in run.status().message
