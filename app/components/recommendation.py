"""The recommendation for a run, and the evidence for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.components.embedding_map import PALETTE
from oga_core import Run
from oga_core.detectors import BUDGETS, Interval, Recommendation, make_detector

SHOWN = (0.01, 0.05, 0.2)
"""Budgets of the table of canaries."""
OUT_OF_FOLD = "Each sample was judged by a starter model that was trained without it."
FROZEN = (
    "The model's head was fitted again in folds on its frozen features. Features that have learned labels by heart hide wrong "
    "ones: there may be more than estimated."
)
ASSUMES = (
    "The estimate takes wrong labels to fall on the samples of a class at random, and the model to be right where it is "
    "certain. Errors that follow a rule which the model can learn from the samples are neither found nor counted. A model that "
    "knows little of its classes makes the interval wide. Flipped labels are easier to find than many human errors: compare "
    "scores by them, not with the truth."
)


def draw(run: Run) -> None:
    """Draw the recommendation, if the run has one, with its evidence in an expander."""
    found = run.recommendation
    if found is None:
        return
    with st.container(border=True):
        wrong, budget, precision = st.columns(3)
        wrong.metric(
            "Estimated label errors",
            _percent(found.wrong.value),
            _range(found.wrong),
            delta_color="off",
            delta_arrow="off",
            help="Expected share of wrong labels, with a 90 % interval.",
        )
        if found.at_budget is None:
            budget.metric(
                "Suggested budget",
                "nothing to trim",
                help="Too few samples are label errors with odds of three to one, at 90 % confidence.",
            )
        else:
            count = f"{round(found.budget * len(run.table)):,} samples"
            budget.metric(
                "Suggested budget",
                _percent(found.budget),
                count,
                delta_color="off",
                delta_arrow="off",
                help="Up to where samples are label errors with odds of three to one, at 90 % confidence.",
            )
            expected = found.at_budget.precision
            precision.metric(
                "Expected precision",
                _percent(expected.value),
                _range(expected),
                delta_color="off",
                delta_arrow="off",
                help="Expected precision at the suggested budget, with a 90 % interval.",
            )
        st.text(f"Recommended score: {' and '.join(make_detector(name).title for name in found.detectors)}.")
        with st.expander("Evidence", icon=":material/science:"):
            _draw_evidence(found)


def _draw_evidence(found: Recommendation) -> None:
    st.text(OUT_OF_FOLD if found.out_of_fold else FROZEN)
    left, right = st.columns(2)
    with left:
        st.markdown("**Expected precision at a budget**")
        st.plotly_chart(_curve(found), key="precision_curve", config={"displayModeBar": False})
    with right:
        st.markdown("**Most frequent mistakes**")
        if found.mistaken:
            mistakes = pd.DataFrame(found.mistaken, columns=["true class", "given label", "expected samples"])
            st.dataframe(
                mistakes, hide_index=True, column_config={"expected samples": st.column_config.NumberColumn(format="%.1f")}
            )
        else:
            st.text("None is expected even once.")
    st.markdown("**Flipped labels planted among the samples: how well each score finds them**")
    table = canary_table(found)
    st.dataframe(
        table, hide_index=True, column_config={name: st.column_config.NumberColumn(format="%.2f") for name in table.columns[2:]}
    )
    st.text(ASSUMES)


def canary_table(found: Recommendation) -> pd.DataFrame:
    """Return a row for each score and kind of flip: average precision, and precision and recall at some budgets."""
    at = [BUDGETS.index(b) for b in SHOWN]
    return pd.DataFrame(
        [
            {
                "score": make_detector(c.detector).title,
                "flips": "to any class" if c.kind == "uniform" else "to a likely class",
                "average precision": c.average_precision,
                **{f"precision at {100 * b:g} %": c.precision[i] for b, i in zip(SHOWN, at)},
                **{f"recall at {100 * b:g} %": c.recall[i] for b, i in zip(SHOWN, at)},
            }
            for c in found.canaries
        ]
    )


def _curve(found: Recommendation) -> go.Figure:
    budgets = [100 * one.budget for one in found.curve]
    figure = go.Figure()
    band = [one.precision.high for one in found.curve] + [one.precision.low for one in reversed(found.curve)]
    figure.add_scatter(
        x=budgets + budgets[::-1],
        y=band,
        fill="toself",
        line_width=0,
        mode="lines",
        opacity=0.25,
        fillcolor=PALETTE[0],
        name="90 % interval",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=budgets,
        y=[one.precision.value for one in found.curve],
        mode="lines+markers",
        line_color=PALETTE[0],
        name="expected",
        hovertemplate="%{x:.2g} %: %{y:.0%}<extra></extra>",
    )
    if found.budget:
        figure.add_vline(100 * found.budget, line_dash="dash", line_width=2, line_color=PALETTE[1])
        # Unlike the line, an annotation is placed by the logarithm.
        figure.add_annotation(x=np.log10(100 * found.budget), y=0.08, text="suggested", showarrow=False, xanchor="left", xshift=6)
    figure.update_layout(
        height=300,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        showlegend=False,
        xaxis={"type": "log", "title": "budget in %", "range": np.log10([0.08, 60]).tolist()},
        yaxis={"title": "expected precision", "range": [0, 1.02], "tickformat": ".0%"},
    )
    return figure


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _range(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"
