"""The selected samples as a table, of which the browser gets one page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from oga_core import Run
from oga_core.review import standing_of

PER_PAGE = 100
IN_ORDER = "the order of the selection"
_SORTED = "table_sorted"
SORTED_BY, DESCENDING, PAGE = "table_sorted_by", "table_descending", "table_page"


def draw(run: Run) -> None:
    """Draw the table; a chosen row can be opened in the review."""
    rows = state.rows(run)
    if not len(rows):
        st.info("No sample is selected: widen the budget or the filters at the left.", icon=":material/filter_alt_off:")
        return
    columns = {
        "index": "position in the data",
        "source": "source",
        "label": run.task.label,
        "predicted": "predicted",
        "confidence": "confidence",
        **{d.name: d.title for d in run.detectors},
        "suggested_label": "suggested label",
    }
    columns = {name: title for name, title in columns.items() if name in run.table}
    pages = -(-len(rows) // PER_PAGE)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.selectbox("Sort by", [IN_ORDER, *columns], format_func=lambda c: columns.get(c, c), key=SORTED_BY, width=260)
        down = st.toggle("Descending", value=True, key=DESCENDING, disabled=by == IN_ORDER)
        page = int(st.number_input("Page", 1, pages, min(int(st.session_state.get(PAGE, 1)), pages), key=PAGE, width=140))
        st.text(f"of {pages:,}")
    rows = rows if by == IN_ORDER else _sort_rows(run, rows, by, down)
    shown = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    event = st.dataframe(
        _frame(run, shown, list(columns)),
        hide_index=True,
        key="selected_table",
        on_select="rerun",
        selection_mode="single-row",
        height=420,
        column_config={d.name: st.column_config.NumberColumn(d.title, help=d.meaning, format="%.4g") for d in run.detectors}
        | {
            "index": st.column_config.NumberColumn(columns["index"], help="Position of the sample in the data, from 0."),
            "confidence": st.column_config.NumberColumn(format="percent", help="The model's probability p_y of the given label."),
            "predicted": st.column_config.TextColumn(help="The class with the model's largest probability."),
            "suggested_label": st.column_config.TextColumn("suggested label", help="What to relabel to: see the review."),
            "label": columns["label"],
            "new_label": "new label" if "relabel" in run.task.decisions else None,
        },
    )
    st.caption(f"Rows {(page - 1) * PER_PAGE + 1:,} to {(page - 1) * PER_PAGE + len(shown):,} of {len(rows):,} selected samples.")
    picked = event["selection"]["rows"]
    if picked and st.button("Open this sample in the review", icon=":material/fact_check:", type="primary"):
        st.session_state[state.FOCUS] = str(run.table["sample_id"].iloc[shown[picked[0]]])
        st.switch_page("app_pages/review.py")


def _sort_rows(run: Run, rows: np.ndarray, by: str, down: bool) -> np.ndarray:
    """Return rows in the order of a column, equal ones in the order of the selection; cached until the selection changes."""
    cached = st.session_state.get(_SORTED)
    if cached is None or cached[0] is not rows or cached[1:3] != (by, down):
        # Of texts the rank is cached with the run: to sort a million of them takes seconds.
        keys = _ranks(run.id, by)[rows]
        cached = st.session_state[_SORTED] = (rows, by, down, rows[np.argsort(-keys if down else keys, kind="stable")])
    found: np.ndarray = cached[3]
    return found


@state.clear_with_runs
@st.cache_resource(max_entries=16, show_spinner="Sorting …")
def _ranks(chosen: str, by: str) -> np.ndarray:
    """Return the rank of each row of a run's table in a column, float64 ``(n,)``; equal values have equal ranks."""
    return state.load_run(chosen).table[by].rank(method="dense").to_numpy()


def _frame(run: Run, rows: np.ndarray, columns: list[str]) -> pd.DataFrame:
    """Return rows of the table, with columns ``decision``, ``new_label`` and ``reviewer``."""
    table, found = run.table.iloc[rows], standing_of(run).by_id
    said = [found.get(s) for s in table["sample_id"]]
    return table[columns].assign(
        decision=[d.action if d else "" for d in said],
        new_label=[d.new_label if d else "" for d in said],
        reviewer=[d.reviewer if d else "" for d in said],
    )
