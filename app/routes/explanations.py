"""Why a sample is flagged: its scores and neighbours, and the share of each layer in its gradient norm."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app import queues, state
from app.routes.requests import FOREVER, answer_json, find_queue, find_row, find_run
from oga_core import review
from oga_core.detectors import make_detector
from oga_core.review import layer_shares


def why(request: Request) -> Response:
    """Return what speaks for and against a flag, with the neighbours as the gallery draws them."""
    run = find_run(request.path_params["run"])
    row = find_row(run, request.path_params["row"])
    queue = find_queue(run, request.query_params.get("queue"))
    found = review.why(run, row, queue.selection).to_dict()
    near = list({neighbour["row"]: None for neighbour in [*found["near"], *found["near_label"]]})
    entries = {entry["row"]: entry for entry in queues.describe_samples(run, near, queue.selection.detector)}
    found |= {"title": make_detector(found["detector"]).title, "samples": entries, "layers": run.summary.scope != "head"}
    return answer_json(found, cache="private, max-age=600")


def layers(request: Request) -> Response:
    """Return the share of each layer in the gradient norm of a sample; this opens the model."""
    run = find_run(request.path_params["run"])
    row = find_row(run, request.path_params["row"])
    found = layer_shares(run, row, state.model(run))
    return answer_json([{"layer": name, "share": queues.number(share)} for name, share in found], cache=FOREVER)
