"""Shared by every route: the run, row, queue and reviewer that a request names, and answers and errors as JSON."""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app import login, queues, state
from oga_core import InputError, Run
from oga_core.data import SampleError
from oga_core.review import Reviewer

FOREVER = "private, max-age=31536000, immutable"
"""Cache-Control of an answer that never changes, as a run does not."""
MOST_BYTES = 64 << 10
"""Largest body of a request in JSON."""
NAME_FIRST = "Enter your name first: others review here too."

Handler = Callable[..., Response]


class Refusal(Exception):
    """A refused request: the HTTP status, and the reason for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


# ---- answers ---------------------------------------------------------------------------------------------------------------
def answer_json(content: Any, status: int = 200, cache: str = "no-store") -> Response:
    """Answer JSON in plain ASCII: texts and file names may hold surrogates, which UTF-8 cannot."""
    return _answer(json.dumps(content, allow_nan=False), "application/json", status, cache)


def answer_bytes(content: bytes, media_type: str) -> Response:
    """Answer bytes that never change."""
    return _answer(content, media_type, 200, FOREVER)


def _answer(content: str | bytes, media_type: str, status: int, cache: str) -> Response:
    headers = {"Cache-Control": cache, "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(content, status, headers, media_type)


def answer_error(error: BaseException) -> Response:
    """Answer an error: a foreseen one with its message, any other with a number under which the log has its traceback."""
    if isinstance(error, Refusal):
        return answer_json({"error": str(error)}, error.status)
    if isinstance(error, SampleError):
        return answer_json({"error": str(error)}, 404)
    if isinstance(error, InputError):
        return answer_json({"error": str(error)}, 400)
    if isinstance(error, sqlite3.Error | OSError):
        return answer_json({"error": str(error)}, 503)
    number = uuid.uuid4().hex[:8]
    logging.getLogger("oga").error("error %s in a request", number, exc_info=error)
    return answer_json({"error": f"Something went wrong here. The server's log has the details under {number}."}, 500)


# ---- handlers --------------------------------------------------------------------------------------------------------------
def handle_get(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Call a handler with the request, in a thread: the event loop serves the pages."""

    @functools.wraps(handler)
    async def route(request: Request) -> Response:
        return await run_in_threadpool(_call, handler, request)

    return route


def handle_post(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Call a handler with the request and the JSON object in its body, in a thread."""

    @functools.wraps(handler)
    async def route(request: Request) -> Response:
        try:
            sent = await _read_json(request)
        except Refusal as error:
            return answer_error(error)
        return await run_in_threadpool(_call, handler, request, sent)

    return route


def _call(handler: Handler, *given: Any) -> Response:
    """Return the answer of a handler, or its error as JSON."""
    try:
        return handler(*given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic in a Rust library is no Exception
        return answer_error(error)


async def _read_json(request: Request) -> dict[str, Any]:
    """Read the JSON object in the body of a request."""
    require_content_type(request, "application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Refusal(413, f"The request is larger than {MOST_BYTES >> 10} kB, the limit.")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "The request is no JSON.") from error
    if not isinstance(sent, dict):
        raise Refusal(400, "The request is no JSON object.")
    return sent


# ---- the content of a request ----------------------------------------------------------------------------------------------
def require_content_type(request: Request, kind: str) -> None:
    """Refuse a request of another content type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise Refusal(415, f"The request must be {kind}.")


def find_run(chosen: object) -> Run:
    """Return a finished run by its id or name."""
    try:
        run = state.find_run(str(chosen))
        run.require_done()
    except InputError as error:
        raise Refusal(404, state.reason_missing(error)) from error
    return run


def find_row(run: Run, row: object) -> int:
    """Return a row of ``run.table``."""
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < len(run.table):
        raise Refusal(404, f"run {run.id} has no row {row}")
    return row


def find_queue(run: Run, name: object) -> queues.Queue:
    """Return a queue of a run by its name."""
    queue = queues.find(str(name))
    if queue is None or (len(queue.rows) and int(queue.rows.max()) >= len(run.table)):
        raise Refusal(410, "The list of samples is no longer kept; the page asks for it again.")
    return queue


def read_text(sent: dict[str, Any], field: str, most: int = 200) -> str:
    """Return a text of 1 to `most` characters."""
    value = sent.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise Refusal(400, f"{field}: a text of 1 to {most} characters is needed")
    return value


def parse_integer(given: str | None, default: int) -> int:
    """Parse a whole number of the address or a header, at least 0."""
    if given is None:
        return default
    if not given.isdecimal() or len(given) > 12:
        raise Refusal(400, f"{given!r} is no whole number")
    return int(given)


# ---- the reviewer ----------------------------------------------------------------------------------------------------------
def find_reviewer(request: Request) -> Reviewer:
    """Return the reviewer who sends a request; the name may be empty."""
    return state.reviewer_of(login.user_of(request.cookies), request.cookies.get(state.BROWSER_COOKIE, ""))


def require_reviewer(request: Request) -> Reviewer:
    """Return the reviewer who sends a decision, with a name."""
    if not login.user_of(request.cookies) and not request.cookies.get(state.BROWSER_COOKIE, ""):
        raise Refusal(403, "This browser has sent no cookie, so its reviewer cannot be identified. Allow cookies here.")
    known = find_reviewer(request)
    if state.needs_name(known):
        raise Refusal(428, NAME_FIRST)
    return known._replace(name=state.display_name(known))


def describe_others(run: Run, known: Reviewer) -> dict[str, bool]:
    """Return for a reviewer's browser whether others review the run too, and whether a name must be entered."""
    return {"several": state.others(run, known), "needsName": state.needs_name(known)}
