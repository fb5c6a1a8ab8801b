"""The map with its colourings; what is done on it changes the one selection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import streamlit as st

from app import state
from app.components.embedding_map import PALETTE, SEQUENTIAL, SEQUENTIAL_STEPS, embedding_map, next_act
from oga_core import Run
from oga_core.detectors import named
from oga_core.review import STATES, Selection, states

WAYS = ["given label", "predicted", "score", "flag", "decision"]


def draw(run: Run, positions: np.ndarray) -> None:
    """Draw the map of a finished run."""
    chosen = state.selection(run)
    by = st.segmented_control("Colour by", WAYS, default=WAYS[0], required=True, key="map_by")
    codes, names, palette, continuous = _colours(run, chosen, by)
    table = run.table
    embedding_map(
        positions, codes, palette=palette, names=names, continuous=continuous, selected=state.rows(run),
        labels=(run.class_names, _codes(table["label"], run.class_names), _codes(table["predicted"], run.class_names),
                table[chosen.detector].to_numpy(np.float32)),
        polygon=chosen.lassos[-1][1] if chosen.lassos else None, key=_key(run),
    )  # fmt: skip


def apply_acts(run: Run) -> None:
    """Change the selection by what was done on the map, before any part of the page is drawn."""
    positions = state.positions(run)
    while positions is not None and (act := next_act(_key(run), len(positions))) is not None:
        chosen = state.selection(run)
        if act.mode == "clear":
            state.put(run, chosen.without_lasso())
        elif act.polygon is not None:
            state.put(run, chosen.lassoed(tuple(act.polygon), act.mode))
        elif act.row is not None:
            st.session_state[state.FOCUS] = str(run.table["sample_id"].iloc[act.row])
            state.put(run, chosen.lassoed(_around(positions, act.row), act.mode))


def _key(run: Run) -> str:
    return f"map_{run.id}"


def _around(positions: np.ndarray, row: int) -> tuple[tuple[float, float], ...]:
    """A square that holds one point and, unless they lie on one another, no other: a click is the smallest lasso."""
    point = positions[row].astype(np.float64)
    gaps = np.abs(positions.astype(np.float64) - point).max(1)
    others = gaps[gaps > 0]
    half = max(float(others.min()) / 2 if len(others) else 1.0, 1e-6)
    return tuple((point[0] + half * dx, point[1] + half * dy) for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1)))


def _colours(
    run: Run, chosen: Selection, by: str
) -> tuple[np.ndarray, list[str], Sequence[str], tuple[float, float, str] | None]:
    """Colour code of each sample, names of the codes, their colours, and the range of a quantity."""
    table = run.table
    if by == "score":
        score = table[chosen.detector].to_numpy()
        ranks = np.argsort(np.argsort(score, kind="stable"), kind="stable")
        codes = (ranks * SEQUENTIAL_STEPS // max(len(ranks), 1)).astype(np.uint8)
        return codes, [], SEQUENTIAL, (float(score.min()), float(score.max()), f"{named(chosen.detector).title} (by rank)")
    if by == "flag":
        flags = run.flag(chosen.detector, chosen.budget).index
        return table.index.isin(flags).astype(np.uint8), ["not flagged", "flagged"], PALETTE, None
    if by == "decision":
        return _codes(states(table, state.standing(run)), STATES), list(STATES), PALETTE, None
    return _codes(table["label" if by == "given label" else by], run.class_names), run.class_names, PALETTE, None


def _codes(values: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Position of each value among the names, uint16; the last name for one that is not there."""
    place = {name: i for i, name in enumerate(names)}
    return np.array([place.get(v, len(names) - 1) for v in values], np.uint16)
