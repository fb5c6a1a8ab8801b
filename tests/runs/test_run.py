"""A run shows only files that are what was written."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from oga_core.detectors import Interval, Recommendation
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.runs import DataSource, Run, RunSpec, Workspace, recommend
from oga_core.runs.run import FACTORS, NOT_SCORED, RECOMMENDATION, SKETCHES, TABLE
from oga_core.runs.sample_ids import SampleIds
from tests.summaries import make_summary

L1 = [0.5, 3.0, 1.0, 2.0]
RECOMMENDED = Recommendation(
    ["oof:noise"],
    out_of_fold=False,
    wrong=Interval(0.25, 0.125, 0.5),
    budget=0.0,
    at_budget=None,
    curve=[],
    canaries=[],
    mistaken=[("x", "y", 1.5)],
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Workspace(tmp_path).new_run("four", RunSpec(DataSource(str(tmp_path / "gone.csv"), label="y")))
    table = pd.DataFrame({"sample_id": list("abcd"), "index": range(4), "label": list("xxyy"), "l1": L1, "random": 0.0})
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    made.add_file(NOT_SCORED, lambda path: table.iloc[:0].to_parquet(path, index=False))
    for i, name in enumerate(FACTORS):
        values = np.full((4, 2) if i < 2 else 4, 1.0, np.float16 if i < 2 else np.float32)
        made.add_file(f"{name}.npy", partial(save_array, values))
    made.set_summary(make_summary(class_names=("x", "y"), detectors=("l1", "random")))
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
    assert found.spec.data is not None
    assert (found.class_names, found.spec.data.label) == (["x", "y"], "y")
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


def test_a_spec_entered_later_is_seen_at_once(run: Run) -> None:
    assert run.spec.data is not None
    assert run.spec.data.label == "y"
    run.set_spec(RunSpec(seed=7))
    assert run.spec == RunSpec(seed=7)
    assert again(run).spec == RunSpec(seed=7)


@pytest.mark.parametrize(("budget", "rows"), [(2, [1, 3]), (0.25, [1]), (99, [1, 3, 2, 0]), (0, [])])
def test_flagged_are_the_most_suspicious_first(run: Run, budget: float, rows: list[int]) -> None:
    assert run.flag("l1", budget)["index"].tolist() == rows


def test_all_rows_are_ranked_and_equal_scores_keep_the_order_of_the_data(run: Run) -> None:
    assert run.ranked("l1").tolist() == [1, 3, 2, 0]
    assert run.ranked("random").tolist() == [0, 1, 2, 3]
    assert run.ranked("l1").dtype == np.int32
    assert run.ranked("l1") is run.ranked("l1")
    with pytest.raises(ValueError, match="read-only"):
        run.ranked("l1")[0] = 0


def test_classes_have_codes_and_one_that_only_the_model_has_the_code_after_the_last(run: Run) -> None:
    table = run.table.assign(predicted=["y", "only the model's", "x", "y"])
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    found = again(run)
    assert found.codes("label").tolist() == [0, 0, 1, 1]
    assert found.codes("predicted").tolist() == [1, 2, 0, 1]
    assert found.codes("label").dtype == np.uint16
    assert found.codes("label") is found.codes("label")
    found.set_summary(replace(found.summary, class_names=("y", *map(str, range(70_000)), "x")))
    many = again(run)
    assert many.codes("label").tolist() == [70_001, 70_001, 0, 0]
    assert many.codes("label").dtype == np.int32


def test_rows_are_found_by_their_sample_ids_each_of_them_and_in_the_order_of_the_table(run: Run) -> None:
    table = run.table.assign(sample_id=["bb", "a", "c", "a"])
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    found = again(run)
    assert found.rows_of(["c", "bb", "c"]).tolist() == [0, 2]
    assert found.rows_of(iter(["a"])).tolist() == [1, 3]
    assert found.rows_of(["", "b", "bbb", "z", "ä", "a "]).tolist() == found.rows_of([]).tolist() == []
    assert found.rows_of([]).dtype == np.int64


@settings(max_examples=100)
@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=20), st.lists(st.text("abc", max_size=4)))
def test_rows_of_many_sample_ids_are_those_of_a_search_row_by_row(ids: list[str], wanted: list[str]) -> None:
    found = SampleIds(np.array(ids, dtype=object)).rows(wanted)
    assert found.tolist() == [row for row, sample_id in enumerate(ids) if sample_id in wanted]


def test_an_unknown_detector_and_a_budget_that_is_none_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match=r"no score 'l2'; it has: l1, random$"):
        run.flag("l2", 0.5)
    for budget in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="budget"):
            run.flag("l1", budget)


def test_data_that_are_gone_are_said_to_be(run: Run) -> None:
    with pytest.raises(InputError, match=r"not found: .*gone\.csv"):
        run.open_dataset()


def test_a_run_says_what_it_is(run: Run) -> None:
    assert repr(run) == f"<oga run {run.id}: four, absent>"


def test_beyond_the_head_the_gradients_are_their_sketches_beside_the_features_of_the_head(run: Run) -> None:
    run.add_file("sketches.npy", partial(save_array, np.array([[0.6, 0.8, 0.0]] * 4, np.float16)))
    with pytest.raises(InputError, match=r"has no sketch_norms\.npy"):
        _ = again(run).factors
    run.add_file("sketch_norms.npy", partial(save_array, np.array([5.0, 10, 0, 1], np.float32)))
    residuals, sketches = again(run).factors.block(slice(None))
    np.testing.assert_allclose(residuals * sketches, np.array([[3, 4, 0], [6, 8, 0], [0, 0, 0], [0.6, 0.8, 0]]), atol=5e-3)
    assert isinstance(again(run).factors.features, np.memmap)
    for name in SKETCHES:
        kept = (run.path / f"{name}.npy").read_bytes()
        flip(run.path / f"{name}.npy", -1)
        with pytest.raises(InputError, match=f"{name}.npy of run .* has changed"):
            _ = again(run).factors
        (run.path / f"{name}.npy").write_bytes(kept)


def test_a_run_that_is_not_done_says_so_whatever_is_asked_of_it(tmp_path: Path) -> None:
    queued = Workspace(tmp_path).new_run("queued")
    for ask in (lambda: queued.table, lambda: queued.detectors, lambda: queued.flag("l1", 0.1), lambda: recommend(queued)):
        with pytest.raises(InputError, match=r"has no table\.parquet \(the run is absent\)"):
            ask()
    assert queued.recommendation is None


def written(run: Run) -> Run:
    run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(RECOMMENDED.to_dict()), "utf-8"))
    return run


def test_a_recommendation_is_found_once_it_is_written_and_in_another_process(run: Run) -> None:
    assert run.recommendation is None
    written(run)
    for one in (run, again(run)):
        assert one.recommendation == RECOMMENDED
        assert recommend(one) is one.recommendation


def test_a_changed_recommendation_is_never_shown(run: Run) -> None:
    flip(written(run).path / RECOMMENDATION, 40)
    for show in (lambda: again(run).recommendation, lambda: recommend(again(run))):
        with pytest.raises(InputError, match=r"recommendation\.json of run .* has changed"):
            show()


def test_without_a_recommendation_the_reason_is_told(run: Run) -> None:
    with pytest.raises(InputError, match=f"run {run.id} has no recommendation: it was made by an older version; score the data"):
        recommend(run)
    run.set_summary(replace(run.summary, no_recommendation="there are too few samples"))
    with pytest.raises(InputError, match=f"^run {run.id} has no recommendation: there are too few samples$"):
        recommend(run)
