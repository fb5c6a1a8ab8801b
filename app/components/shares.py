"""How much of each class would be flagged: a rare or hard class is not to disappear unseen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from oga_core import Run
from oga_core.review import Selection


def draw(run: Run, chosen: Selection) -> None:
    """A row for each class: samples, flagged, and the share of the class that is flagged."""
    st.dataframe(
        class_shares(run, run.flagged(chosen.detector, chosen.budget)),
        hide_index=True,
        column_config={
            "class": st.column_config.TextColumn(help="The given label."),
            "samples": st.column_config.NumberColumn(format="localized", help="Scored samples of the class."),
            "flagged": st.column_config.NumberColumn(format="localized", help="Of these, within the budget by the chosen score."),
            "flagged share of the class": st.column_config.ProgressColumn(
                min_value=0.0, max_value=1.0, format="percent",
                help="Flagged over samples. Far above the budget: the class is rare, hard or badly labelled.",
            ),
            "share of all flags": st.column_config.NumberColumn(format="percent", help="Flagged of this class over all flagged."),
        },
    )  # fmt: skip


def class_shares(run: Run, rows: np.ndarray) -> pd.DataFrame:
    """Counts and shares by given label of some rows of ``run.table``, most affected class first."""
    labels, classes = run.codes("label"), len(run.class_names)
    samples, flagged = (np.bincount(codes, minlength=classes) for codes in (labels, labels[rows]))
    there = np.flatnonzero(samples)
    shares = pd.DataFrame({
        "class": [run.class_names[i] for i in there], "samples": samples[there], "flagged": flagged[there],
        "flagged share of the class": flagged[there] / samples[there],
        "share of all flags": flagged[there] / max(len(rows), 1),
    })  # fmt: skip
    return shares.sort_values("flagged share of the class", ascending=False, kind="stable")
