"""The paper's figure of the synthetic data: data, gradients, what is flagged, and the data without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oga_core.experiments.figures import GRID, INK, style

CLASSES = ("#0072B2", "#E69F00")
SIDES = [[0, "#E3EEF6"], [0.5, "#E3EEF6"], [0.5, "#FCF0DA"], [1, "#FCF0DA"]]
"""Pale colours of either side of a boundary."""
FINE = 160
"""Points a side of the grid that a boundary is drawn from."""

Logits = Callable[[np.ndarray], np.ndarray]
"""Logits ``(n,)`` of points ``(n, 2)``."""


@dataclass(frozen=True)
class Shown:
    """Data of the drawing of one seed.

    Attributes
    ----------
    points, given, wrong
        The training samples, float64 ``(n, 2)``; their labels 0 and 1; which of these were flipped, bool.
    gradients
        Of the last layer, float64 ``(n, 2)``.
    flagged
        Positions of the samples that are trimmed.
    before, after
        The model, and the one trained without them.
    """

    points: np.ndarray
    given: np.ndarray
    wrong: np.ndarray
    gradients: np.ndarray
    flagged: np.ndarray
    before: Logits
    after: Logits


def four_panels(shown: Shown, title: str, detector: str) -> go.Figure:
    """Panels A to D; ``detector`` says whose flags are drawn."""
    trimmed = np.zeros(len(shown.given), bool)
    trimmed[shown.flagged] = True
    found = int((trimmed & shown.wrong).sum())
    every = np.ones(len(shown.given), bool)
    figure = make_subplots(
        2,
        2,
        horizontal_spacing=0.09,
        vertical_spacing=0.13,
        subplot_titles=[
            "A  Training data and boundary",
            "B  Gradients, flipped labels ringed",
            f"C  Gradients flagged by {detector}: {found} of {len(shown.flagged)} are flips",
            f"D  Without them: {int(shown.wrong.sum()) - found} of {int(shown.wrong.sum())} flips are left",
        ],
    )
    for place, chosen, logits in (((1, 1), every, shown.before), ((2, 2), ~trimmed, shown.after)):
        _sides(figure, place, shown.points, logits)
        _samples(figure, place, shown.points[chosen], shown.given[chosen], shown.wrong[chosen], place == (1, 1))
    for place in ((1, 2), (2, 1)):
        _samples(figure, place, shown.gradients, shown.given, shown.wrong, False)
        _axes(figure, place, "gradient of weight 1", "gradient of weight 2", shown.gradients)
    figure.add_scatter(
        x=shown.gradients[trimmed, 0],
        y=shown.gradients[trimmed, 1],
        mode="markers",
        name=f"flagged by {detector}",
        hoverinfo="skip",
        marker=dict(symbol="x-thin", size=11, line=dict(color="#CC3377", width=2)),
        row=2,
        col=1,
    )
    for place in ((1, 1), (2, 2)):
        _axes(figure, place, "feature 1", "feature 2", shown.points)
    figure.update_annotations(font_size=14, xanchor="left")
    for annotation, place in zip(figure.layout.annotations, ((1, 1), (1, 2), (2, 1), (2, 2))):
        annotation.x = figure.get_subplot(*place).xaxis.domain[0]
    style(figure, title, width=1040, height=920)
    figure.update_xaxes(gridcolor=GRID)
    return figure


def _sides(figure: go.Figure, place: tuple[int, int], points: np.ndarray, logits: Logits) -> None:
    """Either side of the boundary in a pale colour, and the boundary as a line."""
    low, high = _range(points)
    x, y = (np.linspace(low[k], high[k], FINE) for k in (0, 1))
    z = logits(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).reshape(FINE, FINE)
    row, col = place
    figure.add_heatmap(
        x=x,
        y=y,
        z=np.sign(z),
        zmin=-1,
        zmax=1,
        colorscale=SIDES,
        showscale=False,
        hoverinfo="skip",
        zsmooth=False,
        row=row,
        col=col,
    )
    if z.min() < 0 < z.max():
        figure.add_contour(
            x=x,
            y=y,
            z=z,
            contours=dict(start=0, end=0, size=1, coloring="none"),
            line=dict(color=INK, width=2),
            showscale=False,
            hoverinfo="skip",
            name="boundary",
            showlegend=place == (1, 1),
            row=row,
            col=col,
        )


def _samples(
    figure: go.Figure, place: tuple[int, int], at: np.ndarray, given: np.ndarray, wrong: np.ndarray, legend: bool
) -> None:
    row, col = place
    for label, colour in enumerate(CLASSES):
        own = given == label
        figure.add_scatter(
            x=at[own, 0],
            y=at[own, 1],
            mode="markers",
            marker=dict(color=colour, size=7, line=dict(color="white", width=0.7)),
            name=f"given label {label}",
            legendgroup=str(label),
            showlegend=legend,
            hoverinfo="x+y",
            row=row,
            col=col,
        )
    figure.add_scatter(
        x=at[wrong, 0],
        y=at[wrong, 1],
        mode="markers",
        name="flipped label",
        showlegend=legend,
        hoverinfo="skip",
        marker=dict(color="rgba(0,0,0,0)", size=13, line=dict(color=INK, width=1.8)),
        row=row,
        col=col,
    )


def _range(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min(0), points.max(0)
    margin = 0.06 * np.maximum(high - low, 1e-6)
    return low - margin, high + margin


def _axes(figure: go.Figure, place: tuple[int, int], x: str, y: str, points: np.ndarray) -> None:
    low, high = _range(points)
    row, col = place
    figure.update_xaxes(title_text=x, range=[low[0], high[0]], row=row, col=col)
    figure.update_yaxes(title_text=y, range=[low[1], high[1]], row=row, col=col)
