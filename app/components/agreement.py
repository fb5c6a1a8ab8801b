"""Agreement of the reviewers of a run."""

from __future__ import annotations

import streamlit as st

from app import state
from oga_core import Run
from oga_core.review import agreement, others_decide


def draw(run: Run) -> None:
    """Draw a row for each two reviewers, where there are two."""
    if not others_decide(run, state.reviewer()):
        return
    opened = st.expander("Agreement of the reviewers", icon=":material/group:", key="agreement", on_change="rerun")
    if not opened.open:  # a log of a million events is read for it
        return
    with opened:
        found = agreement(run)
        if found.empty:
            st.text("No sample has been decided on by two reviewers yet.")
            return
        st.dataframe(
            found,
            hide_index=True,
            column_config={
                "both": st.column_config.NumberColumn("both decided", help="Samples that both have decided on."),
                "same": st.column_config.NumberColumn("the same", help="Of these, how many have the same decision and label."),
                "kappa": st.column_config.NumberColumn(
                    "Cohen's kappa",
                    format="%.2f",
                    help="(share the same − share expected by chance) / (1 − that): 1 = always the same, 0 = as by chance "
                    "(Cohen, 1960).",
                ),
            },
        )
