"""The sidebar: the one selection that every page shows, and who is reviewing."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import login, state
from app.components.literal import literal, visible
from oga_core import InputError, Run
from oga_core.detectors import make_detector
from oga_core.review import UNDECIDED, Selection, default_selection, forget_view, list_views, name_view, standing_of
from oga_core.review.reviewers import LONGEST_NAME

BUDGETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]
NAME = "view_name"


def draw(run: Run) -> None:
    """Draw the panel for a finished run."""
    chosen = state.selection(run)
    with st.sidebar:
        st.text(visible(run.title))
        _draw_count(run)
        _draw_budget(run, chosen)
        _draw_filters(run, chosen)
        _draw_clear_buttons(run, chosen)
        with st.container(horizontal=True):
            _draw_views(run)
            st.button("Reset", icon=":material/restart_alt:", on_click=_reset, args=(run,), help="The selection as at first.")
        _draw_reviewer()


def _draw_budget(run: Run, chosen: Selection) -> None:
    """Draw the controls that say which samples are flagged."""
    st.selectbox(
        "Score",
        [d.name for d in run.detectors],
        format_func=lambda name: make_detector(name).title,
        help=f"{make_detector(chosen.detector).meaning} Higher = more suspicious.",
        **_bind(run, "detector", chosen.detector),
    )
    st.select_slider(
        "Budget",
        sorted({*BUDGETS, chosen.budget}),
        format_func=_format_share,
        help="The share of the samples that counts as flagged: the most suspicious by the score above.",
        **_bind(run, "budget", chosen.budget),
    )
    st.toggle("Flagged samples only", **_bind(run, "flagged_only", chosen.flagged_only))


def _draw_filters(run: Run, chosen: Selection) -> None:
    """Draw the controls that narrow the selection."""
    st.text_input(
        "Search",
        icon=":material/search:",
        placeholder="words in the text or the file name",
        **_bind(run, "search", chosen.search),
    )
    for field, label, values in (
        ("labels", run.task.label.capitalize(), run.class_names),
        *([("predicted", "Predicted", run.class_names)] if "predicted" in run.task.predictions else []),
        ("decisions", "Decision", [UNDECIDED, *run.task.decisions]),
    ):
        st.multiselect(label, values, format_func=visible, placeholder="All", **_bind(run, field, list(getattr(chosen, field))))
    st.toggle(
        "Disputed only",
        help="Samples on which reviewers have decided differently, one without having seen the other.",
        **_bind(run, "disputed", chosen.disputed),
    )


def _draw_clear_buttons(run: Run, chosen: Selection) -> None:
    """Draw a button for each choice that another page has added to the selection; it takes the choice away."""
    if chosen.score_range is not None:
        low, high = chosen.score_range
        st.button(
            f"Score {low:.4g} to {high:.4g}",
            icon=":material/close:",
            on_click=state.change,
            args=(run,),
            kwargs={"score_range": None, "flagged_only": True},
            width="stretch",
            help="The range drawn on the histogram; click to take it away.",
        )
    if chosen.samples:
        st.button(
            f"{len(chosen.samples):,} picked samples",
            icon=":material/close:",
            on_click=state.change,
            args=(run,),
            kwargs={"samples": (), "flagged_only": True},
            width="stretch",
            help="Picked on the page Influence; click to take the choice away.",
        )
    if chosen.lassos:
        st.button(
            "Clear the lasso",
            icon=":material/ink_eraser:",
            on_click=state.put,
            args=(run, chosen.without_lasso()),
            width="stretch",
        )


def _draw_reviewer() -> None:
    """Draw the reviewer: the name of the login, else a field for a name."""
    known = state.reviewer()
    if login.user():
        st.caption("Reviewer")
        st.text(known.name)
        st.button("Log out", icon=":material/logout:", on_click=st.logout, key="log_out")
    else:
        needed = state.needs_name(known)
        st.session_state["reviewer_name"] = "" if needed else state.display_name(known)
        st.text_input(
            "Reviewer",
            key="reviewer_name",
            on_change=_rename_reviewer,
            placeholder="your name",
            max_chars=LONGEST_NAME,
            help="Your name, shown with your decisions. Other browsers are other reviewers, even under the same name.",
        )


def _draw_count(run: Run) -> None:
    rows = state.rows(run)
    decided = int(np.count_nonzero(standing_of(run).codes[rows]))
    st.metric("Selected samples", f"{len(rows):,}", help="Of all the pages: histogram, map, table and gallery show these.")
    st.progress(decided / len(rows) if len(rows) else 0.0, text=f"{decided:,} of {len(rows):,} decided")


def _draw_views(run: Run) -> None:
    """Draw the selections that have a name."""
    with st.popover("Views", icon=":material/bookmarks:"):
        views = list_views(run)
        if not views:
            st.caption("No view is saved yet: a view is a selection with a name.")
        for name, view in views.items():
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(literal(name), key=f"view_{name}", on_click=state.put, args=(run, view), width="stretch")
                st.button(
                    "Forget",
                    key=f"forget_{name}",
                    on_click=forget_view,
                    args=(run, name),
                    type="tertiary",
                    icon=":material/delete:",
                )
        st.text_input("Save this selection as", key=NAME, on_change=_save_view, args=(run,), placeholder="a name, then Enter")


def _save_view(run: Run) -> None:
    name = st.session_state[NAME].strip()
    if name:
        try:
            name_view(run, name, state.selection(run))
        except InputError as error:
            st.toast(literal(error), icon=":material/error:")
            return
        st.session_state[NAME] = ""


def _reset(run: Run) -> None:
    state.put(run, default_selection(run))


def _bind(run: Run, field: str, value: object) -> dict[str, Any]:
    """Show a field of the selection in a widget; return the widget's arguments, by which it changes the field."""
    key = f"panel_{field}"
    # The selection is the truth, widgets only show it: set at every run, for on another page they are other widgets.
    st.session_state[key] = value
    return {"key": key, "on_change": _change_field, "args": (run, field, key)}


def _change_field(run: Run, field: str, key: str) -> None:
    value = st.session_state[key]
    state.change(run, **{field: tuple(value) if isinstance(value, list) else value})


def _rename_reviewer() -> None:
    try:
        state.set_reviewer(st.session_state["reviewer_name"])
    except InputError as error:
        st.toast(literal(error), icon=":material/error:")


def _format_share(budget: float) -> str:
    return f"{100 * budget:.3g} %"
