"""The guided path across the pages, on the examples only."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import state
from oga_core import Run

STEPS = {
    "": ("Start", "A tenth of these labels is wrong on purpose. Every sample has been scored by its loss gradient.", "scores"),
    "scores": ("Scores", "The dashed line shows what is flagged. Move the budget at the left: counts and gallery follow.", "map"),
    "map": ("Map", "Samples whose gradients point the same way lie together. Draw a lasso round an odd group.", "review"),
    "review": ("Review", "K keeps, X removes, A accepts the suggested label, U undoes; ? shows all keys.", "export"),
    "export": ("Export", "Leave with the list, or with the cleaned data. Your own data are scored from the Start page.", None),
}
"""By the page's path: its name, what to do there, and where to go next."""


def draw(run: Run, path: str) -> None:
    """Draw the step of a page, unless the user has closed the guide in this session."""
    if st.session_state.get(state.GUIDE_CLOSED) or not _is_example(run) or path not in STEPS:
        return
    title, text, then = STEPS[path]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.badge(f"{list(STEPS).index(path) + 1} of {len(STEPS)} · {title}", icon=":material/explore:")
        st.text(text)
        if then is not None:
            st.page_link(f"app_pages/{then}.py", label=f"Next: {STEPS[then][0]}", icon=":material/arrow_forward:")
        st.button("Close", key="guide_close", type="tertiary", icon=":material/close:", on_click=_close)


def _is_example(run: Run) -> bool:
    data = run.spec.data
    return data is not None and Path(data.source).parent == run.workspace.path / "examples"


def _close() -> None:
    st.session_state[state.GUIDE_CLOSED] = True
