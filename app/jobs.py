"""Watches and cancels the scoring, which runs outside the page, and starts it again."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from app.components.job_progress import job_progress
from app.components.literal import literal
from oga_core import Run, worker
from oga_core.runs import DeletedRun, UnknownRun

KIND = "score"


def start(run: Run, kind: str) -> None:
    """Start a job of a run; of one that was deleted meanwhile, which the page says when it is drawn, none."""
    with suppress(DeletedRun, UnknownRun):
        worker.start(run, kind)


def watch(run: Run) -> bool:
    """Draw the progress of a run's scoring, whose end reruns the page; return whether it is done.

    One that failed or was stopped is shown with its reason, and can be started again: it resumes from the shards it has saved.
    """
    job = run.job(KIND)
    status = job.status()
    if status.state == "running":
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            job_progress(run, KIND, "Scoring", percent=False, key="score_progress")
            st.button("Cancel", key="cancel_score", icon=":material/stop_circle:", on_click=job.cancel)
    elif status.state in ("failed", "cancelled"):
        show = st.error if status.state == "failed" else st.warning
        show(f"Scoring {status.state}: {literal(status.message)}", icon=":material/error:")
        label = "Continue" if run.begun else "Start again"
        st.button(label, key="again_score", icon=":material/replay:", on_click=start, args=(run, KIND))
    return status.state == "done"
