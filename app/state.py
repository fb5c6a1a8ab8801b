"""Everything a session knows, under one name each; what must outlast a refresh is in the URL and the workspace."""

from __future__ import annotations

import getpass
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from app import login, presence
from oga_core import InputError, Run, Workspace, embedding
from oga_core.maps import pictures
from oga_core.review import (
    Reviewer,
    Selection,
    arrange_rows,
    browser_identity,
    browser_reviewer,
    load_view,
    login_reviewer,
    name_reviewer,
    others_decide,
    save_view,
    standing_of,
)
from oga_core.review.sample_model import model_of
from oga_core.runs import DeletedRun, UnknownRun
from oga_core.sandbox import SandboxedDataset, SandboxedModel, open_sandboxed

RUN, VIEW, SAMPLE = "run", "view", "sample"
"""Names in the URL."""
BROWSER_COOKIE = "oga_browser"
_SELECTION, _SELECTION_RUN, _ROWS = "selection", "selection_run", "rows"
FOCUS, LAYOUT, HEARD = "focus", "review_layout", "heard"
"""Id of the sample that is looked at, and whether alone (``single``) or among others (``gallery``)."""
GUIDE_CLOSED = "guide_closed"

Cache = TypeVar("Cache")
_caches: list[Any] = []


def clear_with_runs(cache: Cache) -> Cache:
    """Have a cache cleared when a run was deleted: its entries belong to runs, or keep what they were made of open."""
    _caches.append(cache)
    return cache


@st.cache_resource(show_spinner=False)
def workspace() -> Workspace:
    return Workspace()


def current_run() -> Run | None:
    """Return the run in the URL, if any."""
    chosen = _find_chosen()
    if not chosen:
        return None
    try:
        return find_run(chosen)
    except InputError:
        return None


def missing_run() -> str:
    """Why the run in the URL is not found, for people; empty where it is, or where none is named."""
    chosen = _find_chosen()
    if not chosen:
        return ""
    try:
        find_run(chosen)
    except InputError as error:
        if st.session_state.get(_SELECTION_RUN) == chosen:
            close_run()  # a page without a run in its URL is about none then
            st.query_params[RUN] = chosen
        return reason_missing(error)
    return ""


def reason_missing(error: InputError) -> str:
    """Why a run is not found, by the error of `find_run`, in words that name what is on the pages."""
    if isinstance(error, DeletedRun):
        return "This run is in the trash: it can be put back on the page Start. Its decisions stay."
    if isinstance(error, UnknownRun):
        return "This run was not found: it may have been removed for good. The page Start lists the runs; decisions stay."
    return str(error)


def _find_chosen() -> str | None:
    return st.query_params.get(RUN) or st.session_state.get(_SELECTION_RUN)


def open_run(run: Run) -> None:
    """Make a run the current one."""
    st.session_state[_SELECTION_RUN] = run.id
    for key in (_SELECTION, FOCUS):
        st.session_state.pop(key, None)
    st.query_params.from_dict({RUN: run.id})


def close_run() -> None:
    """Make no run the current one."""
    for key in (_SELECTION_RUN, _SELECTION, FOCUS, _ROWS):
        st.session_state.pop(key, None)
    st.query_params.clear()


def find_run(chosen: str) -> Run:
    """Return a run, with its cached files.

    Raises
    ------
    InputError
        As `Workspace.run`: if the run was deleted, too.
    """
    release_deleted()
    return load_run(chosen)


def release_deleted() -> None:
    """Release what is cached of runs that were deleted, in any process."""
    cached = _cached_ids()
    there = workspace().present(cached.values()) if cached else set()
    for chosen, run_id in list(cached.items()):
        if run_id not in there:
            cached.pop(chosen, None)
            _release(chosen, run_id)


def _release(chosen: str, run_id: str) -> None:
    """Release what is cached of a run, and the processes that read its data."""
    for name in {chosen, run_id}:
        for cache in (load_run, dataset, _dataset_beside_model):
            cache.clear(name)
    for cache in _caches:
        cache.clear()


@st.cache_resource(show_spinner=False)
def _cached_ids() -> dict[str, str]:
    """Return the ids of the runs of which something is cached, by the names they were asked for with."""
    return {}


@st.cache_resource(max_entries=8, show_spinner=False)
def load_run(chosen: str) -> Run:
    """Return a run whose files, once read, stay in memory for every session: they never change. Pages call `find_run` instead."""
    run = workspace().run(chosen)
    _cached_ids()[chosen] = run.id
    return run


def _open_data(chosen: str) -> SandboxedDataset:
    data = load_run(chosen).data_source
    return open_sandboxed(data.source, inputs=data.inputs, label=data.label)


@st.cache_resource(max_entries=8, show_spinner=False)
def dataset(chosen: str) -> SandboxedDataset:
    """Return the data of a run, which a sandbox of their own reads."""
    return _open_data(chosen)


@st.cache_resource(max_entries=4, show_spinner=False)
def _dataset_beside_model(chosen: str) -> SandboxedDataset:
    """Return the data of a run once more, in a sandbox that opens the model while the other serves samples."""
    return _open_data(chosen)


def model(run: Run) -> SandboxedModel:
    """Return the model of a run with its data; InputError where it was given from Python."""
    return SandboxedModel(_dataset_beside_model(run.id), *model_of(run))


@clear_with_runs
@st.cache_resource(max_entries=16, show_spinner=False)  # not cache_data: that copies at every call
def _positions(chosen: str, name: str) -> np.ndarray:
    return embedding(load_run(chosen), *name.split("-"))


def picture(run: Run, name: str) -> np.ndarray:
    """Return the positions of the samples on a picture of the run's map, float32 ``(n, 2)``; compute a missing one."""
    return _positions(run.id, name)


def positions(run: Run) -> dict[str, np.ndarray]:
    """Return the positions of the samples on every picture of the run."""
    return {name: picture(run, name) for name in pictures(run)}


def selection(run: Run) -> Selection:
    """Return the one selection of this session."""
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
    st.query_params[VIEW] = save_view(run, chosen)


def keep_url(run: Run) -> None:
    """Enter run and selection in the URL, which a change of page has emptied."""
    chosen = selection(run)
    if st.query_params.get(RUN) != run.id or st.query_params.get(VIEW) is None:
        st.query_params.update({RUN: run.id, VIEW: save_view(run, chosen)})


def rows(run: Run) -> np.ndarray:
    """Return the rows of ``run.table`` that are selected, in the order of the selection."""
    return _arrange(run)[0]


def groups(run: Run) -> np.ndarray | None:
    """Return the group of each of `rows`, in the order by cluster; None in another."""
    return _arrange(run)[1]


def _arrange(run: Run) -> tuple[np.ndarray, np.ndarray | None]:
    chosen, found = selection(run), standing_of(run)
    there = tuple(pictures(run)) if chosen.lassos else ()
    key = (run.id, chosen, found.version if chosen.decisions or chosen.disputed else 0, there)
    if st.session_state.get(_ROWS, (None,))[0] != key:
        data = dataset(run.id) if chosen.search else None
        st.session_state[_ROWS] = (key, arrange_rows(run, chosen, found, positions(run) if there else {}, data))
    both: tuple[np.ndarray, np.ndarray | None] = st.session_state[_ROWS][1]
    return both


def reviewer() -> Reviewer:
    """Return who looks at this page."""
    return reviewer_of(login.user(), _browser())


def reviewer_of(user: str | None, browser: str) -> Reviewer:
    """Return a reviewer by login, else by the cookie of the browser; the name is empty where none was entered."""
    return login_reviewer(user) if user else browser_reviewer(workspace(), browser)


def identity_of(user: str | None, browser: str) -> str:
    """Return the identity of `reviewer_of`."""
    return login_reviewer(user).identity if user else browser_identity(browser)


def display_name(known: Reviewer) -> str:
    """Return a reviewer's name; a browser without one has that of the server's user, as long as it is the only one."""
    return known.name or getpass.getuser()


def set_reviewer(name: str) -> None:
    """Enter the name of this browser's reviewer; an empty one changes nothing."""
    if name.strip():
        name_reviewer(workspace(), reviewer().identity, name)


def others(run: Run, known: Reviewer) -> bool:
    """Return whether others review too: they have a page open now, or have decided in this run."""
    return presence.others(known.identity) or others_decide(run, known)


def needs_name(known: Reviewer) -> bool:
    """Return whether a reviewer must enter a name before the first decision: others are here, or can come from elsewhere."""
    return not known.name and (presence.others(known.identity) or presence.is_public())


def _browser() -> str:
    return st.context.cookies.to_dict().get(BROWSER_COOKIE, "")
