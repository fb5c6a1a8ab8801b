"""How suspicious the samples are, and what would be flagged."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import empty, histogram, recommendation, shares, table
from app.components.literal import literal
from app.components.triage import triage
from oga_core.runs.stale import stale

run = empty.require_finished_run()
chosen = state.selection(run)

st.title("Scores")
if why := stale(run):
    st.warning(literal(why), icon=":material/history:")
recommendation.draw(run)
by = st.segmented_control(
    "Colour the histogram by",
    histogram.WAYS,
    default=histogram.WAYS[0],
    required=True,
    key="histogram_by",
    format_func=lambda way: run.task.label if way == "given label" else way,
)
histogram.draw(run, chosen, by)
triage(run, state.rows(run), layout="strip", key="scores_strip")

st.subheader(f"What would be flagged, by {run.task.group}")
shares.draw(run, chosen)

st.subheader("Selected samples")
table.draw(run)
