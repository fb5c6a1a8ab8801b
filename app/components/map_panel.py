"""The maps of gradients and of features with their colourings; actions on them change the one selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote

import numpy as np
import streamlit as st

from app import jobs, state
from app.components.embedding_map import (
    PALETTE,
    SEQUENTIAL,
    SEQUENTIAL_STEPS,
    Card,
    Colours,
    Picture,
    embedding_map,
    take_action,
)
from app.components.job_progress import job_progress
from app.components.literal import literal
from oga_core import InputError, Run, worker
from oga_core.detectors import make_detector
from oga_core.maps import JOBS, picture, pictures
from oga_core.review import STATES, Selection, standing_of

VIEWS = {"Gradients": ("gradients",), "Features": ("features",), "Both": ("gradients", "features")}
WAYS = {"given label": "labels", "predicted": "predicted", "score": None, "flag": None, "decision": "decisions"}
"""Choices of colouring, and the field of the selection that singling out a class in the legend changes."""
NEAR = {"gradients": "like gradients lie together", "features": "like inputs of the head lie together"}
MEANING = {
    "gradients": "Where two samples lie together, their loss gradients point the same way: they pull the model the same way.",
    "features": "Where two samples lie together, the model sees them alike: the inputs of its head point the same way.",
}
DECIDED = ("#8d93a6", "#10a787", "#cf4038", "#e78720", "#8f68df")
"""Colours of `STATES`: what nobody has decided on is grey."""
FLAGS = ("#8d93a6", "#cf4038")
METHODS = {"pca": "principal components", "umap": "UMAP"}
HEIGHT, LINE = 560, 44
"""Pixels of a map, and of the line above it."""
_VIEW, _BY = "map_view", "map_by"


def draw(run: Run) -> None:
    """Draw the maps of a finished run."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = _choice("Map of", [v for v, spaces in VIEWS.items() if set(spaces) <= set(run.task.map_spaces)], _VIEW)
        by = _choice(
            "Colour by",
            [way for way in WAYS if way != "predicted" or way in run.task.predictions],
            _BY,
            lambda way: run.task.label if way == "given label" else way,
        )
    colours = _colours(run, state.selection(run), by)
    spaces = VIEWS[view]
    for column, space in zip(st.columns(len(spaces)), spaces):
        with column:
            _draw(run, space, colours, len(spaces) == 1)


def apply_actions(run: Run) -> None:
    """Apply the actions on the maps to the selection, before any part of the page is drawn."""
    for space in JOBS:
        while (action := take_action(_key(run, space), len(run.table))) is not None:
            chosen = state.selection(run)
            if action.mode == "clear":
                state.put(run, chosen.without_lasso())
            elif action.mode == "isolate":
                _single_out(run, action.by, action.codes)
            elif action.picture not in pictures(run):
                continue
            elif action.polygon is not None:
                state.put(run, chosen.lassoed(tuple(action.polygon), action.mode, action.picture))
            elif action.row is not None:
                st.session_state[state.FOCUS] = str(run.table["sample_id"].iloc[action.row])
                around = _enclose(state.picture(run, action.picture), action.row)
                state.put(run, chosen.lassoed(around, action.mode, action.picture))


def _choice(label: str, options: list[str], key: str, shown: Callable[[str], str] = str) -> str:
    """Draw a choice that outlasts a visit to another page; return the chosen option."""
    last = st.session_state.setdefault(f"{key}_last", options[0])
    last = last if last in options else options[0]  # of another run
    chosen = st.segmented_control(label, options, default=last, required=True, key=key, format_func=shown)
    st.session_state[f"{key}_last"] = chosen
    return str(chosen)


def _draw(run: Run, space: str, colours: Colours, only_map: bool) -> None:
    line, body = st.container(horizontal=True, vertical_alignment="center", height=LINE, border=False), st.container()
    try:
        name = _choose_picture(run, space)
        if name not in pictures(run):
            with body, st.spinner("Drawing the first picture…"):
                state.picture(run, name)
    except InputError as error:
        with body.container(height=HEIGHT, border=True, horizontal_alignment="center", vertical_alignment="center"):
            st.text(f"There is no map: {error}.")
        return
    with line:
        _caption(run, space, name, only_map)
    chosen = state.selection(run)
    last = chosen.lassos[-1] if chosen.lassos and chosen.lassos[-1][2] == name else None
    with body:
        embedding_map(
            _picture(run, space, name, chosen.detector),
            colours,
            selected=state.rows(run),
            polygon=last and last[1],
            key=_key(run, space),
            focus=_focus(run),
            height=HEIGHT,
        )


def _choose_picture(run: Run, space: str) -> str:
    """Return the picture to show: UMAP where it has been computed, unless the last lasso was drawn on the first picture."""
    first, better = (picture(space, method) for method in METHODS)
    if better not in pictures(run):
        return first
    drawn = [lasso[2] for lasso in state.selection(run).lassos if lasso[2] in (first, better)]
    return first if drawn and drawn[-1] == first and not st.session_state.get(_moved_on_key(run, space)) else better


def _moved_on_key(run: Run, space: str) -> str:
    return f"map_moved_on_{run.id}_{space}"


def _caption(run: Run, space: str, name: str, only_map: bool) -> None:
    """Draw the caption of a picture with the progress of a better one; start its job if nothing else runs."""
    better = picture(space, "umap")
    if name == better:
        st.caption(f"**UMAP of the {space}**: {NEAR[space]}", help=MEANING[space])
    elif better in pictures(run):
        st.caption(f"**Principal components of the {space}**")
        st.button(
            "Show UMAP",
            key=f"map_show_{space}",
            type="tertiary",
            icon=":material/auto_awesome:",
            help="The selection stays as it is, though its lasso was drawn on this picture.",
            on_click=_move_on,
            args=(run, space),
        )
    else:
        other = _find_other_job(run, space)
        if run.job(JOBS[space]).status().state in ("absent", "done") and other is None:
            worker.start(run, JOBS[space])
        _draw_progress(run, space, other, only_map)


def _move_on(run: Run, space: str) -> None:
    st.session_state[_moved_on_key(run, space)] = True


def _find_other_job(run: Run, space: str) -> str | None:
    """Return the job of another space's map if it is running: one comes after the other, for there are few processors."""
    return next((kind for other, kind in JOBS.items() if other != space and run.job(kind).status().state == "running"), None)


def _draw_progress(run: Run, space: str, other: str | None, only_map: bool) -> None:
    """Draw the progress of UMAP, whose end reruns the page; beside another map only that, for there is little space."""
    kind = JOBS[space]
    job = run.job(kind)
    status = job.status()
    shown = f"**Principal components of the {space}**"
    label = "UMAP" if only_map else f"{space.capitalize()}, UMAP"
    with st.container(horizontal=True, vertical_alignment="center"):
        if only_map and (status.state == "running" or other is not None):
            st.caption(shown, width="content")
        if status.state == "running":
            job_progress(run, kind, label, percent=True, key=f"map_progress_{space}")
            st.button("Cancel", key=f"map_cancel_{space}", type="tertiary", on_click=job.cancel)
        elif status.state in ("failed", "cancelled"):
            st.caption(f"{shown}; UMAP {status.state}: {literal(status.message)}")
            st.button(
                "Start again",
                key=f"map_again_{space}",
                type="tertiary",
                icon=":material/replay:",
                on_click=jobs.start,
                args=(run, kind),
            )
        elif other is not None:
            job_progress(run, other, f"{label} after the other map's", percent=True, key=f"map_progress_{space}")
        elif picture(space, "umap") in pictures(run):  # by now
            st.rerun()
        else:
            st.caption(f"{shown}; no UMAP, for nothing can be saved")


def _single_out(run: Run, by: str, codes: Sequence[int]) -> None:
    """Classes singled out in the legend are a filter of the selection like any other."""
    field = WAYS.get(by)
    names = STATES if by == "decision" else run.class_names
    if field is not None:
        state.change(run, **{field: tuple(names[code] for code in codes if code < len(names))})


def _key(run: Run, space: str) -> str:
    return f"map_{run.id}_{space}"


def _focus(run: Run) -> int | None:
    """Return the row of the sample that the reviewer is on."""
    sample_id = st.session_state.get(state.FOCUS)
    return next(iter(run.rows_of([sample_id]).tolist()), None) if sample_id else None


def _picture(run: Run, space: str, name: str, detector: str) -> Picture:
    at = f"oga/map/{quote(run.id)}"
    title = f"Map of the {space} by {METHODS[name.partition('-')[2]]}"
    card = Card(
        given=f"{at}/codes/label",
        predicted=f"{at}/codes/predicted" if "predicted" in run.task.predictions else "",
        scores=f"{at}/scores/{quote(detector, safe='')}",
        indices=f"{at}/indices/all",
        names=f"oga/classes/{quote(run.id)}",
        kind=_find_kind(run),
        sample=_split_address(run),
    )
    return Picture(name, title, f"{at}/positions/{name}", run.id, card)


def _find_kind(run: Run) -> Literal["image", "text", ""]:
    try:
        return "image" if state.dataset(run.id).kind == "image" else "text"
    except InputError:  # the data are missing by now, or never were a file
        return ""


def _split_address(run: Run) -> tuple[str, str]:
    return (f"oga/image/{quote(run.id)}/", "/160") if _find_kind(run) == "image" else (f"oga/text/{quote(run.id)}/", "")


def _enclose(positions: np.ndarray, row: int) -> tuple[tuple[float, float], ...]:
    """Return a square that holds one point and, unless they lie on one another, no other: a click is the smallest lasso."""
    gaps = np.maximum(*(np.abs(column - column[row]) for column in positions.T))
    others = gaps[gaps > 0]
    half = max(float(others.min()) / 2 if len(others) else 1.0, 1e-6)
    x, y = positions[row].tolist()
    return tuple((x + half * dx, y + half * dy) for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1)))


def _colours(run: Run, chosen: Selection, by: str) -> Colours:
    ranked = run.ranked(chosen.detector)
    if by == "score":
        score = run.table[chosen.detector].to_numpy()
        codes = np.empty(len(ranked), np.uint8)
        codes[ranked] = np.arange(len(ranked))[::-1] * SEQUENTIAL_STEPS // max(len(ranked), 1)
        ends = (float(score[ranked[-1]]), float(score[ranked[0]])) if len(ranked) else (0.0, 0.0)
        return Colours(by, codes, SEQUENTIAL, continuous=(*ends, f"{make_detector(chosen.detector).title} (by rank)"))
    if by == "flag":
        codes = np.zeros(len(ranked), np.uint8)
        codes[run.flagged(chosen.detector, chosen.budget)] = 1
        return Colours(by, codes, FLAGS, ["not flagged", "flagged"])
    if by == "decision":
        return Colours(by, standing_of(run).codes, DECIDED, STATES, [STATES.index(name) for name in chosen.decisions])
    column, singled = ("predicted", chosen.predicted) if by == "predicted" else ("label", chosen.labels)
    codes, names = run.codes(column), run.class_names
    isolated = [names.index(name) for name in singled if name in names]
    if codes.max(initial=0) == len(names):  # a class that only the model has
        names = [*names, "not in the data"]
    return Colours(by, codes, PALETTE, names, isolated)
