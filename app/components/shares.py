"""How much of each class would be flagged: a rare or hard class is not to disappear unseen."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from oga_core import Run
from oga_core.review import Selection


def draw(run: Run, chosen: Selection) -> None:
    """A row for each class: samples, flagged, and the share of the class that is flagged."""
    flags = run.flag(chosen.detector, chosen.budget)
    st.dataframe(
        class_shares(run.table, flags),
        hide_index=True,
        column_config={
            "samples": st.column_config.NumberColumn("samples", format="localized"),
            "flagged": st.column_config.NumberColumn("flagged", format="localized"),
            "flagged share of the class": st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="percent"),
            "share of all flags": st.column_config.NumberColumn(format="percent"),
        },
    )


def class_shares(table: pd.DataFrame, flags: pd.DataFrame) -> pd.DataFrame:
    """Counts and shares by given label, most affected class first."""
    samples = table["label"].value_counts()
    flagged = flags["label"].value_counts().reindex(samples.index, fill_value=0)
    shares = pd.DataFrame({
        "class": samples.index.astype(str), "samples": samples.to_numpy(), "flagged": flagged.to_numpy(),
        "flagged share of the class": (flagged / samples).to_numpy(),
        "share of all flags": (flagged / max(len(flags), 1)).to_numpy(),
    })  # fmt: skip
    return shares.sort_values("flagged share of the class", ascending=False, kind="stable")
