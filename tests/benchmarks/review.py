"""What looking and deciding cost on a big run: ``python -m tests.benchmarks.review 10000 100000 1000000``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from oga_core.benchmarks.big_run import big_run
from oga_core.review import Selection, Standing, agreement, claim, clusters, decide, pace, redo, select_rows, undo, why
from oga_core.review.orders import ORDERS
from oga_core.runs import Run, Workspace

REPEATS = 7
EVENTS = 100_000
"""In the log before anything is timed."""


def best(work: Callable[[], object]) -> float:
    """Milliseconds of the fastest of several times."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def once(work: Callable[[], object]) -> float:
    """Milliseconds of the first time."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def lasso(corners: int) -> tuple[tuple[float, float], ...]:
    """A wavy outline around two thirds of normal positions."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = 1.5 * (1 + 0.2 * np.sin(5 * turn))
    return tuple(zip((radius * np.cos(turn)).tolist(), (radius * np.sin(turn)).tolist()))


def selections(run: Run) -> dict[str, Selection]:
    """A selection for each kind of filter and order."""
    plain = Selection(run.detectors[0].name, flagged_only=False)
    low, high = np.quantile(run.table[plain.detector], [0.2, 0.8]).tolist()
    return {
        "everything": plain,
        "flagged": replace(plain, flagged_only=True),
        "labels": replace(plain, labels=("1", "7")),
        "predicted": replace(plain, predicted=("3",)),
        "undecided": replace(plain, decisions=("undecided",)),
        "score range": replace(plain, score_range=(low, high)),
        "disputed": replace(plain, disputed=True),
        "search": replace(plain, search="row 17"),
        "lasso": replace(plain, lassos=(("replace", lasso(200), "map"),)),
        **{f"flagged, by {order}": replace(plain, flagged_only=True, order=order) for order in ORDERS[1:]},
        **{f"everything, by {order}": replace(plain, order=order) for order in ORDERS[1:]},
    }


def measure(run: Run) -> dict[str, float]:
    """Milliseconds by what was done."""
    detector, found = run.detectors[0].name, {"table, once": once(lambda: run.table)}
    found |= {
        "ranked, once": once(lambda: run.ranked(detector)),
        "codes, once": once(lambda: run.codes("label")),
        "rows_of, once": once(lambda: run.rows_of([])),
    }
    standing = Standing(run)
    found |= _log(run, standing)
    positions = {"map": np.random.default_rng(0).standard_normal((len(run.table), 2), dtype=np.float32)}
    dataset = run.open_dataset()
    for name, selection in selections(run).items():
        found[f"selected, first time: {name}"] = once(partial(select_rows, run, selection, standing, positions, dataset))
        found[f"selected: {name}"] = best(partial(select_rows, run, selection, standing, positions, dataset))
    found["search for other words"] = best(lambda: dataset.search(f"row {time.perf_counter_ns()}"))
    rows = run.ranked(detector)[:5000].astype(np.int64)
    ids = run.table["sample_id"].iloc[rows].tolist()
    found["claim 8 of 5,000"] = best(lambda: claim(run, ids, "ann", 8))
    found["clusters of 5,000"] = once(lambda: clusters(run, rows))
    chosen = Selection(detector)
    found["why, first time"] = once(lambda: why(run, int(rows[0]), chosen))
    return found | {"why": best(lambda: why(run, int(rows[1]), chosen).to_dict())}


def _log(run: Run, standing: Standing) -> dict[str, float]:
    """What deciding costs, and knowing what stands."""
    table, rng, found = run.table, np.random.default_rng(0), {}
    for i in range(EVENTS // 10_000):
        some = table.iloc[rng.permutation(len(table))[:10_000]]
        found["decide on 10,000 at once"] = once(partial(decide, run, some, "keep", reviewer=f"r{i % 3}"))
    found[f"Standing, first time, {EVENTS:,} events"] = once(standing.update)
    found["Standing, nothing new"] = best(standing.update)
    one, updates = table.iloc[[5]], []
    for _ in range(REPEATS):
        decide(run, one, "keep", reviewer="ann")
        updates.append(once(standing.update))
    found["Standing, one decision"] = min(updates)
    found["decide on one"] = best(partial(decide, run, one, "keep", reviewer="ann"))
    found["pace"] = best(partial(pace, run, "ann"))
    for name, step in (("undo", undo), ("redo", redo)):
        found[f"{name} of one"] = best(partial(step, run, reviewer="ann"))
        found[f"Standing, after {REPEATS} times {name}"] = once(standing.update)
    found["undo of 10,000"] = once(partial(undo, run, reviewer="r0"))
    found["Standing after it"] = once(standing.update)
    return found | {"agreement": once(partial(agreement, run))}


def main() -> None:
    for samples in map(int, sys.argv[1:] or ["10000"]):
        with tempfile.TemporaryDirectory() as folder:
            made = big_run(Workspace(Path(folder)), samples)
            print(f"\n{samples:,} samples")
            for name, ms in measure(Workspace(Path(folder)).run(made.id)).items():
                print(f"{ms:10.1f} ms  {name}")


if __name__ == "__main__":
    main()
