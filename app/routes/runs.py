"""Facts of one run: its classes, and the progress of its jobs."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from app import state
from app.routes.requests import FOREVER, Refusal, answer_json, find_run
from oga_core import InputError


def job(request: Request) -> Response:
    """Return the progress of a job; the run may be unfinished."""
    try:
        run = state.find_run(request.path_params["run"])
    except InputError as error:
        raise Refusal(400, state.reason_missing(error)) from error
    return answer_json(asdict(run.job(request.path_params["kind"]).status()))


def classes(request: Request) -> Response:
    """Return the names of the classes, apart from the samples: there may be 100,000."""
    return answer_json(find_run(request.path_params["run"]).class_names, cache=FOREVER)
