"""Preview of the data while they are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.components.embedding_map import PALETTE
from app.components.literal import in_chart, visible
from oga_core import InputError, Run
from oga_core.data import SampleError
from oga_core.sandbox import SandboxedDataset

SHOWN, PER_LINE = 12, 6
SHORT = 160
MOST_BYTES = 200_000_000
"""Of a file that is opened for it; larger ones would hold up the page."""
MOST_CLASSES = 30


def draw(run: Run) -> None:
    """Draw class counts and some samples, where the data can be opened fast."""
    if run.spec.data is None:
        return
    path = Path(run.spec.data.source)
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return
    try:
        data = state.dataset(run.id)
    except InputError:  # the job reports it
        return
    labels = data.labels[data.labels >= 0]
    st.subheader(f"{len(data):,} samples in {len(data.class_names):,} {data.task.groups}")
    if len(data.class_names) <= MOST_CLASSES:
        counts = np.bincount(labels, minlength=len(data.class_names))
        figure = go.Figure(go.Bar(x=[in_chart(n) for n in data.class_names], y=counts, marker_color=PALETTE[0]))
        figure.update_layout(
            height=160, margin={"l": 10, "r": 10, "t": 10, "b": 10}, yaxis_title="samples", xaxis_type="category"
        )
        st.plotly_chart(figure, key="class_counts", config={"staticPlot": True}, alt="Samples of each given label.")
    if data.kind == "features":
        return
    drawn = np.random.default_rng(0).permutation(len(data))[:SHOWN]
    for start in range(0, len(drawn), PER_LINE):
        for column, index in zip(st.columns(PER_LINE), drawn[start : start + PER_LINE], strict=False):
            with column, st.container(border=True, height="stretch", gap="xxsmall"):
                _draw_sample(data, int(index))


def _draw_sample(data: SandboxedDataset, index: int) -> None:
    try:
        if data.kind == "image":
            st.image(data.thumbnail(index), width="stretch")
        else:
            st.text(visible(data.text(index)[:SHORT]))
    except SampleError as error:
        st.text(str(error))
    st.text(visible(data.label_name(index)) or "no label")
