"""The embedding map: a component of our own for up to a million points, with lasso, box, crosshair, click and legend.

The browser downloads what stays the same (positions, and the data of the cards) by address, once, and caches it. A run of the
page then costs the colour codes and one bit a point: NumPy arrays travel as Arrow buffers, which the script reads without
copying. The browser sends back a polygon; Python computes which samples lie in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import streamlit as st

from app.components.component import define_component

Mode: TypeAlias = Literal["replace", "add", "subtract", "clear", "isolate"]

PALETTE = (
    *("#3880d7", "#e78720", "#10a787", "#bf3880", "#8f68df", "#cf4038", "#87a700", "#60b7e7"),
    *("#8f6643", "#e78fcf", "#6455b8", "#bfb797", "#f76878", "#00788f", "#8f87b7", "#8f97ff"),
    *("#9a4069", "#cfb700", "#0a62d6", "#978f58", "#af6868", "#a24318", "#af50b7", "#80afa7"),
)
"""Categories, most distinct first: each stays far from those before it, to protanopes and deuteranopes too."""

_ANCHORS = ("#454ead", "#754abe", "#a442be", "#cc44a6", "#ec4d86", "#fd6663", "#ff8644", "#ffa525", "#f3c530")
SEQUENTIAL_STEPS = 256
MOST_CORNERS = 60
MOST_ENTRIES = 200
"""Classes in the legend: those with the most samples."""


@dataclass(frozen=True)
class Card:
    """Addresses of the data of a point's card; the browser downloads them when it shows the first card.

    Attributes
    ----------
    given, predicted
        Positions in the names, uint16 or int32, of each point; ``predicted`` is empty where nothing is.
    scores
        float32, of each point.
    indices
        Position of each point's sample in the data, int32.
    names
        Of the classes, a list as JSON.
    kind
        ``"image"`` or ``"text"``; empty where the samples cannot be shown.
    sample
        Parts before and after a sample's position in its address: of an image, or of JSON with its ``text``.
    """

    given: str
    predicted: str
    scores: str
    indices: str
    names: str
    kind: Literal["image", "text", ""]
    sample: tuple[str, str]


@dataclass(frozen=True)
class Picture:
    """A map to draw.

    Attributes
    ----------
    name
        Sent with every action on it.
    title
        Shown, and read by screen readers.
    points
        Address of the positions, float32, x and y by turns. Points that are not finite are not drawn.
    group
        Maps of one group show the same samples: what the pointer is on in one is marked in the others.
    card
        Without it the card has the row number.
    """

    name: str
    title: str
    points: str
    group: str
    card: Card | None = None


@dataclass(frozen=True)
class Colours:
    """Colouring of the points.

    Attributes
    ----------
    by
        What the colours mean.
    codes
        uint8, uint16 or int32 ``(n,)``: the colour of each point, an index into `palette` (modulo its length) and `names`.
    palette
        CSS colours in hex, rgb(), hsl() or by name: `PALETTE` or, for steps of a quantity, `SEQUENTIAL`.
    names
        Of each code, for the legend; shown as literal text.
    isolated
        Codes that the legend singles out; None for a legend that cannot be clicked.
    continuous
        ``(low, high, title)`` of a quantity whose steps the codes are: a colour bar takes the place of the legend.
    """

    by: str
    codes: np.ndarray
    palette: Sequence[str]
    names: Sequence[str] = ()
    isolated: Sequence[int] | None = None
    continuous: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Action:
    """An action of the user on the map.

    Attributes
    ----------
    mode
        ``"replace"`` the selection, ``"add"`` to it (Shift), ``"subtract"`` from it (Alt), ``"clear"`` it, or ``"isolate"``
        classes in the legend.
    picture
        Name of the picture on which it happened.
    polygon
        Corners ``(x, y)`` in data coordinates, 3 to 60 of them, after a lasso, a box or a circle.
    row
        Row number of the point, after a click.
    by, codes
        Meaning of the colours, and those that are singled out now; none means all.
    """

    mode: Mode
    picture: str
    polygon: list[tuple[float, float]] | None = None
    row: int | None = None
    by: str = ""
    codes: tuple[int, ...] = ()


def embedding_map(
    picture: Picture,
    colours: Colours,
    *,
    selected: np.ndarray | None,
    polygon: Sequence[Sequence[float]] | None,
    key: str,
    focus: int | None = None,
    height: int = 560,
) -> None:
    """Draw the map; the user's actions on it wait in the session until `take_action` takes them, before the next drawing.

    Parameters
    ----------
    selected
        Mask, bool or uint8 ``(n,)``, or row numbers, int32 or int64 ``(k,)``. Drawn emphasised, the others faded.
    polygon
        Corners ``(x, y)`` of the current lasso in data coordinates.
    key
        Of the element; its actions wait in the session state under names that begin with it.
    focus
        Row of a point that is ringed.
    height
        Pixels, with the legend.

    Raises
    ------
    ValueError
        If shapes or dtypes are not as above.
    """
    codes = colours.codes
    if codes.dtype not in (np.uint8, np.uint16, np.int32) or codes.ndim != 1:
        raise ValueError(f"codes must be uint8, uint16 or int32 (n,), not {codes.dtype} {codes.shape}")
    mask = _mask(selected, len(codes))
    entries = _entries(colours)
    _MAP(
        key=key,
        height=height,
        on_action_change=partial(_remember, key),
        data={
            "picture": picture.name,
            "title": picture.title,
            "points": picture.points,
            "group": picture.group,
            "card": None if picture.card is None else asdict(picture.card),
            "seen": st.session_state.get(f"{key}-seen"),
            "by": colours.by,
            "palette": list(colours.palette),
            "legend": entries,
            "left_out": 0 if colours.continuous else len(colours.names) - len(entries),
            "isolated": None if colours.isolated is None else list(colours.isolated),
            "continuous": colours.continuous,
            "polygon": None if polygon is None else [[float(x), float(y)] for x, y in polygon],
            "focus": focus,
            "codes": _narrow(codes),
            "selected": np.packbits(mask),
            "selected_count": int(mask.sum()),
        },
    )


def take_action(key: str, n: int) -> Action | None:
    """Return the oldest action on the map of this key, which has `n` points, and remove it from the session.

    An action that is applied before anything is drawn shows everywhere on the page at once.
    """
    waiting = st.session_state.get(f"{key}-actions")
    return _read_action(waiting.pop(0), n) if waiting else None


def _entries(colours: Colours) -> list[tuple[int, str, int]]:
    """Return code, name and number of points of each entry of the legend, in the order of the names."""
    if colours.continuous:
        return []
    counts = np.bincount(colours.codes, minlength=len(colours.names))[: len(colours.names)]
    shown = np.sort(np.argsort(-counts, kind="stable")[:MOST_ENTRIES])
    return [(int(code), str(colours.names[code]), int(counts[code])) for code in shown]


def _narrow(codes: np.ndarray) -> np.ndarray:
    """Return the codes in one byte each where that is enough."""
    return codes.astype(np.uint8, copy=False) if codes.max(initial=0) < 256 else codes


def _mask(selected: np.ndarray | None, n: int) -> np.ndarray:
    mask = np.zeros(n, bool)
    if selected is not None and selected.dtype in (np.bool_, np.uint8):
        mask[:] = selected
    elif selected is not None:
        mask[selected] = True
    return mask


def _remember(key: str) -> None:
    """Store an action until the map is drawn: a run that another click interrupts must not lose it."""
    sent = getattr(st.session_state.get(key), "action", None)  # missing where the page has changed meanwhile
    if isinstance(sent, dict):
        st.session_state[f"{key}-seen"] = sent.get("id")
        st.session_state.setdefault(f"{key}-actions", []).append(sent)


def _read_action(sent: dict[str, Any], n: int) -> Action | None:
    """Return the action that the browser sent; None if it is no valid one on a map of `n` points."""
    given: list[Any] = [sent.get(name) for name in ("mode", "picture", "polygon", "row", "by", "codes")]
    mode, picture, polygon, row, by, codes = given
    if mode not in get_args(Mode) or not isinstance(picture, str):
        return None
    if mode == "clear":
        return Action(mode, picture)
    if mode == "isolate":
        fits = isinstance(by, str) and isinstance(codes, list) and len(codes) <= MOST_ENTRIES
        return Action(mode, picture, by=by, codes=tuple(codes)) if fits and all(map(_is_code, codes)) else None
    if _is_code(row) and row < n:
        return Action(mode, picture, row=row)
    if isinstance(polygon, list) and 3 <= len(polygon) <= MOST_CORNERS and all(map(_is_corner, polygon)):
        return Action(mode, picture, polygon=[(float(x), float(y)) for x, y in polygon])
    return None


def _is_code(sent: Any) -> bool:
    return isinstance(sent, int) and not isinstance(sent, bool) and sent >= 0


def _is_corner(sent: Any) -> bool:
    return isinstance(sent, list) and len(sent) == 2 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in sent)


def _ramp(anchors: Sequence[str], steps: int) -> tuple[str, ...]:
    """Return colours at even steps between anchors that lie evenly apart."""
    rgb = np.array([[int(anchor[i : i + 2], 16) for i in (1, 3, 5)] for anchor in anchors])
    at = np.linspace(0, len(anchors) - 1, steps)
    channels = [np.interp(at, range(len(anchors)), channel).round().astype(int) for channel in rgb.T]
    return tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels))


SEQUENTIAL = _ramp(_ANCHORS, SEQUENTIAL_STEPS)
"""Low to high from indigo to amber: lighter in even steps (Oklab), and both ends show on white and on dark."""


def _tool(name: str, label: str, hint: str, path: str) -> str:
    icon = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    return f'<button type="button" data-tool="{name}" aria-label="{label}" title="{label} ({hint})">{icon}</button>'


_LASSO = "M12 4c5 0 9 2.5 9 6s-4 6-9 6-9-2.5-9-6 4-6 9-6zM7 15.2c-1.5 0-2.5 1-2.5 2.2s1 2.1 2.3 2.1 2-.7 2.2-2.2"
_BOX = "M4 8V4h4M11 4h2M16 4h4v4M20 11v2M20 16v4h-4M13 20h-2M8 20H4v-4M4 13v-2"
_PAN = "M12 3v18M3 12h18M9.5 5.5 12 3l2.5 2.5M9.5 18.5 12 21l2.5-2.5M5.5 9.5 3 12l2.5 2.5M18.5 9.5 21 12l-2.5 2.5"
_CROSSHAIR = "M18 12a6 6 0 1 1-12 0 6 6 0 0 1 12 0zM12 2.5v6M12 15.5v6M2.5 12h6M15.5 12h6"
_RESET = "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"
_RULE = '<span class="rule"></span>'
_KEYS = (
    "Arrow keys pan, plus and minus zoom, 0 resets the view, L lasso, B box, P pan, Escape clears the selection. T shows a "
    "crosshair for selecting without a mouse: arrow keys move it, with Shift farther; square brackets change its circle; Enter "
    "selects the samples in the circle, Space the nearest one; with Shift they are added, with Alt taken away."
)
_HTML = f"""
<div class="oga map">
  <div class="frame">
    <div class="stage">
      <div class="surface" tabindex="0" role="application" aria-roledescription="map" aria-describedby="keys">
        <canvas class="canvas" role="img"></canvas>
        <canvas class="overlay" aria-hidden="true"></canvas>
      </div>
      <div class="toolbar" role="toolbar" aria-label="Map tools">
        {_tool("lasso", "Lasso", "L; Shift adds, Alt subtracts", _LASSO)}
        {_tool("box", "Box", "B; Shift adds, Alt subtracts", _BOX)}
        {_tool("pan", "Pan", "P, arrow keys or the middle button", _PAN)}
        {_tool("crosshair", "Crosshair", "T; arrows move it, [ ] change it, Enter selects", _CROSSHAIR)}
        {_RULE}
        {_tool("in", "Zoom in", "+ or wheel", "M12 5v14M5 12h14")}
        {_tool("out", "Zoom out", "− or wheel", "M5 12h14")}
        {_tool("reset", "Reset view", "0 or double click", _RESET)}
        {_RULE}
        {_tool("clear", "Clear selection", "Esc", "M6 6l12 12M18 6L6 18")}
      </div>
      <div class="note" hidden></div>
      <div class="count" role="status"></div>
      <div class="live visually-hidden" role="status"></div>
      <div class="keys visually-hidden" id="keys">{_KEYS}</div>
      <div class="card" hidden></div>
    </div>
    <div class="legend" role="group"></div>
  </div>
</div>
"""

_MAP = define_component("oga_embedding_map", html=_HTML, css=("bidi.css", "embedding_map/map.css"), js="embedding_map/map.js")
