"""Give a model and data, and score them; earlier runs."""

from __future__ import annotations

import streamlit as st

from app import jobs, state
from app.components import preview, run_list, run_summary, start_form

run = state.current_run()
if run is not None:
    run_summary.draw_header(run)
    if jobs.watch(run):
        run_summary.draw(run)
        run_summary.draw_next()
    elif run.status().state == "running":
        preview.draw(run)
    st.divider()
else:
    st.title("Find the training samples that hurt your model")
    st.text(
        "Give a classifier or a language model, and the data it was trained on. OGA takes every sample's loss gradient, shows "
        "which stand out, and leaves the decision to you: keep, remove or relabel."
    )

if run is None or st.toggle("Score other data", key="score_other"):
    way = st.segmented_control("Data source", start_form.WAYS, default=start_form.WAYS[0], required=True, key="way")
    start_form.draw(way)

run_list.draw(state.workspace())
