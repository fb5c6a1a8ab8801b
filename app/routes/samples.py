"""One sample in full: its image, its text, its tokens with their losses."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import Response

from app import queues, state
from app.byte_cache import ByteCache
from app.routes.requests import FOREVER, Refusal, answer_bytes, answer_json, find_row, find_run
from oga_core import InputError, Run
from oga_core.data import SampleError
from oga_core.limits import IMAGE_CACHE_BYTES
from oga_core.review import token_losses
from oga_core.sandbox import SandboxedDataset

SIZES = (160, 360, 480)
"""Longest sides of images in pixels: in the gallery, on the map, alone."""
LONG = 20_000
"""Most characters of a text in an answer, which also has their full number."""
CHANGED = "This sample has changed since it was scored."


def image(request: Request) -> Response:
    """Return an image as PNG."""
    run, index, size = (request.path_params[name] for name in ("run", "index", "size"))
    if size not in SIZES:
        raise Refusal(404, f"images have {', '.join(map(str, SIZES))} pixels")
    sample_id = _find_sample_id(find_run(run), index)
    try:
        data = _image_cache().get((run, index, size), partial(_make_png, run, index, sample_id, size))
    except (TypeError, IndexError) as error:
        raise Refusal(404, str(error)) from error
    return answer_bytes(data, "image/png")


def text(request: Request) -> Response:
    """Return a text, or a prompt and its answer."""
    run, index = find_run(request.path_params["run"]), request.path_params["index"]
    sample_id = _find_sample_id(run, index)
    try:
        [excerpts] = state.dataset(run.id).excerpts([(index, sample_id)], LONG)
    except (InputError, OSError):
        excerpts = None
    if excerpts is None:
        raise Refusal(410, CHANGED)
    return answer_json({**queues.name_texts(excerpts), "characters": sum(length for _, length in excerpts)}, cache=FOREVER)


def tokens(request: Request) -> Response:
    """Return the tokens of a prompt and its answer with their losses; this opens the model."""
    run = find_run(request.path_params["run"])
    row = find_row(run, request.path_params["row"])
    found = token_losses(run, row, state.model(run))
    prompt, answered = (
        [[token.text, None if token.loss is None else queues.number(token.loss), token.own] for token in side]
        for side in (found.prompt, found.answer)
    )
    return answer_json({"prompt": prompt, "answer": answered, "before": found.before, "after": found.after}, cache=FOREVER)


@state.clear_with_runs
@st.cache_resource(show_spinner=False)
def _image_cache() -> ByteCache:
    """Return the one cache of images of this server."""
    return ByteCache(IMAGE_CACHE_BYTES)


def _make_png(run: str, index: int, sample_id: str, size: int) -> bytes:
    """Make the PNG of a sample that the data still hold as it was scored."""
    data = state.dataset(run)
    if not data.holds(index, sample_id):
        raise _explain_missing(data, index)
    buffer = io.BytesIO()
    data.thumbnail(index, size).save(buffer, "PNG", compress_level=1)  # level 6 takes five times as long
    return buffer.getvalue()


def _explain_missing(data: SandboxedDataset, index: int) -> Refusal:
    """Return the refusal for a sample that the data no longer hold: it cannot be read, or has changed."""
    try:
        data.sample_id(index)
    except (SampleError, IndexError) as error:
        return Refusal(410, f"This sample is not shown: {error}")
    return Refusal(410, CHANGED)


def _find_sample_id(run: Run, index: int) -> str:
    """Return the id of the scored sample at a position of the data."""
    indices = run.table["index"].to_numpy()
    at = int(np.searchsorted(indices, index))
    if at >= len(indices) or indices[at] != index:
        raise Refusal(404, f"run {run.id} has no scored sample {index}")
    return str(run.table["sample_id"].iloc[at])
