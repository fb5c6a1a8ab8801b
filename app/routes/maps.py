"""The arrays that a browser draws a map from."""

from __future__ import annotations

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from app import state
from app.routes.requests import Refusal, answer_bytes, find_run
from oga_core.maps import pictures


def map_array(request: Request) -> Response:
    """Return one array over the samples, little-endian: positions, codes of labels, scores, or indices in the data."""
    run, kind, name = find_run(request.path_params["run"]), request.path_params["kind"], request.path_params["name"]
    if kind == "positions" and name in pictures(run):
        values = state.picture(run, name)
    elif kind == "codes" and name in ("label", "predicted") and name in run.table:
        values = run.codes(name)
    elif kind == "scores" and name in {d.name for d in run.detectors}:
        values = run.table[name].to_numpy(np.float32)
    elif kind == "indices" and name == "all":
        values = run.table["index"].to_numpy(np.int32)
    else:
        raise Refusal(404, f"run {run.id} has no {kind} {name!r}")
    data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return answer_bytes(data, "application/octet-stream")
