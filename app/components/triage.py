"""The triage: one component of our own that draws samples, takes the keys and sends decisions to the server by itself.

A run of the page is too slow for a key. So the browser has the name of a queue, asks the routes for the part it shows and
for the next samples before they are needed, and posts decisions; Python hears of it when the keys have been quiet, and the
counts on the page follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from app import queues, state
from app.components.component import define_component, read_file
from oga_core import Run
from oga_core.review import standing_of

LAYOUTS = ("single", "gallery", "strip")
KEYED_CLASSES = 9


def triage(run: Run, rows: np.ndarray, *, layout: str, key: str, cosines: np.ndarray | None = None) -> None:
    """Draw samples to decide on.

    Parameters
    ----------
    rows
        Of ``run.table``, in the order they are reviewed in, integers ``(n,)``: a million if need be, they stay here.
    layout
        ``"single"`` or ``"gallery"``, between which the user may change; or ``"strip"``: the first twelve in a line or two,
        a click on one of which opens it on the page of the review.
    key
        Of the element.
    cosines
        Of the gradients with that of a test sample, float32 ``(n,)``, first those above 0: the gallery shows them.

    Raises
    ------
    ValueError
        For another layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    groups = state.groups(run) if rows is state.rows(run) else None
    if layout == "strip":
        _mount(run, rows, groups, cosines, layout, key)
    else:
        _fragment(run, rows, groups, cosines, layout, key, standing_of(run).version)


@st.fragment
def _fragment(
    run: Run, rows: np.ndarray, groups: np.ndarray | None, cosines: np.ndarray | None, layout: str, key: str, drawn: int
) -> None:
    """Draw the triage alone where the reviewer has only moved on; rerun the whole page after a decision."""
    if standing_of(run).version != drawn:
        st.rerun()
    _mount(run, rows, groups, cosines, layout, key)


def _mount(run: Run, rows: np.ndarray, groups: np.ndarray | None, cosines: np.ndarray | None, layout: str, key: str) -> None:
    chosen, standing, reviewer = state.selection(run), standing_of(run), state.reviewer()
    queue = queues.keep(run, rows, chosen, groups, cosines)
    _TRIAGE(
        key=key,
        on_place_change=partial(_take, run, key),
        data={
            "run": run.id,
            "queue": queue.name,
            "total": len(rows),
            "layout": layout,
            "own": cosines is not None,
            "asked": st.session_state.get(state.LAYOUT),
            "heard": st.session_state.get(state.HEARD, 0),
            "focus": st.session_state.get(state.FOCUS) or st.query_params.get(state.SAMPLE),
            "keyed": keys_of_classes(run.class_names) if "relabel" in run.task.decisions else {},
            "decisions": list(run.task.decisions),
            "noRelabel": run.task.no_relabel,
            "several": state.others(run, reviewer),
            "needsName": state.needs_name(reviewer),
            "version": standing.version,
        },
    )
    if st.session_state.pop(f"{key}-open", False):
        st.switch_page("app_pages/review.py")


def _take(run: Run, key: str) -> None:
    """Remember where the reviewer is, for the other pages and for the time they come back."""
    sent: Any = getattr(st.session_state.get(key), "place", None)  # missing where the page has changed meanwhile
    if not isinstance(sent, dict):
        return
    if isinstance(turn := sent.get("turn"), int):
        st.session_state[state.HEARD] = turn
    focus = sent.get("focus")
    if isinstance(focus, str) and len(run.rows_of([focus])):
        st.session_state[state.FOCUS] = focus
    if sent.get("layout") in ("single", "gallery"):
        st.session_state[state.LAYOUT] = sent["layout"]
    if sent.get("open") is True:
        st.session_state[state.LAYOUT] = "single"
        st.session_state[f"{key}-open"] = True


def keys_of_classes(names: Sequence[str]) -> dict[str, str]:
    """Return the class of each key from 1 to 9: the first nine classes, or, where the classes are single digits, each its own."""
    if all(len(n) == 1 and n.isdecimal() and n.isascii() for n in names):
        return {name: name for name in names}
    return {str(i + 1): name for i, name in enumerate(names[:KEYED_CLASSES])}


_CSS = (
    *("bidi.css", "buttons.css", "triage/triage.css", "triage/single.css", "triage/gallery.css", "triage/dialogs.css"),
    "triage/why.css",
)
_TRIAGE = define_component("oga_triage", html=read_file("triage/skeleton.html"), css=_CSS, js="triage/triage.js")
