"""Watches and cancels work that runs outside the page, and starts it again."""

from __future__ import annotations

import streamlit as st

from app.components.literal import literal
from oga_core import Run, worker

POLL_SECONDS = 0.5
TITLES = {"score": "Scoring", "map": "Drawing the map"}


def watch(run: Run, kind: str) -> bool:
    """Draw a job's progress until it ends, then run the page again; returns whether it is done.

    A job that failed or was stopped is told with its reason, and can be started again.
    """
    status = run.job(kind).status()
    if status.state == "running":
        _progress(run, kind)
        return False
    if status.state in ("failed", "cancelled"):
        show = st.error if status.state == "failed" else st.warning
        show(f"{TITLES[kind]} {status.state}: {literal(status.message)}", icon=":material/error:")
        st.button("Start again", key=f"again_{kind}", icon=":material/replay:", on_click=worker.start, args=(run, kind))
        return False
    return status.state == "done"


@st.fragment(run_every=POLL_SECONDS)
def _progress(run: Run, kind: str) -> None:
    job = run.job(kind)
    status = job.status()
    if status.state != "running":
        st.rerun()
    share = status.done / status.total if status.total else 0.0
    with st.container(border=True):
        count = f" ({status.done:,} of {status.total:,})" if status.total else ""
        st.progress(min(share, 1.0), text=f"{TITLES[kind]}: {literal(status.stage)}{count}")
        st.button("Cancel", key=f"cancel_{kind}", icon=":material/stop_circle:", on_click=job.cancel)
