"""Groups of gradients that point the same way, against the algorithm written out gradient by gradient."""

from __future__ import annotations

import importlib
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from oga_core.files import save_array
from oga_core.gradients import unit_rows
from oga_core.review import Selection, arrange_rows, clusters, decide, select_rows, standing_of
from oga_core.runs import Run, Workspace
from oga_core.runs.run import TABLE
from tests.summaries import make_summary

N = 300
module = importlib.import_module("oga_core.review.clusters")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Samples of 3 classes whose gradients lie around 12 directions, by L1 in the order of their rows."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(12, size=N)
    features = rng.exponential(size=(12, 6))[kinds] + 1.5 * rng.exponential(size=(N, 6))
    labels = kinds % 3
    p = rng.dirichlet([1.0, 1.0, 1.0], 12)[kinds]
    residuals = p - np.eye(3)[labels]
    made = Workspace(tmp_path).new_run("clusters")
    names = np.array(["cat", "dog", "owl"])[labels]
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(N)], "index": range(N), "label": names, "predicted": names})
    table = table.assign(l1=np.arange(N, 0, -1.0))
    made.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    for name, values in (("residual", residuals), ("feature", features)):
        vectors, norms = unit_rows(values)
        made.add_file(f"{name}s.npy", partial(save_array, vectors))
        made.add_file(f"{name}_norms.npy", partial(save_array, norms))
    made.set_summary(make_summary(class_names=("cat", "dog", "owl"), detectors=("l1",)))
    return made


def by_hand(run: Run, rows: np.ndarray) -> set[frozenset[int]]:
    units = np.einsum("nc,nd->ncd", *(v.astype(np.float64) for v in (run.factors.residuals, run.factors.features))).reshape(N, -1)
    groups: dict[int, set[int]] = {}
    for row in sorted(rows.tolist(), key=lambda r: (-run.factors.residual_norms[r] * run.factors.feature_norms[r], r)):
        cosines = {leader: units[row] @ units[leader] for leader in groups}
        best = max(cosines, key=lambda leader: cosines[leader], default=None)
        if best is not None and cosines[best] >= 0.8:
            groups[best].add(row)
        else:
            groups[row] = {row}
    return {frozenset(group) for group in groups.values()}


def grouped(rows: np.ndarray, numbers: np.ndarray) -> set[frozenset[int]]:
    assert sorted(set(numbers.tolist())) == list(range(len(set(numbers.tolist()))))
    return {frozenset(rows[numbers == k].tolist()) for k in set(numbers.tolist())}


@pytest.mark.parametrize("block", [4, 37, 512])
def test_they_are_those_of_leader_clustering_whatever_the_block(run: Run, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    found = grouped(np.arange(N), clusters(run, np.arange(N)))
    assert found == by_hand(run, np.arange(N))
    assert 12 < len(found) < N / 2
    assert max(map(len, found)) > 10


def test_gradients_of_different_given_labels_never_are_alike_so_that_none_is_missed(run: Run) -> None:
    labels = run.codes("label")
    assert all(len(set(labels[list(group)])) == 1 for group in by_hand(run, np.arange(N)))


def test_they_do_not_depend_on_the_order_of_the_rows(run: Run) -> None:
    rows = np.random.default_rng(1).permutation(N)[:150]
    expected = grouped(rows, clusters(run, rows))
    run.cached.pop("clusters")
    assert grouped(rows[::-1], clusters(run, rows[::-1])) == expected == by_hand(run, rows)
    assert grouped(np.sort(rows), clusters(run, np.sort(rows))) == expected


def test_rows_beyond_the_limit_are_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 100)
    rows = np.arange(N)[::-1].copy()
    found = grouped(rows, clusters(run, rows))
    assert found == by_hand(run, rows[:100]) | {frozenset([int(row)]) for row in rows[100:]}


def test_none_and_one_have_their_groups_too(run: Run) -> None:
    assert clusters(run, np.zeros(0, np.int64)).tolist() == []
    assert clusters(run, np.array([7])).tolist() == [0]


def test_a_grouping_is_kept_but_not_every_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    leaders = Mock(wraps=module.leaders)
    monkeypatch.setattr(module, "leaders", leaders)
    for size in (10, 20, 10, 30, 40, 50, 10):
        clusters(run, np.arange(size))
    assert leaders.call_count == 6


def test_by_cluster_the_biggest_group_comes_first_and_in_it_the_most_suspicious(run: Run) -> None:
    chosen = Selection("l1", budget=0.5, order="cluster")
    rows, groups = arrange_rows(run, chosen, standing_of(run))
    assert groups is not None
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    assert len(starts) == len(set(groups.tolist()))  # each group in one piece
    pieces = np.split(rows, starts[1:])
    assert [len(p) for p in pieces] == sorted((len(p) for p in pieces), reverse=True)
    for one, other in pairwise(pieces):
        assert (np.diff(one) > 0).all()
        assert len(one) > len(other) or one[0] < other[0]
    assert set(map(frozenset, (p.tolist() for p in pieces))) == by_hand(run, np.arange(150))


def test_deciding_does_not_change_the_groups_nor_their_order(run: Run) -> None:
    chosen = Selection("l1", budget=0.5, order="cluster", decisions=("undecided",))
    rows, groups = arrange_rows(run, chosen, standing_of(run))
    assert groups is not None
    decided = rows[[0, 1, 17, 60]]
    decide(run, run.table.iloc[decided], "keep", reviewer="ann")
    left, of = arrange_rows(run, chosen, standing_of(run))
    keep = ~np.isin(rows, decided)
    assert of is not None
    assert (left.tolist(), of.tolist()) == (rows[keep].tolist(), groups[keep].tolist())
    assert select_rows(run, chosen, standing_of(run)).tolist() == left.tolist()


def test_in_the_other_orders_there_are_no_groups(run: Run) -> None:
    for order in ("suspicion", "uncertainty"):
        assert arrange_rows(run, Selection("l1", order=order), standing_of(run))[1] is None
