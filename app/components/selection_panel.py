"""The sidebar: the one selection that every page shows, and who is reviewing."""

from __future__ import annotations

import streamlit as st

from app import state
from oga_core import Run
from oga_core.detectors import named
from oga_core.review import STATES

BUDGETS = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]


def draw(run: Run) -> None:
    """Draw the panel for a finished run."""
    chosen = state.selection(run)
    with st.sidebar:
        st.text(run.title)
        _bound("detector", chosen.detector)
        st.selectbox(
            "Score", [d.name for d in run.detectors], format_func=lambda name: named(name).title, key=_key("detector"),
            on_change=_changed, args=(run, "detector"), help=f"{named(chosen.detector).meaning} Higher = more suspicious.",
        )  # fmt: skip
        options = sorted({*BUDGETS, chosen.budget})
        _bound("budget", chosen.budget)
        st.select_slider(
            "Budget", options, format_func=_share, key=_key("budget"), on_change=_changed, args=(run, "budget"),
            help="The share of the samples that counts as flagged: the most suspicious by the score above.",
        )  # fmt: skip
        _bound("flagged_only", chosen.flagged_only)
        st.toggle("Flagged samples only", key=_key("flagged_only"), on_change=_changed, args=(run, "flagged_only"))
        for field, label, values in (
            ("labels", "Given label", run.class_names),
            ("predicted", "Predicted", run.class_names),
            ("decisions", "Decision", list(STATES)),
        ):
            _bound(field, list(getattr(chosen, field)))
            st.multiselect(label, values, key=_key(field), on_change=_changed, args=(run, field), placeholder="All")
        if chosen.lassos:
            st.button("Clear the lasso", icon=":material/ink_eraser:", on_click=_clear_lasso, args=(run,), width="stretch")
        ids = run.table["sample_id"].iloc[state.rows(run)]
        st.metric(
            "Selected samples", f"{len(ids):,}", help="Of all the pages: histogram, map, table, gallery and export show these."
        )
        decided = int(ids.isin(list(state.standing(run))).sum())
        st.progress(decided / len(ids) if len(ids) else 0.0, text=f"{decided:,} of {len(ids):,} decided")
        st.text_input("Reviewer", value=state.reviewer(), key="reviewer_name", on_change=_renamed,
                      help="Goes with every decision, so that it is known who made it.")  # fmt: skip


def _key(field: str) -> str:
    return f"panel_{field}"


def _bound(field: str, value: object) -> None:
    # The selection is the truth, widgets only show it: set at every run, for on another page they are other widgets.
    st.session_state[_key(field)] = value


def _changed(run: Run, field: str) -> None:
    value = st.session_state[_key(field)]
    state.change(run, **{field: tuple(value) if isinstance(value, list) else value})


def _clear_lasso(run: Run) -> None:
    state.put(run, state.selection(run).without_lasso())


def _renamed() -> None:
    state.set_reviewer(st.session_state["reviewer_name"])


def _share(budget: float) -> str:
    return f"{100 * budget:.3g} %"
