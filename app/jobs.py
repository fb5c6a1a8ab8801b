"""Watches and cancels the scoring, which runs outside the page, and starts it again."""

from __future__ import annotations

import streamlit as st

from app.components.literal import literal
from oga_core import Run, worker

POLL_SECONDS = 0.5
KIND = "score"


def watch(run: Run) -> bool:
    """Draw the progress of a run's scoring until it ends, then run the page again; returns whether it is done.

    One that failed or was stopped is told with its reason, and can be started again: it goes on with what it has kept.
    """
    status = run.job(KIND).status()
    if status.state == "running":
        _progress(run)
        return False
    if status.state in ("failed", "cancelled"):
        show = st.error if status.state == "failed" else st.warning
        show(f"Scoring {status.state}: {literal(status.message)}", icon=":material/error:")
        again = "Continue" if run.begun else "Start again"
        st.button(again, key="again_score", icon=":material/replay:", on_click=worker.start, args=(run, KIND))
        return False
    return status.state == "done"


@st.fragment(run_every=POLL_SECONDS)
def _progress(run: Run) -> None:
    job = run.job(KIND)
    status = job.status()
    if status.state != "running":
        st.rerun()
    share = status.done / status.total if status.total else 0.0
    with st.container(border=True):
        count = f" ({status.done:,} of {status.total:,})" if status.total else ""
        st.progress(min(share, 1.0), text=f"Scoring: {literal(status.stage)}{count}")
        st.button("Cancel", key="cancel_score", icon=":material/stop_circle:", on_click=job.cancel)
