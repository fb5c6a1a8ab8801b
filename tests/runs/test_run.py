"""A run shows only files that are what was written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.runs import Run, Workspace
from oga_core.runs.run import FACTORS, NOT_SCORED, TABLE

L1 = [0.5, 3.0, 1.0, 2.0]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Workspace(tmp_path).new_run("four", {"data": str(tmp_path / "gone.csv"), "data_options": {"label": "y"}})
    table = pd.DataFrame({"sample_id": list("abcd"), "index": range(4), "label": list("xxyy"), "l1": L1, "random": 0.0})
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    made.add_file(NOT_SCORED, lambda path: table.iloc[:0].to_parquet(path, index=False))
    for i, name in enumerate(FACTORS):
        values = np.full((4, 2) if i < 2 else 4, 1.0, np.float16 if i < 2 else np.float32)
        made.add_file(f"{name}.npy", partial(save_array, values))
    made.set_summary({"class_names": ["x", "y"]})
    return made


def again(run: Run) -> Run:
    return Workspace(run.workspace.path).run(run.id)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_what_was_written_is_read_again_in_another_process(run: Run) -> None:
    found = again(run)
    assert found.table["l1"].tolist() == L1
    assert len(found.not_scored) == 0
    assert len(found.factors) == 4
    assert isinstance(found.factors.features, np.memmap)
    assert (found.class_names, found.settings["data_options"]) == (["x", "y"], {"label": "y"})
    assert [d.name for d in found.detectors] == ["l1", "random"]


@pytest.mark.parametrize("position", [0, -1, 200])
def test_one_flipped_bit_in_the_table_is_noticed_and_the_table_never_shown(run: Run, position: int) -> None:
    flip(run.path / TABLE, position)
    for show in (lambda: again(run).table, lambda: again(run).flag("l1", 2), lambda: run.file(TABLE)):
        with pytest.raises(InputError, match=r"table\.parquet of run .* has changed"):
            show()


@pytest.mark.parametrize("name", FACTORS)
def test_one_flipped_bit_in_the_gradients_is_noticed(run: Run, name: str) -> None:
    flip(run.path / f"{name}.npy", -1)
    with pytest.raises(InputError, match=f"{name}.npy of run .* has changed"):
        _ = again(run).factors


def test_a_cut_off_file_is_noticed(run: Run) -> None:
    (run.path / TABLE).write_bytes((run.path / TABLE).read_bytes()[:-1])
    with pytest.raises(InputError, match="has changed"):
        run.file(TABLE)


def test_a_file_that_is_gone_or_never_was_is_named_with_the_state_of_the_run(run: Run) -> None:
    (run.path / TABLE).unlink()
    with pytest.raises(InputError, match=r"has no table\.parquet \(the run is absent\)"):
        run.file(TABLE)
    (run.path / "stray.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"has no stray\.npy"):
        run.file("stray.npy")
    assert not run.has_file("stray.npy")


def test_a_file_whose_writing_fails_is_not_in_the_manifest(run: Run) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.add_file("map.npy", fail)
    assert not run.has_file("map.npy")
    assert not (run.path / "map.npy").exists()


def test_a_file_written_again_replaces_the_old_one_and_its_hash(run: Run) -> None:
    run.add_file("map.npy", lambda path: path.write_bytes(b"one"))
    run.add_file("map.npy", lambda path: path.write_bytes(b"two"))
    assert run.file("map.npy").read_bytes() == b"two"


def test_settings_entered_later_are_seen_at_once(run: Run) -> None:
    assert run.settings["data_options"] == {"label": "y"}
    run.set_settings({"seed": 7})
    assert run.settings == {"seed": 7}
    assert again(run).settings == {"seed": 7}


@pytest.mark.parametrize(("budget", "rows"), [(2, [1, 3]), (0.25, [1]), (99, [1, 3, 2, 0]), (0, [])])
def test_flagged_are_the_most_suspicious_first(run: Run, budget: float, rows: list[int]) -> None:
    assert run.flag("l1", budget)["index"].tolist() == rows


def test_an_unknown_detector_and_a_budget_that_is_none_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match=r"no score 'l2'; it has: l1, random"):
        run.flag("l2", 0.5)
    for budget in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="budget"):
            run.flag("l1", budget)


def test_data_that_are_gone_are_said_to_be(run: Run) -> None:
    with pytest.raises(InputError, match=r"gone\.csv is not there"):
        run.open_dataset()


def test_a_run_says_what_it_is(run: Run) -> None:
    assert repr(run) == f"<oga run {run.id}: four, absent>"
