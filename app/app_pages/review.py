"""Look at the selected samples and decide."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import agreement, empty
from app.components.triage import triage
from oga_core.review import ORDERS

run = empty.require_finished_run()

st.session_state["review_order"] = state.selection(run).order
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("Review")
    st.segmented_control(
        "Order by",
        ORDERS,
        required=True,
        key="review_order",
        on_change=lambda: state.change(run, order=st.session_state["review_order"]),
        help="By suspicion: by the chosen score. By cluster: samples whose gradients point the same way stand together. By "
        "uncertainty: those nearest to where the flag begins first.",
    )
triage(run, state.rows(run), layout="single", key="review")
agreement.draw(run)
