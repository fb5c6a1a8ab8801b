"""Summary of a run: its inputs and its course."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.literal import literal
from oga_core import Run
from oga_core.runs import RunSummary

NEXT = (
    ("app_pages/scores.py", "Look at the scores", ":material/bar_chart:"),
    ("app_pages/map.py", "See the map", ":material/bubble_chart:"),
    ("app_pages/review.py", "Review the flagged samples", ":material/fact_check:"),
)


def draw_header(run: Run) -> None:
    """Draw the run's title and the notes that came with it."""
    st.title(literal(run.title))
    for note in run.spec.notes:
        with st.container(border=True):
            st.text(note)


def draw(run: Run) -> None:
    """Counts, accuracy, classes and notes of a finished run."""
    summary = run.summary
    accuracy = summary.held_out_accuracy
    figures = [
        ("Samples", f"{summary.samples:,}", None),
        ("Scored", f"{summary.scored:,}", "Samples whose gradient could be taken."),
        ("Not scored", f"{summary.not_scored:,}", "Each is listed below with its reason."),
    ]
    if summary.agreement is not None:
        figures.append(("Agreement", f"{summary.agreement:.1%}", "Share of the samples whose given label the model predicts."))
    else:
        loss = run.table["loss"].mean()
        figures.append(("Mean loss", f"{loss:.3g}", "Nats a token of an answer, mean over the scored samples."))
    if accuracy is not None:
        figures.append(
            ("Held-out accuracy", f"{accuracy:.1%}", "On samples that the starter model was not trained on, given labels.")
        )
    for column, (label, value, meaning) in zip(st.columns(len(figures)), figures, strict=True):
        column.metric(label, value, help=meaning, border=True)
    st.text(
        f"Model: {summary.model} ({summary.model_source}), {_scope(summary)}, seed {summary.seed}, "
        f"scored in {summary.seconds:.1f} s."
    )
    for note in summary.notes[len(run.spec.notes) :]:  # those of the spec are in the header
        st.text(f"Note: {note}")
    if summary.mapping:
        with st.expander(f"Classes ({len(summary.class_names)}) and the model's outputs", icon=":material/swap_horiz:"):
            mapping = pd.DataFrame(list(summary.mapping), columns=["class in the data", "output", "class of the model"])
            st.dataframe(mapping, hide_index=True)
    if summary.not_scored:
        with st.expander(f"Not scored ({summary.not_scored:,})", icon=":material/report:"):
            st.dataframe(run.not_scored, hide_index=True)


def _scope(summary: RunSummary) -> str:
    """Return the scope of the gradient, for people."""
    return f"head {summary.head}" if summary.head else f"scope {summary.scope}"


def draw_next() -> None:
    """Draw links to the next pages."""
    with st.container(horizontal=True):
        for page, label, icon in NEXT:
            if st.button(label, key=f"next_{page}", icon=icon, type="primary" if page == NEXT[0][0] else "secondary"):
                st.switch_page(page)
