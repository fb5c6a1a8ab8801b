"""Everything a session knows, under one name each; what must outlast a refresh is in the URL and the workspace."""

from __future__ import annotations

import getpass
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from oga_core import Dataset, InputError, Run, Workspace, decisions, embedding
from oga_core.maps import has_map
from oga_core.review import (
    Decision,
    Selection,
    load_view,
    remember_reviewer,
    reviewer_of,
    save_view,
    selected,
    version,
)

RUN, VIEW, SAMPLE = "run", "view", "sample"
"""Names in the URL."""
BROWSER_COOKIE = "oga_browser"
_SELECTION, _SELECTION_RUN, _REVIEWER, _ROWS = "selection", "selection_run", "reviewer", "rows"
FOCUS, PLACE, PAGE, MESSAGE, CHECKED = "focus", "place", "gallery_page", "message", "checked"
"""Sample id in the single view and its place in the order, page of the gallery, what the last action said, ticked sample ids."""
LAYOUT, ALONE, GALLERY = "review_layout", "One at a time", "Gallery"


@st.cache_resource
def workspace() -> Workspace:
    return Workspace()


def current_run() -> Run | None:
    """The run in the URL, if it is there."""
    chosen = st.query_params.get(RUN) or st.session_state.get(_SELECTION_RUN)
    if not chosen:
        return None
    try:
        return opened(chosen)
    except InputError:
        return None


def open_run(run: Run) -> None:
    """Make a run the current one."""
    st.session_state[_SELECTION_RUN] = run.id
    for key in (_SELECTION, FOCUS, PLACE, PAGE, MESSAGE, CHECKED):
        st.session_state.pop(key, None)
    st.query_params.from_dict({RUN: run.id})


@st.cache_resource(max_entries=8)
def opened(chosen: str) -> Run:
    """A run whose files, once read, stay in memory for every session: they never change."""
    return workspace().run(chosen)


@st.cache_resource(max_entries=8)
def dataset(chosen: str) -> Dataset:
    """The data of a run."""
    return opened(chosen).open_dataset()


@st.cache_resource(max_entries=8, show_spinner=False)  # not cache_data: that copies at every call
def _positions(chosen: str) -> np.ndarray:
    return embedding(opened(chosen))


def positions(run: Run) -> np.ndarray | None:
    """The run's map, if it has been computed."""
    return _positions(run.id) if has_map(run) else None


@st.cache_resource(max_entries=8, show_spinner=False)
def _standing(chosen: str, at: int) -> dict[str, Decision]:
    return decisions(opened(chosen))


def standing(run: Run) -> dict[str, Decision]:
    """The decisions that stand now, by sample id, whoever has made them in whichever tab."""
    return _standing(run.id, version(run))


def selection(run: Run) -> Selection:
    """The one selection of this session."""
    if st.session_state.get(_SELECTION_RUN) != run.id or _SELECTION not in st.session_state:
        st.session_state[_SELECTION] = load_view(run, st.query_params.get(VIEW))
        st.session_state[_SELECTION_RUN] = run.id
    chosen: Selection = st.session_state[_SELECTION]
    return chosen


def change(run: Run, **fields: Any) -> None:
    """Change the selection; it is in the workspace and the URL before the page is drawn again."""
    put(run, replace(selection(run), **fields))


def put(run: Run, chosen: Selection) -> None:
    """Replace the selection."""
    st.session_state[_SELECTION] = chosen
    st.session_state.pop(PAGE, None)
    st.session_state.pop(CHECKED, None)
    st.query_params[VIEW] = save_view(run, chosen)


def keep_url(run: Run) -> None:
    """Enter run and selection in the URL, which a change of page has emptied."""
    chosen = selection(run)
    if st.query_params.get(RUN) != run.id or st.query_params.get(VIEW) is None:
        st.query_params.update({RUN: run.id, VIEW: save_view(run, chosen)})


def rows(run: Run) -> np.ndarray:
    """Rows of ``run.table`` that are selected, most suspicious first."""
    key = (run.id, selection(run), version(run), has_map(run))
    if st.session_state.get(_ROWS, (None,))[0] != key:
        st.session_state[_ROWS] = (key, selected(run, selection(run), standing(run), positions(run)))
    found: np.ndarray = st.session_state[_ROWS][1]
    return found


def selected_table(run: Run) -> pd.DataFrame:
    """The selected rows of the table, with columns ``decision``, ``new_label`` and ``reviewer``."""
    table, found = run.table.iloc[rows(run)], standing(run)
    said = [found.get(s) for s in table["sample_id"]]
    return table.assign(
        decision=[d.action if d else "" for d in said],
        new_label=[d.new_label if d else "" for d in said],
        reviewer=[d.reviewer if d else "" for d in said],
    )


def reviewer() -> str:
    """Whose decisions these are: the name entered in this browser, or the user of this machine."""
    if _REVIEWER not in st.session_state:
        kept = reviewer_of(workspace(), _browser())
        st.session_state[_REVIEWER] = kept or getpass.getuser()
    return str(st.session_state[_REVIEWER])


def set_reviewer(name: str) -> None:
    """Enter the reviewer's name; an empty one is not taken."""
    if name.strip():
        st.session_state[_REVIEWER] = name.strip()
        if _browser():
            remember_reviewer(workspace(), _browser(), name.strip())


def _browser() -> str:
    return st.context.cookies.to_dict().get(BROWSER_COOKIE, "")
