"""The histogram of a score, with the line from which samples are flagged."""

from __future__ import annotations

from functools import partial

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import state
from app.components.embedding_map import PALETTE
from app.components.literal import in_chart
from oga_core import Run
from oga_core.detectors import make_detector
from oga_core.review import STATES, Selection, standing_of

WAYS = ["selection", "given label", "decision"]
BINS = 60
MOST_CLASSES = 12
OTHERS = "other classes"
TOWERING = 50
"""Times the usual count from which one bin would leave nothing to be seen of the others: the axis is logarithmic then."""
LINE = "#8a93a8"
"""Of the threshold: seen on white and on dark."""


def draw(run: Run, chosen: Selection, by: str) -> None:
    """Draw the chosen score of every scored sample, stacked by selection, given label or decision.

    A range that is drawn across it becomes part of the selection.
    """
    detector = make_detector(chosen.detector)
    edges, bins = _bins(run.id, chosen.detector)
    codes, names = _groups(run, by)
    counts = np.bincount(codes.astype(np.int64) * BINS + bins, minlength=BINS * len(names)).reshape(len(names), BINS)
    figure = go.Figure()
    for i, name in enumerate(names):
        if counts[i].any():
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=counts[i],
                width=np.diff(edges),
                name=in_chart(name),
                marker_color=PALETTE[i % len(PALETTE)],
                marker_line_width=0,
                hovertemplate="%{x:.4g}: %{y:,} samples<extra>%{fullData.name}</extra>",  # the name itself could be a template
            )
    flags = run.flagged(chosen.detector, chosen.budget)
    if len(flags):
        threshold = float(run.table[chosen.detector].iloc[flags[-1]])
        figure.add_vline(
            threshold,
            line_dash="dash",
            line_width=2,
            line_color=LINE,
            annotation_text=f"flagged: {len(flags):,} of {len(bins):,}, from {threshold:.4g}",
            annotation_position="top right" if threshold < edges[0] + 0.6 * (edges[-1] - edges[0]) else "top left",
        )
    if chosen.score_range is not None:
        figure.add_vrect(*np.clip(chosen.score_range, edges[0], edges[-1]), line_width=0, fillcolor=LINE, opacity=0.2)
    figure.update_layout(
        barmode="stack",
        bargap=0,
        height=360,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        xaxis_title=detector.title,
        yaxis_title="samples",
        legend={"orientation": "h", "y": 1.12},
        dragmode="select",
        selectdirection="h",
    )
    figure.update_xaxes(range=[edges[0], edges[-1]], fixedrange=True)
    with st.container(border=True):
        towering = counts.sum(0).max() > TOWERING * np.median(counts.sum(0)[counts.sum(0) > 0])
        logarithmic = st.toggle("Logarithmic count", value=bool(towering), key=f"histogram_log_{chosen.detector}")
        figure.update_yaxes(type="log" if logarithmic else "linear", fixedrange=True)
        key = f"histogram_{chosen.detector}"
        st.plotly_chart(
            figure,
            key=key,
            config={"displayModeBar": False},
            on_select=partial(_select, run, key),
            selection_mode="box",
            alt=f"Histogram of {detector.title}: {len(flags):,} of {len(bins):,} samples are flagged.",
        )
        st.caption(f"{detector.meaning} Drag across the histogram to select a range.")


def _select(run: Run, key: str) -> None:
    """Take the range that was drawn, or none where it was taken away, into the selection."""
    drawn = st.session_state[key].selection.box
    low, high = sorted(drawn[0]["x"]) if drawn else (0.0, 0.0)
    state.change(run, score_range=(low, high) if drawn else None, flagged_only=not drawn)


@state.clear_with_runs
@st.cache_resource(max_entries=32, show_spinner=False)
def _bins(chosen: str, detector: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges, float64 ``(BINS + 1,)``, and the bin of each row, uint8 ``(n,)``, as `np.histogram` counts them."""
    score = state.load_run(chosen).table[detector].to_numpy()
    edges = np.histogram_bin_edges(score, BINS)
    return edges, np.searchsorted(edges[1:-1], score, "right").astype(np.uint8)


def _groups(run: Run, by: str) -> tuple[np.ndarray, list[str]]:
    """Return the group of each row, and the groups' names."""
    if by == "decision":
        return standing_of(run).codes, list(STATES)
    if by == "selection":
        codes = np.zeros(len(run.table), np.uint8)
        codes[state.rows(run)] = 1
        return codes, ["not selected", "selected"]
    labels = run.codes("label")
    order = np.argsort(-np.bincount(labels, minlength=len(run.class_names)), kind="stable")
    place = np.full(len(order), MOST_CLASSES)
    place[order[:MOST_CLASSES]] = np.arange(min(MOST_CLASSES, len(order)))
    return place[labels], [*(run.class_names[i] for i in order[:MOST_CLASSES]), OTHERS]
