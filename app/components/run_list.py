"""Earlier runs of the workspace."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.literal import visible
from oga_core import Run, Workspace

SHOWN = 20
ICONS = {"done": ":material/check_circle:", "running": ":material/progress_activity:", "failed": ":material/error:",
         "cancelled": ":material/cancel:", "absent": ":material/schedule:"}  # fmt: skip


def draw(workspace: Workspace) -> None:
    """The newest runs, each with a button that opens it."""
    runs = workspace.runs()
    if not runs:
        return
    st.subheader("Earlier runs")
    for run in runs[:SHOWN]:
        status = run.status()
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.text(visible(run.title), width="stretch")
            st.text(_facts(run, status.state), width="stretch")
            st.badge(status.state, icon=ICONS[status.state], color="green" if status.state == "done" else "gray")
            st.button("Open", key=f"open_{run.id}", on_click=state.open_run, args=(run,))
    if len(runs) > SHOWN:
        st.caption(f"{len(runs) - SHOWN:,} older runs: list them with oga runs.")


def _facts(run: Run, current: str) -> str:
    created = run.created.replace("T", " ")[:16]
    if current != "done":
        return f"{created} UTC"
    summary = run.summary
    of = "classes" if run.predicts else "groups"
    return f"{created} UTC · {summary['scored']:,} samples · {len(summary['class_names'])} {of} · {summary['model']}"
