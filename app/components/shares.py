"""The flagged share of each class: a rare or hard class must not disappear unnoticed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from oga_core import Run
from oga_core.review import Selection


def draw(run: Run, chosen: Selection) -> None:
    """Draw a row for each class, or group: samples, flagged, and the share of it that is flagged."""
    of = run.task.group
    st.dataframe(
        class_shares(run, run.flagged(chosen.detector, chosen.budget)),
        hide_index=True,
        column_config={
            "class": st.column_config.TextColumn(of, help=f"The {run.task.label}."),
            "samples": st.column_config.NumberColumn(format="localized", help=f"Scored samples of the {of}."),
            "flagged": st.column_config.NumberColumn(format="localized", help="Of these, within the budget by the chosen score."),
            "flagged share of the class": st.column_config.ProgressColumn(
                f"flagged share of the {of}",
                min_value=0.0,
                max_value=1.0,
                format="percent",
                help=f"Flagged over samples. Far above the budget: the {of} is rare, hard or {run.task.fault}.",
            ),
            "share of all flags": st.column_config.NumberColumn(format="percent", help=f"Flagged of this {of} over all flagged."),
        },
    )


def class_shares(run: Run, rows: np.ndarray) -> pd.DataFrame:
    """Counts and shares by given label of some rows of ``run.table``, most affected class first."""
    labels, classes = run.codes("label"), len(run.class_names)
    samples, flagged = (np.bincount(codes, minlength=classes) for codes in (labels, labels[rows]))
    there = np.flatnonzero(samples)
    shares = pd.DataFrame(
        {
            "class": [run.class_names[i] for i in there],
            "samples": samples[there],
            "flagged": flagged[there],
            "flagged share of the class": flagged[there] / samples[there],
            "share of all flags": flagged[there] / max(len(rows), 1),
        }
    )
    return shares.sort_values("flagged share of the class", ascending=False, kind="stable")
