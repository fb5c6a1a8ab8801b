"""What the browser asks for beside the pages: images, texts, parts of a queue, and the decisions and files that it sends.

A decision is answered after its COMMIT and never before. That what writes comes from our own pages is seen to at the door.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app import login, queues, state
from app.byte_cache import ByteCache
from app.components.shares import class_shares
from oga_core import InputError, Run, decide, undo
from oga_core.data import SampleError
from oga_core.detectors import named
from oga_core.limits import IMAGE_CACHE_BYTES
from oga_core.maps import pictures
from oga_core.review import Reviewer, claim, history, layer_shares, name_reviewer, pace, redo, standing_of, token_losses, why
from oga_core.runs.workspace import now
from oga_core.sandbox import SandboxedDataset

SIZES = (160, 360, 480)
"""Longest sides of images in pixels: in the gallery, on the map, alone."""
LONG = 20_000
"""Characters of a text that are shown; the answer says how many there are."""
FOREVER = "private, max-age=31536000, immutable"
MOST_BYTES = 64 << 10
"""Of the body of a request in JSON."""
PART_BYTES = 1 << 20
"""Of a file that arrives, before they are written."""
NAME_FIRST = "Enter your name first: others review here too."
CHANGED = "This sample has changed since it was scored."
CLAIMED, CLAIM_AMONG = 8, 512
"""How many samples a reviewer has in front of them where the queue is shared, out of how many of the next."""


class Refused(Exception):
    """A request that is not met: the status, and the reason for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def answer(content: Any, status: int = 200, cache: str = "no-store") -> Response:
    """JSON in plain ASCII: texts and file names of strangers may hold what UTF-8 cannot."""
    headers = {"Cache-Control": cache, "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(json.dumps(content, allow_nan=False), status, headers, "application/json")


Work = Callable[..., Response]


def _told(work: Work, *given: Any) -> Response:
    """The answer, or what went wrong in words; nothing is called saved that raised."""
    try:
        return work(*given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # that of a library in Rust is no Exception
        return refusal(error)


def refusal(error: BaseException) -> Response:
    """What went wrong, in words; of what nobody foresaw a number to find it by in the log, no traceback in the browser."""
    if isinstance(error, Refused):
        return answer({"error": str(error)}, error.status)
    if isinstance(error, SampleError):
        return answer({"error": str(error)}, 404)
    if isinstance(error, InputError):
        return answer({"error": str(error)}, 400)
    if isinstance(error, sqlite3.Error | OSError):
        return answer({"error": str(error)}, 503)
    number = uuid.uuid4().hex[:8]
    logging.getLogger("oga").error("error %s in a request", number, exc_info=error)
    return answer({"error": f"Something went wrong here. The server's log has the details under {number}."}, 500)


def reads(work: Work) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers a question, off the loop that serves the pages."""

    @functools.wraps(work)
    async def route(request: Request) -> Response:
        return await run_in_threadpool(_told, work, request)

    return route


def writes(work: Work) -> Callable[[Request], Awaitable[Response]]:
    """A route that takes JSON from our own pages; `work` has the request and what was sent."""

    @functools.wraps(work)
    async def route(request: Request) -> Response:
        try:
            sent = await _sent(request)
        except Refused as error:
            return answer({"error": str(error)}, error.status)
        return await run_in_threadpool(_told, work, request, sent)

    return route


def _must_be(request: Request, kind: str) -> None:
    """Refuse a request of another content type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise Refused(415, f"The request must be {kind}.")


async def _sent(request: Request) -> dict[str, Any]:
    """The body of a request that a page of this server has sent."""
    _must_be(request, "application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refused(413, f"The request is larger than {MOST_BYTES >> 10} kB, the limit.")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The request is no JSON.") from error
    if not isinstance(sent, dict):
        raise Refused(400, "The request is no JSON object.")
    return sent


# ---- what a request names --------------------------------------------------------------------------------------------------
def _run(chosen: object) -> Run:
    try:
        run = state.find_run(str(chosen))
        run.require_done()
    except InputError as error:
        raise Refused(404, state.reason_missing(error)) from error
    return run


def _row(run: Run, row: object) -> int:
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < len(run.table):
        raise Refused(404, f"run {run.id} has no row {row}")
    return row


def _queue(run: Run, name: object) -> queues.Queue:
    queue = queues.kept(str(name))
    if queue is None or (len(queue.rows) and int(queue.rows.max()) >= len(run.table)):
        raise Refused(410, "The list of samples is no longer kept; the page asks for it again.")
    return queue


def _text(sent: dict[str, Any], field: str, most: int = 200) -> str:
    value = sent.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise Refused(400, f"{field}: a text of 1 to {most} characters is needed")
    return value


def _whole(given: str | None, usual: int) -> int:
    if given is None:
        return usual
    if not given.isdecimal() or len(given) > 12:
        raise Refused(400, f"{given!r} is no whole number")
    return int(given)


def _reviewer(request: Request) -> Reviewer:
    return state.reviewer_of(login.user_of(request.cookies), request.cookies.get(state.BROWSER_COOKIE, ""))


def _company(run: Run, known: Reviewer) -> dict[str, bool]:
    """What a reviewer's browser must know of the others."""
    return {"several": state.others(run, known), "needsName": state.needs_name(known)}


def _deciding(request: Request) -> Reviewer:
    """Return the reviewer of a decision, with a name."""
    user, cookie = login.user_of(request.cookies), request.cookies.get(state.BROWSER_COOKIE, "")
    if not user and not cookie:
        raise Refused(403, "This browser has sent no cookie, so its decisions cannot be told from others'. Allow cookies here.")
    known = state.reviewer_of(user, cookie)
    if state.needs_name(known):
        raise Refused(428, NAME_FIRST)
    return known._replace(name=state.shown_name(known))


# ---- samples ---------------------------------------------------------------------------------------------------------------
def job(request: Request) -> Response:
    """How far a job of a run is."""
    try:
        run = state.find_run(request.path_params["run"])
    except InputError as error:
        raise Refused(400, state.reason_missing(error)) from error
    return answer(asdict(run.job(request.path_params["kind"]).status()))


def image(request: Request) -> Response:
    """An image as PNG; runs are immutable, so browsers may keep it."""
    run, index, size = (request.path_params[name] for name in ("run", "index", "size"))
    if size not in SIZES:
        raise Refused(404, f"images have {', '.join(map(str, SIZES))} pixels")
    sample_id = _sample_id(_run(run), index)
    try:
        data = _images().get((run, index, size), partial(_png, run, index, sample_id, size))
    except (TypeError, IndexError) as error:
        raise Refused(404, str(error)) from error
    return Response(
        data, media_type="image/png", headers={"Cache-Control": FOREVER, "Cross-Origin-Resource-Policy": "same-origin"}
    )


@state.cleared_with_runs
@st.cache_resource(show_spinner=False)
def _images() -> ByteCache:
    """Return the one cache of images of this server."""
    return ByteCache(IMAGE_CACHE_BYTES)


def _png(run: str, index: int, sample_id: str, size: int) -> bytes:
    """Make the PNG of a sample that the data still hold as it was scored."""
    data = state.dataset(run)
    if not data.holds(index, sample_id):
        raise _gone(data, index)
    buffer = io.BytesIO()
    data.thumbnail(index, size).save(buffer, "PNG", compress_level=1)  # level 6 takes five times as long
    return buffer.getvalue()


def _gone(data: SandboxedDataset, index: int) -> Refused:
    """Return the refusal for a sample that the data no longer hold: it cannot be read, or has changed."""
    try:
        data.sample_id(index)
    except (SampleError, IndexError) as error:
        return Refused(410, f"This sample is not shown: {error}")
    return Refused(410, CHANGED)


def _sample_id(run: Run, index: int) -> str:
    """Return the id of the scored sample at a position of the data."""
    indices = run.table["index"].to_numpy()
    at = int(np.searchsorted(indices, index))
    if at >= len(indices) or indices[at] != index:
        raise Refused(404, f"run {run.id} has no scored sample {index}")
    return str(run.table["sample_id"].iloc[at])


def text(request: Request) -> Response:
    """A sample in words."""
    run, index = _run(request.path_params["run"]), request.path_params["index"]
    sample_id = _sample_id(run, index)
    try:
        [parts] = state.dataset(run.id).excerpts([(index, sample_id)], LONG)
    except (InputError, OSError):
        parts = None
    if parts is None:
        raise Refused(410, CHANGED)
    return answer({**queues.in_parts(parts), "characters": sum(length for _, length in parts)}, cache=FOREVER)


def tokens(request: Request) -> Response:
    """The tokens of a prompt and its answer with their losses; it opens the model."""
    run = _run(request.path_params["run"])
    row = _row(run, request.path_params["row"])
    found = token_losses(run, row, state.model(run))
    prompt, answered = (
        [[token.text, None if token.loss is None else queues.number(token.loss), token.own] for token in part]
        for part in (found.prompt, found.answer)
    )
    return answer({"prompt": prompt, "answer": answered, "before": found.before, "after": found.after}, cache=FOREVER)


def classes(request: Request) -> Response:
    """The names of the classes; there may be 100,000, so that they are sent once."""
    return answer(_run(request.path_params["run"]).class_names, cache=FOREVER)


def map_array(request: Request) -> Response:
    """What a map is drawn from, and what its cards say of each sample: plain numbers, little-endian, that never change."""
    run, kind, name = _run(request.path_params["run"]), request.path_params["kind"], request.path_params["name"]
    if kind == "positions" and name in pictures(run):
        values = state.picture(run, name)
    elif kind == "codes" and name in ("label", "predicted") and name in run.table:
        values = run.codes(name)
    elif kind == "scores" and name in {d.name for d in run.detectors}:
        values = run.table[name].to_numpy(np.float32)
    elif kind == "indices" and name == "all":
        values = run.table["index"].to_numpy(np.int32)
    else:
        raise Refused(404, f"run {run.id} has no {kind} {name!r}")
    data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    headers = {"Cache-Control": FOREVER, "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(data, headers=headers, media_type="application/octet-stream")


# ---- the queue -------------------------------------------------------------------------------------------------------------
def window(request: Request) -> Response:
    """Up to 60 samples of a queue: from the place ``start`` on; around the sample ``id``, which comes alone where the queue does
    not have it; or around the first undecided sample at or after the place ``undecided``. ``aligned``: the page of the gallery
    that it is on."""
    run = _run(request.path_params["run"])
    queue = _queue(run, request.path_params["queue"])
    asked, total = request.query_params, len(queue.rows)
    count = min(_whole(asked.get("count"), queues.AT_ONCE), queues.AT_ONCE)
    place: int | None = None
    alone: list[dict[str, Any]] = []
    if "start" in asked:
        start = _whole(asked["start"], 0)
    else:
        at = 0
        if "id" in asked:
            place, alone = _placed(run, queue, asked["id"])
        else:
            at = min(_whole(asked.get("undecided"), 0), max(total - 1, 0))
            place = queue.undecided(standing_of(run), at)
        at = at if place is None else place
        start = at - at % count if "aligned" in asked else max(at - count // 3, 0)
    version = standing_of(run).version
    rows, reviewer = queue.rows[start : start + count], _reviewer(request)
    found = queues.items(run, rows, queue.selection.detector)
    if queue.groups is not None and queue.sizes is not None:
        for item, group in zip(found, queue.groups[start : start + count].tolist(), strict=True):
            item |= {"group": group, "alike": int(queue.sizes[group])}
    if queue.cosines is not None:
        for item, cosine in zip(found, queue.cosines[start : start + count].tolist(), strict=True):
            item["cosine"] = cosine
    return answer(
        {
            "start": start,
            "total": total,
            "place": place,
            "items": found,
            "alone": alone,
            "version": version,
            "progress": _progress(run, queue, reviewer),
            **_company(run, reviewer),
        }
    )


def _placed(run: Run, queue: queues.Queue, sample_id: str) -> tuple[int | None, list[dict[str, Any]]]:
    """Where a sample stands in a queue; what it looks like where it does not."""
    rows = run.rows_of([sample_id])
    places = [p for p in map(queue.place, rows.tolist()) if p is not None]
    return (places[0], []) if places else (None, queues.items(run, rows[:1], queue.selection.detector))


def _progress(run: Run, queue: queues.Queue, reviewer: Reviewer) -> dict[str, Any]:
    decided = int(np.count_nonzero(standing_of(run).codes[queue.rows]))
    return {"decided": decided, "total": len(queue.rows), "perMinute": queues.number(pace(run, reviewer).per_minute)}


def take(request: Request, sent: dict[str, Any]) -> Response:
    """Claim the next samples of a queue that no other reviewer has in front of them, or ``only`` the one at the place."""
    run = _run(sent.get("run"))
    queue = _queue(run, sent.get("queue"))
    standing = standing_of(run)
    start = sent.get("place")
    if not isinstance(start, int) or start < 0:
        raise Refused(400, "place: a whole number is needed")
    # From there to the end, then from the beginning: what others had claimed and left is handed out again.
    order = np.concatenate([np.arange(start, len(queue.rows)), np.arange(min(start, len(queue.rows)))])
    if sent.get("only"):
        order = order[:1]
    places = order[standing.codes[queue.rows[order]] == 0][:CLAIM_AMONG]
    ids = run.table["sample_id"].iloc[queue.rows[places]].tolist()
    place_of = dict(zip(ids, places.tolist(), strict=True))
    reviewer = _reviewer(request)
    mine = [place_of[s] for s in claim(run, list(dict.fromkeys(ids)), reviewer, CLAIMED)]
    found = queues.items(run, queue.rows[mine], queue.selection.detector)
    return answer({"places": mine, "items": found, "version": standing.version, **_company(run, reviewer)})


def shares(request: Request) -> Response:
    """How much of each class a whole queue is, most concerned class first; what is to be known before deciding on all of it."""
    run = _run(request.path_params["run"])
    queue = _queue(run, request.path_params["queue"])
    found = class_shares(run, queue.rows)
    columns = zip(found["class"], found["flagged"].tolist(), found["samples"].tolist(), strict=True)
    rows = [{"class": name, "concerned": concerned, "samples": samples} for name, concerned, samples in columns if concerned]
    return answer({"total": len(queue.rows), "version": standing_of(run).version, "classes": rows})


# ---- decisions -------------------------------------------------------------------------------------------------------------
def decided(request: Request, sent: dict[str, Any]) -> Response:
    """Decide on up to 60 rows, each with the number of the decision that was seen, or on a whole queue as it was seen."""
    run = _run(sent.get("run"))
    queue = queues.kept(str(sent.get("queue")))
    standing = standing_of(run)
    if sent.get("all"):
        queue = _queue(run, sent.get("queue"))
        known = sent.get("version")
        if not isinstance(known, int):
            raise Refused(400, "version: a whole number is needed")
        samples = run.table.iloc[queue.rows]
        seen = {s: d.seq for s in samples["sample_id"] if (d := standing.by_id.get(s)) is not None and d.seq <= known}
    else:
        rows, numbers = _rows_and_seen(run, sent.get("samples"))
        samples = run.table.iloc[rows]
        seen = dict(zip(samples["sample_id"], numbers, strict=True))
    label = sent.get("label")
    if label is not None and not isinstance(label, str):
        raise Refused(400, "label: the name of a class is needed, or null for each sample's suggested label")
    new_label: str | list[str] = label or ""
    if label is None and "suggested_label" in samples:
        new_label = samples["suggested_label"].astype(str).tolist()
    reviewer = _deciding(request)
    saved = decide(
        run, samples, _text(sent, "action"), reviewer=reviewer, new_label=new_label, seen=seen, op_id=_text(sent, "op")
    )
    return _saved(reviewer, run, queue, saved, [] if sent.get("all") else samples["sample_id"].tolist())


def _rows_and_seen(run: Run, given: object) -> tuple[list[int], list[int]]:
    """Rows and what was seen of each, from pairs."""
    if not isinstance(given, list) or not 0 < len(given) <= queues.AT_ONCE:
        raise Refused(400, f"samples: 1 to {queues.AT_ONCE} are needed")
    pairs = [
        pair for pair in given if isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int and 0 <= pair[1] < 1 << 63
    ]
    if len(pairs) != len(given):
        raise Refused(400, "samples: pairs of a row and the number of the decision seen are needed")
    return [_row(run, row) for row, _ in pairs], [seen for _, seen in pairs]


def _stepped(step: Callable[..., list[str]]) -> Work:
    def work(request: Request, sent: dict[str, Any]) -> Response:
        run = _run(sent.get("run"))
        queue = queues.kept(str(sent.get("queue")))
        reviewer = _deciding(request)
        return _saved(reviewer, run, queue, None, step(run, reviewer=reviewer, op_id=_text(sent, "op")))

    return work


def _saved(reviewer: Reviewer, run: Run, queue: queues.Queue | None, saved: int | None, ids: Sequence[str]) -> Response:
    """What stands now of the samples concerned; of a bulk action only of the first, which is to be shown."""
    standing = standing_of(run)
    shown = list(dict.fromkeys(ids))[: queues.AT_ONCE]
    stands = {s: queues.decision(standing.by_id.get(s)) for s in shown}
    progress = _progress(run, queue, reviewer) if queue is not None else None
    return answer(
        {
            "saved": len(ids) if saved is None else saved,
            "ids": shown,
            "decisions": stands,
            "version": standing.version,
            "at": now(),
            "progress": progress,
            **_company(run, reviewer),
        }
    )


def name(request: Request, sent: dict[str, Any]) -> Response:
    """Enter the name of this browser's reviewer."""
    if login.user_of(request.cookies) is not None:
        raise Refused(409, "Who has logged in has the name of the login.")
    known = _reviewer(request)
    name_reviewer(state.workspace(), known.identity, _text(sent, "name"))
    return answer({"name": _reviewer(request).name})


# ---- why -------------------------------------------------------------------------------------------------------------------
def explanation(request: Request) -> Response:
    """All that speaks for and against a flag, with the samples it names as the gallery draws them."""
    run = _run(request.path_params["run"])
    row = _row(run, request.path_params["row"])
    queue = _queue(run, request.query_params.get("queue"))
    found = why(run, row, queue.selection).to_dict()
    near = list({neighbour["row"]: None for neighbour in [*found["near"], *found["near_label"]]})
    items = {item["row"]: item for item in queues.items(run, near, queue.selection.detector)}
    found |= {"title": named(found["detector"]).title, "items": items, "layers": run.summary.scope != "head"}
    return answer(found, cache="private, max-age=600")


def layers(request: Request) -> Response:
    """The share of each layer in the norm of a sample's gradient; it opens the model."""
    run = _run(request.path_params["run"])
    row = _row(run, request.path_params["row"])
    found = layer_shares(run, row, state.model(run))
    return answer([{"layer": name, "share": queues.number(share)} for name, share in found], cache=FOREVER)


def past(request: Request) -> Response:
    """Every event of a sample, oldest first."""
    run = _run(request.path_params["run"])
    sample_id = str(run.table["sample_id"].iloc[_row(run, request.path_params["row"])])
    return answer(json.loads(history(run, sample_id).to_json(orient="records")))


# ---- files -----------------------------------------------------------------------------------------------------------------
async def arriving(request: Request) -> Response:
    """Keep a file, the body of the request, as it arrives: never more of it in memory than a part."""
    name = request.query_params.get("name", "")
    try:
        _must_be(request, "application/octet-stream")
        announced = _whole(request.headers.get("content-length"), 0)
        with await run_in_threadpool(state.workspace().upload, name, announced) as upload:
            part = bytearray()
            async for piece in request.stream():
                part += piece
                if len(part) >= PART_BYTES:
                    await run_in_threadpool(upload.write, bytes(part))
                    part.clear()
            await run_in_threadpool(upload.write, bytes(part))
            path = await run_in_threadpool(upload.keep)
            return answer({"content": path.parent.name, "name": path.name, "bytes": upload.bytes})
    except ClientDisconnect:  # cancelled, or the connection is gone: nobody hears the answer
        return answer({"error": "The file did not arrive whole."}, 400)
    except OSError as error:
        return answer({"error": f"{name!r} could not be kept: {error.strerror}."}, 503)
    except Exception as error:
        return refusal(error)


ROUTES = [
    Route("/oga/upload", arriving, methods=["POST"]),
    Route("/oga/job/{run}/{kind}", reads(job)),
    Route("/oga/image/{run}/{index:int}/{size:int}", reads(image)),
    Route("/oga/text/{run}/{index:int}", reads(text)),
    Route("/oga/classes/{run}", reads(classes)),
    Route("/oga/map/{run}/{kind}/{name}", reads(map_array)),
    Route("/oga/window/{run}/{queue}", reads(window)),
    Route("/oga/shares/{run}/{queue}", reads(shares)),
    Route("/oga/why/{run}/{row:int}", reads(explanation)),
    Route("/oga/layers/{run}/{row:int}", reads(layers)),
    Route("/oga/tokens/{run}/{row:int}", reads(tokens)),
    Route("/oga/history/{run}/{row:int}", reads(past)),
    Route("/oga/decide", writes(decided), methods=["POST"]),
    Route("/oga/undo", writes(_stepped(undo)), methods=["POST"]),
    Route("/oga/redo", writes(_stepped(redo)), methods=["POST"]),
    Route("/oga/claim", writes(take), methods=["POST"]),
    Route("/oga/name", writes(name), methods=["POST"]),
]
