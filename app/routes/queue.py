"""A queue of samples: a window of it, the samples that a reviewer claims, and its share of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from app import queues
from app.components.shares import class_shares
from app.routes.requests import Refusal, answer_json, describe_others, find_queue, find_reviewer, find_run, parse_integer
from oga_core import Run, review
from oga_core.review import standing_of

CLAIMED, CLAIM_AMONG = 8, 512
"""How many samples a reviewer of a shared queue claims, out of how many of the next."""


def window(request: Request) -> Response:
    """Return up to 60 samples of a queue.

    They begin at the place ``start``, or lie around the sample ``id``, or around the first undecided sample at or after the place
    ``undecided``. A sample ``id`` that the queue does not have comes alone. With ``aligned`` they are a page of the gallery.
    """
    run = find_run(request.path_params["run"])
    queue = find_queue(run, request.path_params["queue"])
    asked, total = request.query_params, len(queue.rows)
    count = min(parse_integer(asked.get("count"), queues.AT_ONCE), queues.AT_ONCE)
    place: int | None = None
    outside: list[dict[str, Any]] = []
    if "start" in asked:
        start = parse_integer(asked["start"], 0)
    else:
        at = 0
        if "id" in asked:
            place, outside = _find_place(run, queue, asked["id"])
        else:
            at = min(parse_integer(asked.get("undecided"), 0), max(total - 1, 0))
            place = queue.find_undecided(standing_of(run), at)
        at = at if place is None else place
        start = at - at % count if "aligned" in asked else max(at - count // 3, 0)
    version, reviewer = standing_of(run).version, find_reviewer(request)
    return answer_json(
        {
            "start": start,
            "total": total,
            "place": place,
            "samples": _describe_window(run, queue, start, count),
            "outside": outside,
            "version": version,
            "progress": queues.measure_progress(run, queue, reviewer),
            **describe_others(run, reviewer),
        }
    )


def _describe_window(run: Run, queue: queues.Queue, start: int, count: int) -> list[dict[str, Any]]:
    """Return the samples from a place on, with their groups and cosines where the queue has them."""
    found = queues.describe_samples(run, queue.rows[start : start + count], queue.selection.detector)
    if queue.groups is not None and queue.sizes is not None:
        for entry, group in zip(found, queue.groups[start : start + count].tolist(), strict=True):
            entry |= {"group": group, "alike": int(queue.sizes[group])}
    if queue.cosines is not None:
        for entry, cosine in zip(found, queue.cosines[start : start + count].tolist(), strict=True):
            entry["cosine"] = cosine
    return found


def _find_place(run: Run, queue: queues.Queue, sample_id: str) -> tuple[int | None, list[dict[str, Any]]]:
    """Return the place of a sample in a queue, else the sample itself."""
    rows = run.rows_of([sample_id])
    places = [p for p in map(queue.find_place, rows.tolist()) if p is not None]
    return (places[0], []) if places else (None, queues.describe_samples(run, rows[:1], queue.selection.detector))


def claim(request: Request, sent: dict[str, Any]) -> Response:
    """Claim the next samples of a queue that no other reviewer has claimed, or ``only`` the one at the place."""
    run = find_run(sent.get("run"))
    queue = find_queue(run, sent.get("queue"))
    standing = standing_of(run)
    start = sent.get("place")
    if not isinstance(start, int) or start < 0:
        raise Refusal(400, "place: a whole number is needed")
    # From there to the end, then from the beginning: what others had claimed and left is handed out again.
    order = np.concatenate([np.arange(start, len(queue.rows)), np.arange(min(start, len(queue.rows)))])
    if sent.get("only"):
        order = order[:1]
    places = order[standing.codes[queue.rows[order]] == 0][:CLAIM_AMONG]
    ids = run.table["sample_id"].iloc[queue.rows[places]].tolist()
    place_of = dict(zip(ids, places.tolist(), strict=True))
    reviewer = find_reviewer(request)
    mine = [place_of[s] for s in review.claim(run, list(dict.fromkeys(ids)), reviewer, CLAIMED)]
    found = queues.describe_samples(run, queue.rows[mine], queue.selection.detector)
    return answer_json({"places": mine, "samples": found, "version": standing.version, **describe_others(run, reviewer)})


def shares(request: Request) -> Response:
    """Return the share of each class in a whole queue, largest first: shown before a decision on all of it."""
    run = find_run(request.path_params["run"])
    queue = find_queue(run, request.path_params["queue"])
    found = class_shares(run, queue.rows)
    columns = zip(found["class"], found["flagged"].tolist(), found["samples"].tolist(), strict=True)
    rows = [{"class": name, "concerned": concerned, "samples": samples} for name, concerned, samples in columns if concerned]
    return answer_json({"total": len(queue.rows), "version": standing_of(run).version, "classes": rows})
