"""The samples as maps: by their gradients, by their features."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import empty, map_panel
from app.components.triage import triage

run = empty.require_finished_run()
st.title("Map")
map_panel.draw(run)
rows = state.rows(run)
with st.container(horizontal=True, vertical_alignment="center"):
    st.subheader(f"{len(rows):,} selected")
    if len(rows) and st.button("Review them", type="primary", icon=":material/fact_check:"):
        st.switch_page("app_pages/review.py")
triage(run, rows, layout="strip", key="map_triage")
