"""The figures that experiments share, and how they are kept: HTML that needs nothing else, and PNG where a browser is there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from oga_core.experiments import arms
from oga_core.experiments.measures import mean_and_half
from oga_core.experiments.reading import column
from oga_core.files import write_whole

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = {
    arms.REFERENCES: "#555555",
    arms.OGA: "#0072B2",
    arms.OWN: "#009E73",
    arms.CONTROL: "#D55E00",
    arms.BY_INFLUENCE: "#8E5EA2",
}
"""Colours by kind of arm, distinct for people who see no red or no green (Okabe and Ito)."""
LINES = {
    arms.UNTRIMMED: "#000000",
    arms.RANDOM: "#999999",
    arms.ORACLE: "#009E73",
    "l1": "#0072B2",
    "l2": "#56B4E9",
    "iforest": "#8E5EA2",
    "low_confidence": "#D55E00",
    "recommended": "#CC79A7",
    "ocsvm_test": "#E69F00",
    "ocsvm_validation": "#A6761D",
    "tracing": "#8E5EA2",
    "tracing_checkpoints": "#CC79A7",
    "datainf": "#D55E00",
    "cosine": "#E69F00",
    "kind_centroid": "#009E73",
    "kind_forest": "#0072B2",
}
"""Of the arms that are drawn as curves."""
GRID, INK, FADED = "#E6E6E6", "#222222", "#9A9A9A"
FONT = "Inter, Noto Sans, Helvetica, Arial, sans-serif"
ROW, GAP = 23, 58
"""Pixels of an arm in a figure of arms, and between its panels."""
TWIN = dict(color="white", size=6, line=dict(color=FADED, width=1.5))
SIDES = {
    "average_precision": "average precision",
    "auc": "AUC",
    "recall": "recall",
    "accuracy": "test accuracy less that of the untrimmed model, points",
}
ARMS_CAPTION = (
    "Every arm, mean and 95 % interval over the seeds. On the right differences paired by seed: the line at zero is the "
    "untrimmed model, the dashed line the oracle."
)


@dataclass(frozen=True)
class Figure:
    """A drawn figure, the name of its files, and a line that says what is to be seen."""

    name: str
    caption: str
    drawing: go.Figure


def of_arms(
    rows: pd.DataFrame, panels: Sequence[tuple[str, str, str]], title: str, sides: Sequence[str] | None = None
) -> go.Figure:
    """A dot with its interval for each arm, in a column for each measure.

    Parameters
    ----------
    rows
        As `Results.of` gives them.
    panels
        Setting, budget and title of each row of panels.
    sides
        Some of `SIDES`; by default on the left average precision where the truth is known, on the right the accuracy.
    """
    from plotly.subplots import make_subplots

    sides = sides or ["average_precision"] * bool(rows["average_precision"].notna().any()) + ["accuracy"]
    here = [set(_choose(rows, setting, budget)["arm"]) - {arms.UNTRIMMED} for setting, budget, _ in panels]
    present = [[arm for arm in arms.TITLES if arm in there] for there in here]
    lines = sum(len(names) + 1 for names in present)
    height = ROW * lines + GAP * len(panels)
    figure = make_subplots(
        len(panels),
        len(sides),
        row_heights=[len(names) + 1 for names in present],
        horizontal_spacing=0.04,
        shared_yaxes=True,
        vertical_spacing=GAP / height if len(panels) > 1 else 0,
    )
    for i, ((setting, budget, heading), names) in enumerate(zip(panels, present), 1):
        for j, measure in enumerate(sides, 1):
            _dots(figure, (i, j), rows, setting, budget, names, measure)
            figure.update_xaxes(title_text=SIDES[measure] if i == len(panels) else None, row=i, col=j)
            if measure != "accuracy":
                figure.update_xaxes(range=[0, 1.03], dtick=0.2, row=i, col=j)
            ticks = dict(tickmode="array", tickvals=list(range(len(names))), ticktext=[arms.TITLES[arm] for arm in names])
            figure.update_yaxes(range=[len(names) - 0.4, -0.6], row=i, col=j, showgrid=False, **ticks)
        figure.add_annotation(
            text=f"<b>{heading}</b>",
            x=0,
            xref="paper",
            xanchor="left",
            y=figure.get_subplot(i, 1).yaxis.domain[1],
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font_size=14,
        )
    for kind in dict.fromkeys(arms.KINDS[arm] for names in present for arm in names):
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=dict(color=COLOURS[kind], size=9), name=kind)
    if rows["random_accuracy"].notna().any():
        figure.add_scatter(x=[None], y=[None], mode="markers", name="random trim of the same class shares", marker=TWIN)
    return style(figure, title, width=420 + 400 * len(sides), height=height + 150)


def of_curves(
    rows: pd.DataFrame,
    panels: Sequence[tuple[str, str, str]],
    names: Sequence[str],
    title: str,
    columns: int = 2,
    measure: str = "test accuracy",
) -> go.Figure:
    """A measure by epoch, one line an arm with the band of its interval.

    Parameters
    ----------
    panels
        Setting, budget and title of each panel.
    names
        Arms that are drawn.
    measure
        What ``by_epoch`` holds, a share.
    """
    figure, places = _panels([p[2] for p in panels], columns)
    for (setting, budget, _), (i, j) in zip(panels, places):
        here = _choose(rows, setting, budget)
        curves = {arm: [c for c in here.loc[here["arm"] == arm, "by_epoch"] if len(c)] for arm in names}
        points = {arm: [_band(100 * np.array(v)) for v in zip(*own)] for arm, own in curves.items() if own}
        _lines(figure, (i, j), np.arange(1, 1 + max(map(len, points.values()), default=0)), points)
        figure.update_xaxes(title_text="epoch", dtick=1, row=i, col=j)
        figure.update_yaxes(title_text=f"{measure}, %" if j == 1 else None, row=i, col=j)
    return style(figure, title, width=480 * min(columns, len(panels)) + 60, height=330 * (places[-1][0]) + 130)


def of_budgets(
    rows: pd.DataFrame, settings: dict[str, str], budgets: dict[str, float], names: Sequence[str], title: str, columns: int = 3
) -> go.Figure:
    """Gain in test accuracy by the share that is trimmed, one line an arm with the band of its interval, paired by seed."""
    figure, places = _panels(list(settings.values()), columns)
    for setting, (i, j) in zip(settings, places):
        base = column(rows, setting, "", arms.UNTRIMMED, "accuracy")
        points = {}
        for arm in names:
            gains = [_band(100 * (column(rows, setting, b, arm, "accuracy") - base).to_numpy()) for b in budgets]
            if np.isfinite([mean for mean, _ in gains]).all():
                points[arm] = [gains[0] if arm == arms.ORACLE else (0.0, 0.0), *gains]
        _lines(figure, (i, j), np.array([0, *(100 * share for share in budgets.values())]), points)
        figure.update_xaxes(title_text="trimmed, % of the training samples", row=i, col=j)
        figure.update_yaxes(title_text="gain over untrimmed, points" if j == 1 else None, row=i, col=j)
    return style(figure, title, width=400 * min(columns, len(settings)) + 60, height=350 * places[-1][0] + 130)


def style(figure: go.Figure, title: str, width: int, height: int) -> go.Figure:
    """The look of all figures."""
    figure.update_layout(
        template="plotly_white",
        width=width,
        height=height,
        font=dict(family=FONT, size=13, color=INK),
        title=dict(
            text=title,
            x=0,
            xref="paper",
            xanchor="left",
            y=1,
            yref="container",
            yanchor="top",
            pad=dict(t=16),
            font_size=17,
        ),
        margin=dict(l=60, r=24, t=84, b=84),
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend=dict(orientation="h", x=0, xanchor="left", y=0, yref="container", yanchor="bottom", font_size=12),
    )
    figure.update_xaxes(
        title_font_size=13, automargin=True, gridcolor=GRID, zeroline=False, showline=True, linecolor=FADED, ticks="outside"
    )
    figure.update_yaxes(title_font_size=13, automargin=True, gridcolor=GRID, zeroline=False, showline=True, linecolor=FADED)
    return figure


def save(figures: Sequence[Figure], out: Path) -> str:
    """Write each figure as HTML and PNG; returns why there are no PNGs, or nothing."""
    for figure in figures:
        page = figure.drawing.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False})
        write_whole(out / f"{figure.name}.html", lambda path, page=page: path.write_text(page, "utf-8"))  # type: ignore[misc]
        (out / f"{figure.name}.png").unlink(missing_ok=True)
    return _save_images(figures, out) if figures else ""  # a browser takes seconds to start


def _save_images(figures: Sequence[Figure], out: Path) -> str:
    from plotly import io

    with tempfile.TemporaryDirectory() as folder:
        images = [Path(folder) / f"{figure.name}.png" for figure in figures]
        try:
            io.write_images([figure.drawing for figure in figures], images, scale=2)  # one browser draws all of them
        except Exception as error:  # kaleido is missing, finds no browser, or the browser does not start
            return " ".join(str(error).split())[:200] or type(error).__name__
        for image in images:
            write_whole(out / image.name, partial(shutil.copyfile, image))
    return ""


def _choose(rows: pd.DataFrame, setting: str, budget: str) -> pd.DataFrame:
    return rows[(rows["setting"] == setting) & rows["budget"].isin(["", budget])]


def _dots(
    figure: go.Figure, place: tuple[int, int], rows: pd.DataFrame, setting: str, budget: str, names: Sequence[str], measure: str
) -> None:
    row, col = place
    untrimmed = column(rows, setting, budget, arms.UNTRIMMED, "accuracy")
    for at, arm in enumerate(names):
        values = column(rows, setting, budget, arm, measure)
        twins = column(rows, setting, budget, arm, "random_accuracy") if measure == "accuracy" else values.iloc[:0]
        if measure == "accuracy":
            values, twins = 100 * (values - untrimmed), 100 * (twins - untrimmed)
        for own, y, marker, thick, name in (
            (twins, at + 0.24, TWIN, 1, f"random trim like {arms.TITLES[arm]}"),
            (values, at, dict(color=COLOURS[arms.KINDS[arm]], size=9), 1.7, arms.TITLES[arm]),
        ):
            mean, half = mean_and_half(own.to_numpy())
            if np.isfinite(mean):
                colour = FADED if marker is TWIN else marker["color"]
                figure.add_scatter(
                    x=[mean],
                    y=[y],
                    mode="markers",
                    marker=marker,
                    showlegend=False,
                    row=row,
                    col=col,
                    error_x=dict(type="data", array=[half], color=colour, thickness=thick, width=3 if thick > 1 else 0),
                    hovertemplate=f"{name}: %{{x:.3g}}<extra></extra>",
                )
    if measure == "accuracy":
        figure.add_vline(0, line=dict(color=INK, width=1), row=row, col=col)
        oracle = 100 * (column(rows, setting, budget, arms.ORACLE, measure) - untrimmed).mean()
        if np.isfinite(oracle):
            figure.add_vline(oracle, line=dict(color=FADED, width=1.2, dash="dash"), row=row, col=col)


def _panels(titles: list[str], columns: int) -> tuple[go.Figure, list[tuple[int, int]]]:
    from plotly.subplots import make_subplots

    across = min(columns, len(titles))
    down = -(-len(titles) // across)
    figure = make_subplots(down, across, subplot_titles=titles, horizontal_spacing=0.09, vertical_spacing=0.3 / max(down, 1))
    figure.update_annotations(font_size=14)
    return figure, [(k // across + 1, k % across + 1) for k in range(len(titles))]


def _band(values: np.ndarray) -> tuple[float, float]:
    """Mean and half of the interval; of two seeds it would hide all else."""
    mean, half = mean_and_half(values)
    return mean, half if np.isfinite(values).sum() > 2 else np.nan


def _lines(figure: go.Figure, place: tuple[int, int], x: np.ndarray, points: dict[str, list[tuple[float, float]]]) -> None:
    """Curves of means by arm, each in the band of its intervals; wide bands are clipped, to keep the curves visible."""
    row, col = place
    for arm, own in points.items():
        mean, half = np.array(own).T
        colour = LINES[arm]
        if np.isfinite(half).all():
            figure.add_scatter(
                x=[*x, *x[::-1]],
                y=[*(mean + half), *(mean - half)[::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=0.1,
                mode="lines",
                line_width=0,
                hoverinfo="skip",
                showlegend=False,
                legendgroup=arm,
                row=row,
                col=col,
            )
        dash = {arms.UNTRIMMED: "dot", arms.RANDOM: "dot", arms.ORACLE: "dash"}.get(arm, "solid")
        figure.add_scatter(
            x=x,
            y=mean,
            mode="lines+markers",
            line=dict(color=colour, width=2.2, dash=dash),
            marker_size=5,
            name=arms.TITLES[arm],
            legendgroup=arm,
            showlegend=place == (1, 1),
            row=row,
            col=col,
            hovertemplate=f"{arms.TITLES[arm]}: %{{y:.2f}}<extra></extra>",
        )
    if points:
        means = np.array([mean for own in points.values() for mean, _ in own])
        margin = 0.25 * max(float(np.ptp(means)), 0.5)
        figure.update_yaxes(range=[means.min() - margin, means.max() + margin], row=row, col=col)
