"""How a sample looks on a page: its image by URL, or its text."""

from __future__ import annotations

import html
import io
from urllib.parse import quote

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app import state
from app.components.literal import literal
from oga_core import InputError, Run
from oga_core.data import SampleError

ROUTE = "/oga/image/{run}/{index:int}/{size:int}"
SIZES = (160, 360)
"""Longest sides in pixels: in the gallery, alone."""
CACHED = {"Cache-Control": "private, max-age=31536000, immutable"}
SHORT, LONG = 280, 20_000


async def thumbnail(request: Request) -> Response:
    """The route that serves images; runs are immutable, so browsers may keep them."""
    run, index, size = (request.path_params[name] for name in ("run", "index", "size"))
    if size not in SIZES:
        return Response(status_code=404)
    try:
        data = await run_in_threadpool(_png, run, index, size)
    except (InputError, SampleError, TypeError, IndexError):
        return Response(status_code=404)
    return Response(data, media_type="image/png", headers=CACHED)


@st.cache_data(max_entries=4096, show_spinner=False)
def _png(run: str, index: int, size: int) -> bytes:
    buffer = io.BytesIO()
    state.dataset(run).thumbnail(index, size).save(buffer, "PNG")
    return buffer.getvalue()


@st.cache_data(max_entries=65_536, show_spinner=False)
def _unchanged(run: str, index: int, sample_id: str) -> bool:
    """Whether the data still hold what was scored, so that no other sample is shown in its place."""
    return state.dataset(run).holds(index, sample_id)


def labels(run: Run, row: int) -> None:
    """Given and suggested label of a row, on one line."""
    entry = run.table.iloc[row]
    st.markdown(f"**{literal(entry['label'])}** → {literal(entry['suggested_label'])}")


def sample(run: Run, row: int, *, large: bool = False) -> None:
    """Draw a row of ``run.table``."""
    entry = run.table.iloc[row]
    index = int(entry["index"])
    data = state.dataset(run.id)
    if not _unchanged(run.id, index, str(entry["sample_id"])):
        st.warning("This sample has changed since it was scored.", icon=":material/sync_problem:")
        return
    if data.kind == "image":
        size = SIZES[large]
        source = f"/oga/image/{quote(run.id)}/{index}/{size}"
        said = html.escape(f"{entry['source']}, labelled {entry['label']}", quote=True)
        st.html(
            f'<div class="oga-sample" style="height:{size if large else 132}px">'
            f'<img src="{source}" alt="{said}" title="{said}" loading="lazy" '
            'style="width:100%;height:100%;object-fit:contain;image-rendering:auto;border-radius:0.4rem"></div>'
        )
        return
    text = data.text(index)
    most = LONG if large else SHORT
    st.text(text[:most])
    if len(text) > most and large:
        st.caption(f"Shown: the first {most:,} of {len(text):,} characters.")
    elif len(text) > most:
        st.caption("…")
