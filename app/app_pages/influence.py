"""Which training samples push the model towards a test sample, and which against it."""

from __future__ import annotations

import streamlit as st

from app.components import empty, influence

run = empty.require_finished_run()
st.title("Influence")
influence.draw(run)
