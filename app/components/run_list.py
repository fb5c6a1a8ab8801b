"""Earlier runs of the workspace, and those in the trash."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from app import state
from app.components.literal import literal, visible
from oga_core import InputError, Run, Workspace
from oga_core.review import count_decisions
from oga_core.runs import UnknownRun
from oga_core.runs.cleaning import clean, describe, plan_cleaning
from oga_core.runs.removal import format_bytes
from oga_core.runs.sizes import own_uploads, run_size

SHOWN = 20
ICONS = {
    "done": ":material/check_circle:",
    "running": ":material/progress_activity:",
    "failed": ":material/error:",
    "cancelled": ":material/cancel:",
    "absent": ":material/schedule:",
}
_ASKED, _DELETED, _FAILED = "run_list_asked", "run_list_deleted", "run_list_failed"


def draw(workspace: Workspace) -> None:
    """Draw the newest runs, each with buttons that open and delete it, and the trash."""
    runs, trash = workspace.runs(), workspace.trash()
    if not runs and not trash:
        return
    st.subheader("Earlier runs")
    _draw_last_deleted(trash)
    if not runs:
        st.caption("None: all runs are in the trash.")
    for run in runs[:SHOWN]:
        status = run.status()
        with st.container(border=True, horizontal=True, vertical_alignment="center", wrap=False):
            _draw_title(run, _facts(run, status.state))
            st.badge(status.state, icon=ICONS[status.state], color="green" if status.state == "done" else "gray")
            st.button("Open", key=f"open_{run.id}", on_click=_open, args=(run,))
            st.button(
                "Delete",
                key=f"delete_{run.id}",
                icon=":material/delete:",
                type="tertiary",
                on_click=_ask,
                args=(run.id,),
                disabled=bool(workspace.read_only),
            )
    if len(runs) > SHOWN:
        st.caption(f"{len(runs) - SHOWN:,} older runs: list them with oga runs.")
    if trash:
        _draw_trash(workspace, trash)
    _draw_question(runs, trash)


def _draw_title(run: Run, facts: str) -> None:
    """Draw the title with facts below it, in the width that the buttons leave."""
    with st.container(gap=None):
        st.text(visible(run.title))
        st.caption(literal(facts))


def _facts(run: Run, current: str) -> str:
    created = run.created.replace("T", " ")[:16]
    if current != "done":
        return f"{created} UTC"
    try:
        summary = run.summary
    except InputError as error:  # of a newer OGA, or damaged
        return f"{created} UTC · {error}"
    return f"{created} UTC · {summary.scored:,} samples · {len(summary.class_names)} {run.task.groups} · {summary.model}"


def _open(run: Run) -> None:
    st.session_state.pop(_DELETED, None)
    state.open_run(run)


# ---- the trash -------------------------------------------------------------------------------------------------------------
def _draw_last_deleted(trash: list[Run]) -> None:
    """Draw the run that this session deleted last, with a button to restore it; or the error of that."""
    if failed := st.session_state.pop(_FAILED, None):
        st.error(literal(failed), icon=":material/error:")
    run = next((run for run in trash if run.id == st.session_state.get(_DELETED)), None)
    if run is not None:
        with st.container(border=True, horizontal=True, vertical_alignment="center", wrap=False):
            st.text(f"“{visible(run.title)}” is in the trash. Its decisions stay.", width="stretch")
            st.button("Undo", key="undo_delete", icon=":material/undo:", on_click=_put_back, args=(run.id,))


def _draw_trash(workspace: Workspace, trash: list[Run]) -> None:
    plan = plan_cleaning(workspace)
    size = format_bytes(plan.size.bytes)
    with st.expander(f"Trash ({_format_count(len(trash), 'run')}, {size})", key="trash", icon=":material/delete:"):
        for run in trash[:SHOWN]:
            with suppress(UnknownRun):  # removed by another just now
                _draw_deleted(run)
        if len(trash) > SHOWN:
            st.caption(f"And {_format_count(len(trash) - SHOWN, 'run')} more.")
        st.button(
            "Empty the trash",
            key="empty_trash",
            icon=":material/delete_forever:",
            on_click=_ask,
            args=(tuple(run.id for run in trash),),
            disabled=bool(workspace.read_only),
        )


def _draw_deleted(run: Run) -> None:
    facts = f"deleted {run.deleted.replace('T', ' ')[:16]} UTC · {format_bytes(run_size(run).bytes)}"
    with st.container(border=True, horizontal=True, vertical_alignment="center", wrap=False):
        _draw_title(run, facts)
        st.button(
            "Put back",
            key=f"put_back_{run.id}",
            icon=":material/undo:",
            on_click=_put_back,
            args=(run.id,),
            disabled=bool(run.workspace.read_only),
        )


def _put_back(run_id: str) -> None:
    try:
        state.workspace().undelete([run_id])
    except InputError:
        st.session_state[_FAILED] = "The run could not be put back: it was put back already, or removed for good."


# ---- questions -------------------------------------------------------------------------------------------------------------
def _ask(about: str | tuple[str, ...]) -> None:
    """Ask before a run is deleted, or before those that were listed in the trash are removed."""
    st.session_state[_ASKED] = about


def _close_question() -> None:
    st.session_state.pop(_ASKED, None)


def _draw_question(runs: list[Run], trash: list[Run]) -> None:
    about = st.session_state.get(_ASKED)
    run = next((run for run in runs if run.id == about), None)
    if run is not None:
        _ask_to_delete(run)
    elif isinstance(about, tuple) and trash:
        _ask_to_empty(about)
    else:
        _close_question()


@st.dialog("Delete this run?", icon=":material/delete:", on_dismiss=_close_question)
def _ask_to_delete(run: Run) -> None:
    st.text(visible(run.title))
    size, uploads = run_size(run), own_uploads(run)
    also = f", and {format_bytes(uploads.bytes)} of uploaded files that no other run uses" if uploads.files else ""
    st.text(f"{format_bytes(size.bytes)} on disk{also}. It can be put back until the trash is emptied.")
    decisions, reviewers = count_decisions(run)
    if decisions:
        made = "was made in it; it stays, for it belongs" if decisions == 1 else "were made in it; they stay, for they belong"
        st.text(f"{_format_count(decisions, 'decision')} by {_format_count(reviewers, 'reviewer')} {made} to the samples.")
    else:
        st.text("No decision was made in it.")
    with st.container(horizontal=True):
        if st.button("Move to the trash", key="confirm_delete", icon=":material/delete:"):
            _delete(run)
            st.rerun()
        if st.button("Cancel", key="cancel_delete"):
            _close_question()
            st.rerun()


def _delete(run: Run) -> None:
    _close_question()
    current = state.current_run()
    try:
        state.workspace().delete([run.id])
    except InputError as error:
        st.session_state[_FAILED] = state.reason_missing(error).replace(f"run {run.id}", f"“{visible(run.title)}”")
        return
    if current is not None and current.id == run.id:
        state.close_run()
    state.release_deleted()
    st.session_state[_DELETED] = run.id


@st.dialog("Empty the trash?", icon=":material/delete_forever:", on_dismiss=_close_question)
def _ask_to_empty(run_ids: tuple[str, ...]) -> None:
    plan = plan_cleaning(state.workspace(), run_ids)
    st.text(f"This removes {describe(plan)} for good. Decisions stay, for they belong to the samples.")
    with st.container(horizontal=True):
        if st.button("Remove for good", key="confirm_empty", icon=":material/delete_forever:"):
            _close_question()
            done = clean(state.workspace(), run_ids)
            state.release_deleted()
            if done.failed:
                st.session_state[_FAILED] = "; ".join(done.failed)
            st.rerun()
        if st.button("Cancel", key="cancel_empty"):
            _close_question()
            st.rerun()


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
