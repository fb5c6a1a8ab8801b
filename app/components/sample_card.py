"""One sample alone: what it is, what everybody says of it, what is like it, and the decision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.components import decision_buttons, thumbnail
from app.components.literal import literal
from oga_core import Run
from oga_core.review import Decision, history, neighbours, scores


def draw(run: Run, rows: np.ndarray) -> None:
    """Draw the sample in focus, with the samples before and after it in ``rows``."""
    ids = run.table["sample_id"].to_numpy()
    found = state.standing(run)
    at = _position(ids[rows], found)
    row = int(rows[at])
    st.session_state[state.FOCUS] = st.query_params[state.SAMPLE] = ids[row]
    before = str(ids[rows[at - 1]]) if at else None
    after = str(ids[rows[at + 1]]) if at + 1 < len(rows) else None
    entry = run.table.iloc[row]
    left, right = st.columns([1, 1])
    with left, st.container(border=True):
        st.caption(f"{at + 1:,} of {len(rows):,}")
        thumbnail.sample(run, row, large=True)
        st.text(str(entry["source"]))
        decision_buttons.draw_message()
    with right:
        _draw_labels(entry, found.get(str(entry["sample_id"])))
        decision_buttons.draw(run, row, before, after, _next_undecided(ids[rows[at + 1 :]], found) or after)
        _draw_scores(run, row)
    st.subheader("Most similar gradients")
    _draw_neighbours(run, row)
    _draw_history(run, str(entry["sample_id"]))


def _position(ordered: np.ndarray, found: dict[str, Decision]) -> int:
    """Where the sample in focus is, after a refresh too; where it has left the selection, the place it had."""
    wanted = st.session_state.get(state.FOCUS) or st.query_params.get(state.SAMPLE) or _next_undecided(ordered, found)
    places = np.flatnonzero(ordered == wanted)
    at = int(places[0]) if len(places) else min(int(st.session_state.get(state.PLACE, 0)), len(ordered) - 1)
    st.session_state[state.PLACE] = at
    return at


def _next_undecided(ordered: np.ndarray, found: dict[str, Decision]) -> str | None:
    return next((str(s) for s in ordered if s not in found), None)


def _draw_labels(entry: pd.Series, decision: Decision | None) -> None:
    agrees = entry["predicted"] == entry["label"]
    facts = (
        ("Given label", str(entry["label"]), f"the model gives it {entry['confidence']:.1%}"),
        ("Predicted", str(entry["predicted"]), "agrees" if agrees else "disagrees"),
        ("Suggested label", str(entry["suggested_label"]), str(entry["suggested_label_source"])),
    )
    for column, (label, value, said) in zip(st.columns(3), facts, strict=True):
        with column, st.container(border=True, height="stretch", gap="xxsmall"):
            st.caption(label)
            st.text(value)
            st.caption(literal(said))
    if decision is None:
        st.badge("undecided", icon=":material/radio_button_unchecked:", color="gray")
        return
    said = f"{decision}, by {decision.reviewer}, {decision.time[:16].replace('T', ' ')} UTC"
    st.badge(literal(said), icon=":material/task_alt:", color="blue")
    if decision.conflict:
        st.warning(
            "This overtook another reviewer's decision that had not been seen; both are in the history below.",
            icon=":material/group:",
        )


def _draw_scores(run: Run, row: int) -> None:
    frame = pd.DataFrame([
        {"score": s.detector.title, "value": s.value, "percentile in its class": s.percentile / 100} for s in scores(run, row)
    ])  # fmt: skip
    st.dataframe(
        frame, hide_index=True,
        column_config={
            "value": st.column_config.NumberColumn(format="%.4g"),
            "percentile in its class": st.column_config.ProgressColumn(
                min_value=0.0, max_value=1.0, format="percent",
                help="Share of the samples of the same given label that score no higher.",
            ),
        },
    )  # fmt: skip


def _draw_neighbours(run: Run, row: int) -> None:
    near = neighbours(run, row)
    for column, neighbour in zip(st.columns(len(near)), near, strict=True):
        with column, st.container(border=True, height="stretch", gap="xxsmall"):
            thumbnail.sample(run, neighbour.row)
            thumbnail.labels(run, neighbour.row)
            st.caption(f"cosine {neighbour.cosine:.2f}")


def _draw_history(run: Run, sample_id: str) -> None:
    events = history(run, sample_id)
    if len(events):
        with st.expander(f"History ({len(events)})", icon=":material/history:"):
            st.dataframe(events, hide_index=True)
