"""The histogram of a score, with the line from which samples are flagged."""

from __future__ import annotations

import html

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.components.embedding_map import PALETTE
from oga_core import Run
from oga_core.detectors import named
from oga_core.review import Selection, states

WAYS = ["flag", "given label", "decision"]
BINS = 60
MOST_CLASSES = 12
OTHERS = "other classes"
LINE = "#8a93a8"
"""Of the threshold: seen on white and on dark."""


def draw(run: Run, chosen: Selection, by: str) -> None:
    """Draw the chosen score of every scored sample, stacked by flag, given label or decision."""
    detector = named(chosen.detector)
    score = run.table[chosen.detector].to_numpy()
    flags = run.flag(chosen.detector, chosen.budget)
    edges = np.histogram_bin_edges(score, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure()
    for i, (name, mask) in enumerate(_groups(run, by, set(flags.index))):
        counts = np.histogram(score[mask], edges)[0]
        figure.add_bar(
            x=centres, y=counts, width=np.diff(edges), name=html.escape(name), marker_color=PALETTE[i % len(PALETTE)],
            marker_line_width=0, hovertemplate="%{x:.4g}: %{y:,} samples<extra>" + html.escape(name) + "</extra>",
        )  # fmt: skip
    if len(flags):
        threshold = float(flags[chosen.detector].min())
        figure.add_vline(
            threshold, line_dash="dash", line_width=2, line_color=LINE,
            annotation_text=f"flagged: {len(flags):,} of {len(score):,}, from {threshold:.4g}",
            annotation_position="top right" if threshold < edges[0] + 0.6 * (edges[-1] - edges[0]) else "top left",
        )  # fmt: skip
    figure.update_layout(
        barmode="stack", bargap=0, height=360, margin={"l": 10, "r": 10, "t": 30, "b": 10}, xaxis_title=detector.title,
        yaxis_title="samples", legend={"orientation": "h", "y": 1.12},
    )  # fmt: skip
    with st.container(border=True):
        logarithmic = st.toggle("Logarithmic count", key="histogram_log")
        figure.update_yaxes(type="log" if logarithmic else "linear")
        st.plotly_chart(figure, key="histogram", config={"displayModeBar": False})
        st.caption(detector.meaning)


def _groups(run: Run, by: str, flags: set[int]) -> list[tuple[str, np.ndarray]]:
    """Names and boolean masks that part the samples."""
    table = run.table
    if by == "flag":
        flagged = table.index.isin(flags)
        return [("not flagged", ~flagged), ("flagged", flagged)]
    if by == "decision":
        said = states(table, state.standing(run))
    else:
        said = table["label"].to_numpy(dtype=object)
        common = table["label"].value_counts().index[:MOST_CLASSES]
        said = np.where(np.isin(said, list(common)), said, OTHERS)
    names, counts = np.unique(said.astype(str), return_counts=True)
    return [(str(names[i]), said == names[i]) for i in np.argsort(-counts, kind="stable")]
