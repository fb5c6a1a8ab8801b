"""The gradients as a map."""

from __future__ import annotations

import streamlit as st

from app import jobs, state
from app.components import empty, map_panel, thumbnail
from oga_core import worker

SHOWN = 12

run = empty.finished_run()
st.title("Map")
st.caption(
    "Every point is a sample; samples whose loss gradients point the same way lie together (UMAP of the gradients, by cosine)."
)
positions = state.positions(run)
if positions is None:
    if run.job("map").status().state in ("absent", "done"):
        worker.start(run, "map")
    if jobs.watch(run, "map"):
        st.rerun()
    st.stop()

map_panel.draw(run, positions)
rows = state.rows(run)
with st.container(horizontal=True, vertical_alignment="center"):
    st.subheader(f"{len(rows):,} selected")
    if len(rows) and st.button("Review them", type="primary", icon=":material/fact_check:"):
        st.switch_page("app_pages/review.py")
for start in range(0, min(len(rows), SHOWN), 6):
    for column, row in zip(st.columns(6), rows[start : start + 6], strict=False):
        with column, st.container(border=True, height="stretch", gap="xxsmall"):
            thumbnail.sample(run, int(row))
            thumbnail.labels(run, int(row))
