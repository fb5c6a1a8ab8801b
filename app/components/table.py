"""The selected samples as a table that can be sorted."""

from __future__ import annotations

import streamlit as st

from app import state
from oga_core import Run

SHOWN = 5_000


def draw(run: Run) -> None:
    """Draw the table; a chosen row can be opened in the review."""
    table = state.selected_table(run)
    if table.empty:
        st.info("No sample is selected: widen the budget or the filters at the left.", icon=":material/filter_alt_off:")
        return
    columns = ["index", "source", "label", "predicted", "confidence", *(d.name for d in run.detectors)]
    columns += ["suggested_label", "decision", "new_label", "reviewer"]
    shown = table[columns].head(SHOWN)
    event = st.dataframe(
        shown, hide_index=True, key="selected_table", on_select="rerun", selection_mode="single-row", height=420,
        column_config={d.name: st.column_config.NumberColumn(d.title, help=d.meaning, format="%.4g") for d in run.detectors}
        | {"confidence": st.column_config.NumberColumn("confidence", format="percent", help="Probability of the given label."),
           "suggested_label": "suggested label", "label": "given label", "new_label": "new label"},
    )  # fmt: skip
    if len(table) > SHOWN:
        st.caption(f"The {SHOWN:,} most suspicious of {len(table):,} selected samples; the export has all.")
    picked = event["selection"]["rows"]
    if picked and st.button("Open this sample in the review", icon=":material/fact_check:", type="primary"):
        st.session_state[state.FOCUS] = str(table["sample_id"].iloc[picked[0]])
        st.switch_page("app_pages/review.py")
