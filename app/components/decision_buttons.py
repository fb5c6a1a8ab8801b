"""The buttons and keys by which a reviewer decides; "saved" is said after the commit and never before."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from app import state
from app.components.literal import literal
from oga_core import InputError, Run, decide, undo
from oga_core.review import Decision

KEYED_CLASSES = 9
SHORT_NAME = 24


def act(
    run: Run,
    samples: pd.DataFrame,
    action: str,
    new_label: str | Sequence[str],
    seen: Mapping[str, Decision],
    op_id: str,
    then: str | None,
) -> None:
    """Decide on rows of ``run.table``, say whether it is saved, and go on to the sample ``then``."""
    try:
        decide(run, samples, action, reviewer=state.reviewer(), new_label=new_label, seen=seen, op_id=op_id)
    except (InputError, sqlite3.Error, OSError) as error:
        _tell(f"Not saved: {error}", saved=False)
        return
    what = f"{samples['source'].iloc[0]}" if len(samples) == 1 else f"{len(samples):,} samples"
    label = f" to {new_label}" if action == "relabel" and isinstance(new_label, str) else ""
    _tell(f"Saved: {action}{label}, {what}")
    if then is not None:
        st.session_state[state.FOCUS] = then
    st.session_state.pop(state.CHECKED, None)


def take_back(run: Run, op_id: str) -> None:
    """Undo the reviewer's last standing action, and go back to its first sample."""
    try:
        undone = undo(run, reviewer=state.reviewer(), op_id=op_id)
    except (sqlite3.Error, OSError) as error:
        _tell(f"Not saved: {error}", saved=False)
        return
    if not undone:
        _tell("Nothing is left to undo")
        return
    st.session_state[state.FOCUS] = undone[0]
    _tell(f"Saved: undone, {len(undone):,} sample{'s' if len(undone) > 1 else ''}")


def draw_message() -> None:
    """What the last action said."""
    said = st.session_state.get(state.MESSAGE)
    if said is None:
        return
    saved, text = said
    if saved:
        st.success(literal(text), icon=":material/check:")
    else:
        st.error(literal(text), icon=":material/error:")


def draw(run: Run, row: int, before: str | None, after: str | None, then: str | None) -> None:
    """Buttons for one row: neighbours in the order of suspicion by the arrows, decisions by their keys."""
    samples = run.table.iloc[[row]]
    seen = state.standing(run)
    suggested = str(samples["suggested_label"].iloc[0])

    def button(label: str, key: str, action: str, new_label: str = "", icon: str | None = None, primary: bool = False) -> None:
        st.button(
            label, key=f"act_{action}_{key}", shortcut=key, icon=icon, type="primary" if primary else "secondary", on_click=act,
            args=(run, samples, action, new_label, seen, uuid.uuid4().hex, then),
        )  # fmt: skip

    with st.container(horizontal=True):
        button("Keep", "K", "keep", icon=":material/check:")
        button("Remove", "X", "remove", icon=":material/delete:")
        button(f"Relabel: {_short(suggested)}", "A", "relabel", suggested, ":material/auto_fix_high:", primary=True)
        button("Unsure", "S", "unsure", icon=":material/help:")
        st.button("Undo", key="undo", shortcut="U", icon=":material/undo:", on_click=take_back, args=(run, uuid.uuid4().hex))
        for label, key, arrow, other in (("Back", "previous", "Left", before), ("Next", "next", "Right", after)):
            icon = f":material/arrow_{'back' if arrow == 'Left' else 'forward'}:"
            st.button(label, key=key, shortcut=arrow, icon=icon, disabled=other is None, on_click=focus, args=(other,))
    keyed = keys_of_classes(run.class_names)
    given = str(samples["label"].iloc[0])
    st.caption("Relabel to")
    with st.container(horizontal=True):
        for key, name in keyed.items():
            if name != given:
                button(f"Label {name}" if name == key else _short(name), key, "relabel", name)
    if len(run.class_names) > len(keyed):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            other = st.selectbox("Another class", [c for c in run.class_names if c != given], key="another_class", index=None)
            st.button("Relabel", key="relabel_other", disabled=other is None, on_click=act,
                      args=(run, samples, "relabel", other or "", seen, uuid.uuid4().hex, then))  # fmt: skip


def keys_of_classes(names: Sequence[str]) -> dict[str, str]:
    """Keys 1 to 9 and the classes they stand for: the first nine, or, where the classes are single digits, each its own."""
    if all(len(n) == 1 and n.isdecimal() and n.isascii() for n in names):
        return {name: name for name in names}
    return {str(i + 1): name for i, name in enumerate(names[:KEYED_CLASSES])}


def focus(sample_id: str | None) -> None:
    """Show another sample."""
    st.session_state[state.FOCUS] = sample_id
    st.session_state.pop(state.MESSAGE, None)


def _short(name: str) -> str:
    return literal(name if len(name) <= SHORT_NAME else name[: SHORT_NAME - 1] + "…")


def _tell(text: str, saved: bool = True) -> None:
    st.session_state[state.MESSAGE] = (saved, f"{text} ({datetime.now():%H:%M:%S})")
