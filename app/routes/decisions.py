"""Decisions: decide, undo, redo, and the history of a sample. A decision is answered after its COMMIT, never before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from starlette.requests import Request
from starlette.responses import Response

from app import queues
from app.routes.requests import (
    Refusal,
    answer_json,
    describe_others,
    find_queue,
    find_row,
    find_run,
    read_text,
    require_reviewer,
)
from oga_core import Run, review
from oga_core.review import Reviewer, standing_of
from oga_core.runs.workspace import now


def decide(request: Request, sent: dict[str, Any]) -> Response:
    """Decide on up to 60 rows, each with the number of the decision that was seen, or on a whole queue as it was seen."""
    run = find_run(sent.get("run"))
    queue = queues.find(str(sent.get("queue")))
    samples, seen = _find_samples(run, sent)
    label = sent.get("label")
    if label is not None and not isinstance(label, str):
        raise Refusal(400, "label: the name of a class is needed, or null for each sample's suggested label")
    new_label: str | list[str] = label or ""
    if label is None and "suggested_label" in samples:
        new_label = samples["suggested_label"].astype(str).tolist()
    reviewer, action, op = require_reviewer(request), read_text(sent, "action"), read_text(sent, "op")
    saved = review.decide(run, samples, action, reviewer=reviewer, new_label=new_label, seen=seen, op_id=op)
    return _answer_saved(run, queue, reviewer, saved, [] if sent.get("all") else samples["sample_id"].tolist())


def _find_samples(run: Run, sent: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows of ``run.table`` to decide on, and by id the numbers of the decisions that were seen."""
    if not sent.get("all"):
        rows, numbers = _read_rows(run, sent.get("samples"))
        samples = run.table.iloc[rows]
        return samples, dict(zip(samples["sample_id"], numbers, strict=True))
    standing = standing_of(run)
    queue = find_queue(run, sent.get("queue"))
    known = sent.get("version")
    if not isinstance(known, int):
        raise Refusal(400, "version: a whole number is needed")
    samples = run.table.iloc[queue.rows]
    return samples, {s: d.seq for s in samples["sample_id"] if (d := standing.by_id.get(s)) is not None and d.seq <= known}


def _read_rows(run: Run, given: object) -> tuple[list[int], list[int]]:
    """Read pairs of a row and the number of the decision that was seen."""
    if not isinstance(given, list) or not 0 < len(given) <= queues.AT_ONCE:
        raise Refusal(400, f"samples: 1 to {queues.AT_ONCE} are needed")
    pairs = [
        pair for pair in given if isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int and 0 <= pair[1] < 1 << 63
    ]
    if len(pairs) != len(given):
        raise Refusal(400, "samples: pairs of a row and the number of the decision seen are needed")
    return [find_row(run, row) for row, _ in pairs], [seen for _, seen in pairs]


def undo(request: Request, sent: dict[str, Any]) -> Response:
    """Undo the reviewer's last step."""
    return _step(review.undo, request, sent)


def redo(request: Request, sent: dict[str, Any]) -> Response:
    """Redo the step that the reviewer has undone last."""
    return _step(review.redo, request, sent)


def _step(step: Callable[..., list[str]], request: Request, sent: dict[str, Any]) -> Response:
    run = find_run(sent.get("run"))
    queue = queues.find(str(sent.get("queue")))
    reviewer = require_reviewer(request)
    ids = step(run, reviewer=reviewer, op_id=read_text(sent, "op"))
    return _answer_saved(run, queue, reviewer, len(ids), ids)


def _answer_saved(run: Run, queue: queues.Queue | None, reviewer: Reviewer, saved: int, ids: Sequence[str]) -> Response:
    """Answer how many were saved, and the decisions that now hold for the samples; of many samples only for the first."""
    standing = standing_of(run)
    shown = list(dict.fromkeys(ids))[: queues.AT_ONCE]
    return answer_json(
        {
            "saved": saved,
            "ids": shown,
            "decisions": {s: queues.describe_decision(standing.by_id.get(s)) for s in shown},
            "version": standing.version,
            "at": now(),
            "progress": None if queue is None else queues.measure_progress(run, queue, reviewer),
            **describe_others(run, reviewer),
        }
    )


def history(request: Request) -> Response:
    """Return every event of a sample, oldest first."""
    run = find_run(request.path_params["run"])
    sample_id = str(run.table["sample_id"].iloc[find_row(run, request.path_params["row"])])
    return answer_json(json.loads(review.history(run, sample_id).to_json(orient="records")))
