"""The placeholder of a page that has no results yet."""

from __future__ import annotations

import streamlit as st

from app import jobs, state
from oga_core import Run


def require_finished_run() -> Run:
    """Return the current run; where there is none, or it is not done, say on the page what to do, and stop."""
    run = state.current_run()
    if run is not None and jobs.watch(run):
        return run
    if run is None:
        if not state.missing_run():
            st.info("No run is open yet. Score some data, or open an earlier run.", icon=":material/info:")
        st.page_link("app_pages/start.py", label="Go to Start", icon=":material/play_circle:")
    st.stop()
