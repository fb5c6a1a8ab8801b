"""Many samples at once, in the order of suspicion, with actions on those that are ticked or on all that are selected."""

from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.components import decision_buttons, shares, thumbnail
from app.components.literal import literal
from oga_core import Run
from oga_core.review import Decision

PER_PAGE, PER_LINE = 24, 6
SUGGESTED = "each its suggested label"


def draw(run: Run, rows: np.ndarray) -> None:
    """Draw a page of the gallery."""
    pages = -(-len(rows) // PER_PAGE)
    page = min(int(st.session_state.get(state.PAGE, 0)), pages - 1)
    shown = rows[page * PER_PAGE : (page + 1) * PER_PAGE]
    _draw_bulk(run, rows, shown)
    decision_buttons.draw_message()
    found = state.standing(run)
    for start in range(0, len(shown), PER_LINE):
        for column, row in zip(st.columns(PER_LINE), shown[start : start + PER_LINE], strict=False):
            with column:
                _draw_tile(run, int(row), found)
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.button(
            "Previous page", shortcut="Left", disabled=page == 0, on_click=_turn, args=(page - 1,), icon=":material/arrow_back:"
        )
        st.text(f"Page {page + 1:,} of {pages:,}")
        st.button(
            "Next page",
            shortcut="Right",
            disabled=page + 1 >= pages,
            on_click=_turn,
            args=(page + 1,),
            icon=":material/arrow_forward:",
        )


def _draw_tile(run: Run, row: int, found: dict[str, Decision]) -> None:
    entry = run.table.iloc[row]
    sample_id = str(entry["sample_id"])
    decision = found.get(sample_id)
    with st.container(border=True, height="stretch", gap="xxsmall"):
        thumbnail.sample(run, row)
        thumbnail.labels(run, row)
        if decision is not None:
            st.badge(literal(decision), color="blue", icon=":material/task_alt:")
        with st.container(horizontal=True, vertical_alignment="center"):
            ticked = sample_id in _checked()
            st.checkbox(f"Tick row {row}", value=ticked, key=f"tick_{row}_{ticked}", label_visibility="collapsed",
                        on_change=_tick, args=(sample_id, not ticked))  # fmt: skip
            st.button("Look", key=f"look_{row}", on_click=_look, args=(sample_id,), type="tertiary", icon=":material/zoom_in:")


def _draw_bulk(run: Run, rows: np.ndarray, shown: np.ndarray) -> None:
    """Actions on the ticked samples, or on all selected ones after a confirmation that shows their classes."""
    ids = run.table["sample_id"].to_numpy()
    ticked = rows[np.isin(ids[rows], list(_checked()))] if _checked() else rows[:0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Tick this page", on_click=_tick_all, args=([str(i) for i in ids[shown]],), icon=":material/select_all:")
        st.button("Untick all", on_click=_tick_all, args=([],), disabled=not _checked(), icon=":material/deselect:")
        target = st.selectbox(
            "Decide on", [f"the {len(ticked):,} ticked", f"all {len(rows):,} selected"], index=0, key="bulk_target", width=200
        )
        label = st.selectbox("Relabel to", [SUGGESTED, *run.class_names], key="bulk_label", width=220)
        everything = target.startswith("all")
        meant = rows if everything else ticked
        samples = run.table.iloc[meant]
        seen = state.standing(run)
        new_label = list(samples["suggested_label"].astype(str)) if label == SUGGESTED else label
        for action, title, key, icon in (
            ("keep", "Keep", "K", ":material/check:"), ("remove", "Remove", "X", ":material/delete:"),
            ("relabel", "Relabel", "A", ":material/auto_fix_high:"), ("unsure", "Unsure", "S", ":material/help:"),
        ):  # fmt: skip
            now = None if everything else decision_buttons.act
            args = (run, samples, action, new_label, seen, uuid.uuid4().hex, None)
            if (
                st.button(title, key=f"bulk_{action}", shortcut=key, icon=icon, disabled=not len(meant), on_click=now, args=args)
                and everything
            ):
                _confirm(run, samples, action, new_label, seen)
        st.button(
            "Undo",
            key="undo",
            shortcut="U",
            icon=":material/undo:",
            on_click=decision_buttons.take_back,
            args=(run, uuid.uuid4().hex),
        )


@st.dialog("Decide on all selected samples")
def _confirm(run: Run, samples: pd.DataFrame, action: str, new_label: str | list[str], seen: dict[str, Decision]) -> None:
    st.text(f"{action} {len(samples):,} samples. One undo takes all of it back. By class:")
    st.dataframe(shares.class_shares(run.table, samples)[["class", "samples", "flagged", "flagged share of the class"]].rename(
        columns={"flagged": "concerned", "flagged share of the class": "share of the class"}), hide_index=True)  # fmt: skip
    label = f"Yes, {action} {len(samples):,} samples"
    args = (run, samples, action, new_label, seen, uuid.uuid4().hex, None)
    if st.button(label, type="primary", icon=":material/done_all:", on_click=decision_buttons.act, args=args):
        st.rerun()


def _checked() -> frozenset[str]:
    ticked: frozenset[str] = st.session_state.get(state.CHECKED, frozenset())
    return ticked


def _tick(sample_id: str, on: bool) -> None:
    st.session_state[state.CHECKED] = _checked() | {sample_id} if on else _checked() - {sample_id}


def _tick_all(sample_ids: list[str]) -> None:
    st.session_state[state.CHECKED] = _checked() | set(sample_ids) if sample_ids else frozenset()


def _turn(page: int) -> None:
    st.session_state[state.PAGE] = page


def _look(sample_id: str) -> None:
    st.session_state[state.FOCUS] = sample_id
    st.session_state[state.LAYOUT] = state.ALONE
