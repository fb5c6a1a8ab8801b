"""Decisions as an append-only log of events; the present state is a view of the log, and undo is an event too."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from oga_core.errors import InputError
from oga_core.runs import Run, database
from oga_core.runs.workspace import now

ACTIONS = ("keep", "remove", "relabel", "unsure")


@dataclass(frozen=True)
class Decision:
    """What stands for a sample now, and whether another reviewer's decision was overtaken without having been seen.

    A conflict stays until somebody who has seen it decides.
    """

    seq: int
    sample_id: str
    reviewer: str
    action: str
    old_label: str
    new_label: str
    time: str
    conflict: bool

    def __str__(self) -> str:
        return f"{self.action} to {self.new_label}" if self.new_label else self.action


def decide(
    run: Run,
    samples: pd.DataFrame,
    action: str,
    *,
    reviewer: str,
    new_label: str | Sequence[str] = "",
    seen: Mapping[str, Decision] | None = None,
    op_id: str | None = None,
) -> int:
    """Append one event for each sample, in one transaction; when this returns, they are on disk.

    Parameters
    ----------
    run
        The run the reviewer looks at.
    samples
        Rows of ``run.table`` (``sample_id`` and ``label`` are used). One call is one step of undo.
    action
        ``keep``, ``remove``, ``relabel`` or ``unsure``.
    reviewer
        Who decides.
    new_label
        Name of the class, for ``relabel``; or one for each of ``samples``.
    seen
        The decisions the reviewer had before their eyes, by sample id: each event is based on that.
    op_id
        Identity of this action: doing it twice (double click, held key, repeated request) counts once.

    Returns
    -------
    Number of events written: 0 if this ``op_id`` was there already.

    Raises
    ------
    InputError
        For an unknown action, class or an empty reviewer.
    """
    if action not in ACTIONS:
        raise InputError(f"unknown decision {action!r}; there are: {', '.join(ACTIONS)}")
    if not reviewer.strip():
        raise InputError("a decision needs a reviewer: enter your name")
    labels = [new_label] * len(samples) if isinstance(new_label, str) else list(new_label)
    if action == "relabel":
        names = run.class_names
        unknown = [name for name in labels if name not in names]
        if unknown:
            raise InputError(f"cannot relabel to {unknown[0]!r}: not a class of this data; there are: {', '.join(names[:20])}")
    batch = op_id or uuid.uuid4().hex
    seen = seen or {}
    unique = samples[["sample_id", "label"]].assign(new_label=labels if action == "relabel" else "").drop_duplicates("sample_id")
    rows = [
        (f"{batch}/{i}", batch, run.id, sample_id, reviewer.strip(), action, label, new,
         seen[sample_id].seq if sample_id in seen else 0, None, now())
        for i, (sample_id, label, new) in enumerate(unique.itertuples(index=False))
    ]  # fmt: skip
    return _append(run, batch, rows)


def undo(run: Run, *, reviewer: str, op_id: str | None = None) -> list[str]:
    """Take back the reviewer's last standing action in this run (all of a bulk action). Unlimited: call it again.

    Returns
    -------
    The sample ids concerned; empty if nothing is left to undo.
    """
    batch = op_id or uuid.uuid4().hex
    undone = "SELECT undoes FROM events WHERE undoes IS NOT NULL"
    with database.writing(run.workspace.database) as connection:
        if connection.execute("SELECT 1 FROM events WHERE batch = ?", (batch,)).fetchone():
            return []
        last = connection.execute(
            f"SELECT batch FROM events WHERE run = ? AND reviewer = ? AND undoes IS NULL AND seq NOT IN ({undone}) "
            "ORDER BY seq DESC LIMIT 1",
            (run.id, reviewer.strip()),
        ).fetchone()
        if last is None:
            return []
        events = connection.execute("SELECT * FROM events WHERE batch = ? ORDER BY seq", (last["batch"],)).fetchall()
        for i, event in enumerate(events):
            row = (f"{batch}/{i}", batch, run.id, event["sample_id"], reviewer.strip(), "undo", event["old_label"],
                   event["new_label"], event["seq"], event["seq"], now())  # fmt: skip
            connection.execute(_INSERT, row)
    return [event["sample_id"] for event in events]


_INSERT = (
    "INSERT INTO events (op_id, batch, run, sample_id, reviewer, action, old_label, new_label, base_seq, undoes, time) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _append(run: Run, batch: str, rows: Sequence[tuple[object, ...]]) -> int:
    with database.writing(run.workspace.database) as connection:
        if connection.execute("SELECT 1 FROM events WHERE batch = ?", (batch,)).fetchone():
            return 0
        connection.executemany(_INSERT, rows)
    return len(rows)


def decisions(run: Run) -> dict[str, Decision]:
    """What stands now for each decided sample, by sample id.

    Decisions belong to the sample's content and given label: one made in another run of this workspace, or before the
    data were put in another order, stands here too.
    """
    with database.reading(run.workspace.database) as connection:
        events = connection.execute("SELECT * FROM events ORDER BY seq").fetchall()
    undone = {event["undoes"] for event in events if event["undoes"] is not None}
    standing: dict[str, Decision] = {}
    for event in events:
        if event["undoes"] is not None or event["seq"] in undone:
            continue
        sample_id = event["sample_id"]
        before = standing.get(sample_id)
        conflict = False
        if before is not None and before.seq > event["base_seq"]:
            differs = (before.action, before.new_label) != (event["action"], event["new_label"])
            conflict = before.conflict or (differs and before.reviewer != event["reviewer"])
        standing[sample_id] = Decision(
            event["seq"], sample_id, event["reviewer"], event["action"], event["old_label"], event["new_label"],
            event["time"], conflict,
        )  # fmt: skip
    return standing


def version(run: Run) -> int:
    """A number that grows with every event: two equal numbers mean that nothing was decided in between."""
    with database.reading(run.workspace.database) as connection:
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def history(run: Run, sample_id: str) -> pd.DataFrame:
    """Every event of a sample, oldest first: ``seq, reviewer, action, old_label, new_label, undoes, time``."""
    columns = ["seq", "reviewer", "action", "old_label", "new_label", "undoes", "time"]
    with database.reading(run.workspace.database) as connection:
        query = f"SELECT {', '.join(columns)} FROM events WHERE sample_id = ? ORDER BY seq"
        rows = connection.execute(query, (sample_id,)).fetchall()
    return pd.DataFrame([tuple(row) for row in rows], columns=columns)
