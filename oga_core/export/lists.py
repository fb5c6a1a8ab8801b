"""The rows of an export."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oga_core.data import Dataset
from oga_core.data.columns import STATUS
from oga_core.errors import InputError
from oga_core.review.standing import standing_of
from oga_core.runs import Run

WHAT = {
    "removed": "Samples to remove",
    "relabelled": "Samples to relabel, with the new label",
    "cleaned": "The whole data without the removed samples, relabelled ones with their new label",
    "flags": "Every flagged sample, confirmed or not",
}


def rows(
    run: Run, what: str, *, detector: str | None = None, budget: float | None = None, dataset: Dataset | None = None
) -> pd.DataFrame:
    """The rows of an export, in the order of the data.

    Parameters
    ----------
    run
        A finished run.
    what
        A key of `WHAT`. All but ``flags`` hold confirmed decisions only, unless a detector and a budget are given:
        then ``removed`` and ``cleaned`` treat flagged samples that nobody has decided on as removed.
    detector, budget
        What counts as flagged.
    dataset
        The run's data, where they are open already; ``cleaned`` needs them.

    Returns
    -------
    ``removed``, ``relabelled`` and ``flags``: ``sample_id, index, source, label, new_label, status, reviewer, time`` and
    the scores; ``status`` is ``confirmed`` for a decision by a person and ``flagged`` for a detector's suspicion.
    ``cleaned``: the data's own columns, samples that could not be scored included, and ``oga_status``.

    Raises
    ------
    InputError
        For an unknown ``what``, ``flags`` without detector and budget, or ``cleaned`` where the data have changed since
        the run.
    """
    if what not in WHAT:
        raise InputError(f"unknown export {what!r}; there are: {', '.join(WHAT)}")
    if (detector is None) != (budget is None) or (what == "flags" and detector is None):
        raise InputError("flags need both a detector and a budget (--detector NAME --budget 0.05)")
    marked = _mark(run, detector, budget)
    if what == "flags":
        return marked[marked["flagged"]].drop(columns="flagged").reset_index(drop=True)
    if what == "relabelled":
        return marked[marked["decision"] == "relabel"].drop(columns="flagged").reset_index(drop=True)
    removed = marked[(marked["decision"] == "remove") | (marked["flagged"] & (marked["decision"] == ""))]
    if what == "removed":
        return removed.drop(columns="flagged").reset_index(drop=True)
    return _clean(run, marked, set(removed["index"]), run.open_dataset() if dataset is None else dataset)


def _mark(run: Run, detector: str | None, budget: float | None) -> pd.DataFrame:
    """The samples that somebody has decided on or that are flagged, in the order of the data."""
    flagged = np.zeros(len(run.table), bool)
    if detector is not None and budget is not None:
        flagged[run.flag(detector, budget).index] = True
    standing = standing_of(run)
    rows = np.flatnonzero(flagged | (standing.codes > 0))
    table = run.table.iloc[rows]
    found = [standing.by_id.get(s) for s in table["sample_id"]]
    marked = table[["sample_id", "index", "source", "label"]].assign(
        new_label=[d.new_label if d else "" for d in found],
        decision=[d.action if d else "" for d in found],
        status=["confirmed" if d else "flagged" for d in found],
        reviewer=[d.reviewer if d else "" for d in found],
        time=[d.time if d else "" for d in found],
        **({"suggested_label": table["suggested_label"]} if "suggested_label" in table else {}),
        flagged=flagged[rows],
    )
    return marked.join(table[[d.name for d in run.detectors]]).sort_values("index")


def _clean(run: Run, marked: pd.DataFrame, removed: set[int], dataset: Dataset) -> pd.DataFrame:
    if len(dataset) != run.summary.samples:
        raise InputError(
            f"the data of run {run.id} have changed: {run.summary.samples:,} samples were scored, "
            f"now there are {len(dataset):,}; score them again"
        )
    known = marked.set_index("index")
    for i in known.index:
        if not dataset.holds(int(i), str(known.at[i, "sample_id"])):
            raise InputError(f"{dataset.sources[i]} has changed since run {run.id} scored it; score the data again")
    decided = dict.fromkeys(run.table["index"].tolist(), ("", ""))
    decided |= dict(zip(known.index.tolist(), zip(known["decision"], known["new_label"])))
    rows = []
    for i in range(len(dataset)):
        if i in removed:
            continue
        row = dataset.original(i)
        decision, new_label = decided.get(i, ("not scored", ""))
        if decision == "relabel":
            row[dataset.label_column] = new_label
        rows.append({**row, STATUS: decision or "not reviewed"})
    columns = dict.fromkeys([*dataset.original(0), STATUS])  # the data may be an earlier export
    return pd.DataFrame(rows, columns=list(columns), dtype=object)
