"""Decisions as an append-only log of events; the present state is a view of the log, and undo and redo are events too."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence

import pandas as pd

from oga_core.errors import InputError
from oga_core.review.decision import Decision, Event, after, in_force
from oga_core.review.reviewers import Reviewer, as_reviewer
from oga_core.runs import Run, database
from oga_core.runs.sizes import IN_FORCE
from oga_core.runs.workspace import now
from oga_core.task import DECISIONS

COLUMNS = ", ".join(Event._fields)


def decide(
    run: Run,
    samples: pd.DataFrame,
    action: str,
    *,
    reviewer: str | Reviewer,
    new_label: str | Sequence[str] = "",
    seen: Mapping[str, int] | None = None,
    op_id: str | None = None,
) -> int:
    """Append one event for each sample, in one transaction, and return how many; they are on disk then.

    Parameters
    ----------
    run
        The run the reviewer looks at.
    samples
        Rows of ``run.table`` (``sample_id`` and ``label`` are used). One call is one step of undo.
    action
        ``keep``, ``remove``, ``relabel`` or ``unsure``.
    reviewer
        Who decides; a name alone is its own identity.
    new_label
        Name of the class, for ``relabel``; or one for each of ``samples``.
    seen
        The ``seq`` of the decisions that the reviewer had before their eyes, by sample id: each event is based on that.
    op_id
        Identity of this action: the same one twice (double click, held key, repeated request) counts once, and returns 0.

    Raises
    ------
    InputError
        For an unknown action, class or an empty reviewer, or ``relabel`` where there are no classes.

    Examples
    --------
    >>> oga.decide(run, run.flag("l1", 2), "remove", reviewer="Ann")
    2
    >>> [decision.action for decision in oga.decisions(run).values()]
    ['remove', 'remove']
    """
    labels = _check_labels(run, action, new_label, len(samples))
    identity, name = as_reviewer(reviewer)
    unique: dict[str, tuple[str, str]] = {}
    for sample_id, label, new in zip(samples["sample_id"].tolist(), samples["label"].tolist(), labels, strict=True):
        unique.setdefault(sample_id, (label, new))
    batch, seen, time = op_id or uuid.uuid4().hex, seen or {}, now()
    rows = [
        (f"{batch}/{i}", batch, run.id, sample_id, identity, name, action, label, new, seen.get(sample_id, 0), time)
        for i, (sample_id, (label, new)) in enumerate(unique.items())
    ]
    with database.writing(run.workspace.database) as connection:
        if _is_there(connection, batch):
            return 0
        connection.executemany(
            "INSERT INTO events (op_id, batch, run, sample_id, identity, reviewer, action, old_label, new_label, base_seq, time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    return len(rows)


def _check_labels(run: Run, action: str, new_label: str | Sequence[str], n: int) -> list[str]:
    """Return the new label of each of n samples, empty unless they are relabelled; InputError for one that is no class."""
    if action not in DECISIONS:
        raise InputError(f"unknown decision {action!r}; there are: {', '.join(DECISIONS)}")
    if action != "relabel":
        return [""] * n
    if run.task.no_relabel:
        raise InputError(run.task.no_relabel)
    labels = [new_label] * n if isinstance(new_label, str) else list(new_label)
    names = run.class_names
    unknown = [name for name in dict.fromkeys(labels) if name not in names]
    if unknown:
        raise InputError(f"cannot relabel to {unknown[0]!r}: not a class of this data; there are: {', '.join(names[:20])}")
    return labels


def undo(run: Run, *, reviewer: str | Reviewer, op_id: str | None = None) -> list[str]:
    """Take back the reviewer's last standing action in this run (all of a bulk action). Unlimited: call it again.

    Returns
    -------
    The sample ids concerned; empty if nothing is left to undo.

    Examples
    --------
    >>> _ = oga.decide(run, run.table.head(2), "keep", reviewer="Ann")
    >>> len(oga.undo(run, reviewer="Ann")), oga.decisions(run)
    (2, {})
    """
    last = (
        "SELECT batch FROM events AS decision WHERE run = :run AND identity = :identity AND undoes IS NULL AND NOT EXISTS ("
        "SELECT 1 FROM events AS undo WHERE undo.undoes = decision.seq AND NOT EXISTS ("
        "SELECT 1 FROM events AS redo WHERE redo.undoes = undo.seq)) ORDER BY seq DESC LIMIT 1"
    )
    return _turn_round(run, "undo", last, as_reviewer(reviewer), op_id or uuid.uuid4().hex)


def redo(run: Run, *, reviewer: str | Reviewer, op_id: str | None = None) -> list[str]:
    """Do again what the reviewer's last undo in this run took back. Unlimited, until they decide something new.

    Decisions that others have made meanwhile are not overtaken: a redone decision has its old place in the order.

    Returns
    -------
    The sample ids concerned; empty if nothing is left to do again.
    """
    last = (
        "SELECT batch FROM events AS undo WHERE run = :run AND identity = :identity AND action = 'undo' AND seq > coalesce(("
        "SELECT max(seq) FROM events WHERE run = :run AND identity = :identity AND undoes IS NULL), 0) AND NOT EXISTS ("
        "SELECT 1 FROM events AS redo WHERE redo.undoes = undo.seq) ORDER BY seq DESC LIMIT 1"
    )
    return _turn_round(run, "redo", last, as_reviewer(reviewer), op_id or uuid.uuid4().hex)


def _turn_round(run: Run, action: str, last: str, reviewer: Reviewer, batch: str) -> list[str]:
    """Append an event that takes back each event of the batch that a query names; the sample ids concerned."""
    with database.writing(run.workspace.database) as connection:
        if _is_there(connection, batch):
            return []
        found = connection.execute(last, {"run": run.id, "identity": reviewer.identity}).fetchone()
        if found is None:
            return []
        connection.execute(
            "INSERT INTO events (op_id, batch, run, sample_id, identity, reviewer, action, old_label, new_label, base_seq, "
            "undoes, time) SELECT ? || '/' || (row_number() OVER (ORDER BY seq) - 1), ?, run, sample_id, identity, ?, ?, "
            "old_label, new_label, seq, seq, ? FROM events WHERE batch = ? ORDER BY seq",
            (batch, batch, reviewer.name, action, now(), found["batch"]),
        )
        return [
            row["sample_id"] for row in connection.execute("SELECT sample_id FROM events WHERE batch = ? ORDER BY seq", (batch,))
        ]


def _is_there(connection: sqlite3.Connection, batch: str) -> bool:
    return connection.execute("SELECT 1 FROM events WHERE batch = ?", (batch,)).fetchone() is not None


def events_where(connection: sqlite3.Connection, condition: str = "true", *values: object) -> list[Event]:
    """The events for which a condition of SQL holds, in their order."""
    connection.row_factory = None
    return list(map(Event._make, connection.execute(f"SELECT {COLUMNS} FROM events WHERE {condition} ORDER BY seq", values)))


def decisions(run: Run) -> dict[str, Decision]:
    """Return the decision in force for each decided sample, by sample id.

    Decisions belong to the sample's content and given label: one made in another run of this workspace, or before the
    data were put in another order, is in force here too. All of the log is read; `Standing` reads only what is new.

    Examples
    --------
    >>> oga.decide(run, run.table.head(1), "relabel", new_label="bee", reviewer="Ann")
    1
    >>> [(decision.action, decision.new_label) for decision in oga.decisions(run).values()]
    [('relabel', 'bee')]
    """
    with database.reading(run.workspace.database) as connection:
        events = events_where(connection)
    standing: dict[str, Decision] = {}
    for event in in_force(events):
        standing[event.sample_id] = after(event, standing.get(event.sample_id))
    return standing


def version(run: Run) -> int:
    """A number that grows with every event: two equal numbers mean that nothing was decided in between."""
    with database.reading(run.workspace.database) as connection:
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def count_decisions(run: Run) -> tuple[int, int]:
    """How many decisions were made in a run and not taken back, and by how many reviewers."""
    query = f"SELECT count(*), count(DISTINCT identity) FROM events AS decision WHERE run = ? AND {IN_FORCE}"
    with database.reading(run.workspace.database) as connection:
        decisions, reviewers = connection.execute(query, (run.id,)).fetchone()
    return int(decisions), int(reviewers)


def history(run: Run, sample_id: str) -> pd.DataFrame:
    """Every event of a sample, oldest first: ``seq, reviewer, action, old_label, new_label, undoes, time``."""
    with database.reading(run.workspace.database) as connection:
        events = events_where(connection, "sample_id = ?", sample_id)
    columns = [name for name in Event._fields if name not in ("sample_id", "identity", "base_seq")]
    return pd.DataFrame([event._asdict() for event in events], columns=columns)
