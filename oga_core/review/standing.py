"""The decisions that stand, kept up to date by reading only what is new in the log."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from oga_core.review.decision import Decision, after, in_force
from oga_core.review.decisions import events_where
from oga_core.runs import Run, database
from oga_core.task import DECISIONS

UNDECIDED = "undecided"
STATES = (UNDECIDED, *DECISIONS)


class Standing:
    """The decisions in force for a run's samples. One for a run and process; threads may share it.

    Attributes
    ----------
    version
        Number of the last event that is known.
    by_id
        What `decisions` gives, as of the last `update`. Look samples up in it; another thread may add to it.
    codes
        Positions in `STATES` of every row of ``run.table``, uint8, shape ``(n,)``. A new array after a change.
    disputed
        Which rows reviewers disagree about, bool, shape ``(n,)``. A new array after a change.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self.version = 0
        self._by_id: dict[str, Decision] = {}
        self.codes = np.zeros(len(run.table), np.uint8)
        self.disputed = np.zeros(len(run.table), bool)

    @property
    def by_id(self) -> Mapping[str, Decision]:
        return self._by_id

    def update(self) -> int:
        """Read the events that came since the last time; returns the version."""
        with self._lock:
            with database.reading(self._run.workspace.database) as connection:
                events = events_where(connection, "seq > ?", self.version)
                if not events:
                    return self.version
                turned = {event.sample_id for event in events if event.undoes is not None}
                if turned and self.version:  # what was taken back is to be seen only in all events of its sample
                    since = "SELECT sample_id FROM events WHERE seq > ? AND undoes IS NOT NULL"
                    past = events_where(connection, f"seq <= ? AND sample_id IN ({since})", self.version, self.version)
                    events = past + events
            changed: dict[str, Decision | None] = dict.fromkeys(turned)
            for event in in_force(events):
                before = changed[event.sample_id] if event.sample_id in changed else self._by_id.get(event.sample_id)
                changed[event.sample_id] = after(event, before)
            self._take(changed)
            self.version = events[-1].seq
            return self.version

    def _take(self, changed: Mapping[str, Decision | None]) -> None:
        codes, disputed = self.codes.copy(), self.disputed.copy()
        alike: dict[tuple[int, bool], list[str]] = defaultdict(list)
        for sample_id, decision in changed.items():
            if decision is None:
                self._by_id.pop(sample_id, None)
                alike[0, False].append(sample_id)
            else:
                self._by_id[sample_id] = decision
                alike[STATES.index(decision.action), decision.disputed].append(sample_id)
        for (code, in_dispute), sample_ids in alike.items():
            rows = self._run.rows_of(sample_ids)
            codes[rows], disputed[rows] = code, in_dispute
        self.codes, self.disputed = codes, disputed


def standing_of(run: Run) -> Standing:
    """The decisions in force for a run now, by all reviewers and from all processes."""
    if "standing" not in run.cached:
        run.cached.setdefault("standing", Standing(run))
    found: Standing = run.cached["standing"]
    found.update()
    return found
