"""Look at the selected samples and decide."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import empty, gallery, key_relay, sample_card

run = empty.finished_run()
rows = state.rows(run)

st.title("Review")
layout = st.segmented_control("Layout", [state.ALONE, state.GALLERY], default=state.ALONE, required=True, key=state.LAYOUT)
key_relay.draw()
if not len(rows):
    st.info("No sample is selected: widen the budget or the filters at the left.", icon=":material/filter_alt_off:")
elif layout == state.GALLERY:
    gallery.draw(run, rows)
else:
    sample_card.draw(run, rows)
