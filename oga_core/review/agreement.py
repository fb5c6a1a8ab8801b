"""How far reviewers agree."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd

from oga_core.review.decision import in_force
from oga_core.review.decisions import events_where
from oga_core.review.reviewers import Reviewer, as_identity
from oga_core.runs import Run, database

COLUMNS = ["reviewer", "other", "both", "same", "kappa"]


def agreement(run: Run) -> pd.DataFrame:
    """A row for each two reviewers who have decided on the same samples of a run, most of them first.

    Returns
    -------
    ``reviewer``, ``other``; ``both``, on how many samples both have decided; ``same``, on how many of them their last words
    are the same (the new label counts); ``kappa``, Cohen's: (share that is the same − share expected by chance) / (1 − that),
    NaN where chance alone explains all (Cohen, Educational and Psychological Measurement 20, 1960).
    """
    with database.reading(run.workspace.database) as connection:
        events = in_force(events_where(connection))
    here = set(run.table["sample_id"].iloc[run.rows_of({event.sample_id for event in events})])
    said: dict[str, dict[str, tuple[str, str]]] = {}
    names: dict[str, str] = {}
    for event in events:
        if event.sample_id in here:
            said.setdefault(event.identity, {})[event.sample_id] = (event.action, event.new_label)
            names[event.identity] = event.reviewer
    names = _distinct(names)
    found = []
    for one, other in combinations(sorted(said, key=names.__getitem__), 2):
        both = said[one].keys() & said[other].keys()
        if both:
            same = sum(said[one][s] == said[other][s] for s in both)
            chance = _chance([said[one][s] for s in both], [said[other][s] for s in both])
            kappa = (same / len(both) - chance) / (1 - chance) if chance < 1 else np.nan
            found.append((names[one], names[other], len(both), same, kappa))
    return pd.DataFrame(found, columns=COLUMNS).sort_values("both", ascending=False, kind="stable", ignore_index=True)


def _distinct(names: dict[str, str]) -> dict[str, str]:
    """Return the names with a number behind those that several identities have."""
    count: Counter[str] = Counter()
    shown = {}
    for identity, name in names.items():
        count[name] += 1
        shown[identity] = name if count[name] == 1 else f"{name} ({count[name]})"
    return shown


def _chance(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> float:
    """Share of equal words of two reviewers who say each word as often as they do, but at random."""
    counts = Counter(one), Counter(other)
    return sum(counts[0][word] * counts[1][word] for word in counts[0]) / len(one) ** 2


def others_decide(run: Run, reviewer: str | Reviewer) -> bool:
    """Whether another identity than a reviewer's has decided in a run."""
    with database.reading(run.workspace.database) as connection:
        for query in ("identity < ?", "identity > ?"):  # each finds its end of an index at once
            if connection.execute(
                f"SELECT 1 FROM events WHERE run = ? AND {query} LIMIT 1", (run.id, as_identity(reviewer))
            ).fetchone():
                return True
    return False
