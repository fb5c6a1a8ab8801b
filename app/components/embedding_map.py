"""The embedding map: a canvas of our own for up to a million points, with lasso, box, click and legend.

The points go down once and the browser keeps them: they are mounted as an element of their own, whose unchanged message
Streamlit does not send again. A rerun then costs the colour codes and one bit a point. NumPy arrays travel as Arrow
buffers, which the script reads without copying. What comes up is a polygon; which samples lie in it is computed in Python.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import streamlit as st

Mode: TypeAlias = Literal["replace", "add", "subtract", "clear"]
Labels: TypeAlias = tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray]
"""Class names, then of each point: given code uint16, predicted code uint16, score float32, each of shape ``(n,)``."""

PALETTE = (
    *("#3880d7", "#e78720", "#10a787", "#bf3880", "#8f68df", "#cf4038", "#87a700", "#60b7e7"),
    *("#8f6643", "#e78fcf", "#6455b8", "#bfb797", "#f76878", "#00788f", "#8f87b7", "#8f97ff"),
    *("#9a4069", "#cfb700", "#0a62d6", "#978f58", "#af6868", "#a24318", "#af50b7", "#80afa7"),
)
"""Categories, most distinct first: each stays far from those before it, to protanopes and deuteranopes too."""

_ANCHORS = ("#454ead", "#754abe", "#a442be", "#cc44a6", "#ec4d86", "#fd6663", "#ff8644", "#ffa525", "#f3c530")
SEQUENTIAL_STEPS = 256
MOST_CORNERS = 60


@dataclass(frozen=True)
class Lasso:
    """What the user last did on the map.

    Attributes
    ----------
    mode
        ``"replace"`` the selection, ``"add"`` to it (Shift), ``"subtract"`` from it (Alt), or ``"clear"`` it.
    polygon
        Corners ``(x, y)`` in data coordinates, 3 to 60 of them, after a lasso or a box.
    row
        Row number of the point, after a click.
    """

    mode: Mode
    polygon: list[tuple[float, float]] | None = None
    row: int | None = None


def embedding_map(
    positions: np.ndarray,
    codes: np.ndarray,
    *,
    palette: Sequence[str],
    names: Sequence[str],
    labels: Labels | None,
    selected: np.ndarray | None,
    polygon: Sequence[Sequence[float]] | None,
    key: str,
    height: int = 560,
    continuous: tuple[float, float, str] | None = None,
) -> None:
    """Draw the map. What the user does on it waits in the session, and is taken by `next_act` before the next drawing.

    Parameters
    ----------
    positions
        float32 ``(n, 2)``. Points that are not finite are not drawn.
    codes
        uint8 or uint16 ``(n,)``: the colour of each point, an index into `palette` (modulo its length) and `names`.
    palette
        CSS colours in hex, rgb(), hsl() or by name: `PALETTE` or, for steps of a quantity, `SEQUENTIAL`.
    names
        Of each code, for the legend; shown as literal text.
    labels
        For the card of the point under the pointer: class names, given uint16 ``(n,)``, predicted uint16 ``(n,)``,
        score float32 ``(n,)``. Without it the card has the row number and the name of the code.
    selected
        Mask, bool or uint8 ``(n,)``, or row numbers, int32 or int64 ``(k,)``. Drawn emphasised, the others faded.
    polygon
        Corners ``(x, y)`` of the current lasso in data coordinates.
    key
        Of the element; its acts wait in the session state under names that begin with it.
    height
        Pixels, with the legend.
    continuous
        ``(low, high, title)`` of a quantity whose steps the codes are: a colour bar takes the place of the legend.

    Raises
    ------
    ValueError
        If shapes or dtypes are not as above.
    """
    _check(positions, codes, labels)
    points = _points(positions, labels)
    points_id = f"{key}:{_digest(*points.values())}"
    mask = _mask(selected, len(positions))
    with st.container(gap=None):
        _POINTS(key=f"{key}-points", data={"id": points_id, **points})
        _MAP(
            key=key,
            on_act_change=partial(_remember, key),
            data={
                "id": points_id,
                "place": f"{key}:{_digest(positions)}",
                "seen": st.session_state.get(f"{key}-seen"),
                "height": height,
                "palette": list(palette),
                "names": list(names),
                "continuous": continuous,
                "polygon": None if polygon is None else [[float(x), float(y)] for x, y in polygon],
                "codes": _narrow(codes),
                "selected": np.packbits(mask),
                "selected_count": int(mask.sum()),
            },
        )


def next_act(key: str, n: int) -> Lasso | None:
    """The oldest act on the map of this key, which has `n` points, that has not been taken yet; each is taken once.

    Taken and applied before anything is drawn, it is seen everywhere on the page at once.
    """
    waiting = st.session_state.get(f"{key}-acts")
    return _act(waiting.pop(0), n) if waiting else None


def _check(positions: np.ndarray, codes: np.ndarray, labels: Labels | None) -> None:
    n = len(positions)
    if positions.dtype != np.float32 or positions.shape != (n, 2):
        raise ValueError(f"positions must be float32 (n, 2), not {positions.dtype} {positions.shape}")
    if codes.dtype not in (np.uint8, np.uint16) or codes.shape != (n,):
        raise ValueError(f"codes must be uint8 or uint16 ({n},), not {codes.dtype} {codes.shape}")
    if labels is not None and any(column.shape != (n,) for column in labels[1:]):
        raise ValueError(f"given codes, predicted codes and scores must have the shape ({n},)")


def _points(positions: np.ndarray, labels: Labels | None) -> dict[str, Any]:
    """What stays the same while the user selects and recolours: it is sent once."""
    points = {"positions": positions, "bounds": _bounds(positions)}
    if labels is None:
        return points
    class_names, given, predicted, scores = labels
    return points | {
        "class_names": list(class_names),
        "given": _narrow(given),
        "predicted": _narrow(predicted),
        "scores": scores.astype(np.float32, copy=False),
    }


def _bounds(positions: np.ndarray) -> list[float]:
    """Left, bottom, right and top of the finite points."""
    finite = positions[np.isfinite(positions).all(1)]
    return [*finite.min(0).tolist(), *finite.max(0).tolist()] if len(finite) else [0.0, 0.0, 0.0, 0.0]


def _digest(*values: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        digest.update(np.ascontiguousarray(value).data if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def _narrow(codes: np.ndarray) -> np.ndarray:
    """In one byte a code where that is enough."""
    return codes.astype(np.uint8 if codes.max(initial=0) < 256 else np.uint16, copy=False)


def _mask(selected: np.ndarray | None, n: int) -> np.ndarray:
    mask = np.zeros(n, bool)
    if selected is not None and selected.dtype in (np.bool_, np.uint8):
        mask[:] = selected
    elif selected is not None:
        mask[selected] = True
    return mask


def _remember(key: str) -> None:
    """Keep an act until the map is drawn: a run cut short by another click must not lose it."""
    act = st.session_state[key].act
    if isinstance(act, dict):
        st.session_state[f"{key}-seen"] = act.get("id")
        st.session_state.setdefault(f"{key}-acts", []).append(act)


def _act(sent: dict[str, Any], n: int) -> Lasso | None:
    """What the browser sent, if it is an act on a map of `n` points."""
    mode: Any = sent.get("mode")
    polygon, row = sent.get("polygon"), sent.get("row")
    if mode not in get_args(Mode):
        return None
    if mode == "clear":
        return Lasso(mode)
    if isinstance(row, int) and 0 <= row < n:
        return Lasso(mode, row=row)
    if isinstance(polygon, list) and 3 <= len(polygon) <= MOST_CORNERS and all(map(_is_corner, polygon)):
        return Lasso(mode, polygon=[(float(x), float(y)) for x, y in polygon])
    return None


def _is_corner(sent: Any) -> bool:
    return isinstance(sent, list) and len(sent) == 2 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in sent)


def _ramp(anchors: Sequence[str], steps: int) -> tuple[str, ...]:
    """Colours at even steps between anchors that lie evenly apart."""
    rgb = np.array([[int(anchor[i : i + 2], 16) for i in (1, 3, 5)] for anchor in anchors])
    at = np.linspace(0, len(anchors) - 1, steps)
    channels = [np.interp(at, range(len(anchors)), channel).round().astype(int) for channel in rgb.T]
    return tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels))


SEQUENTIAL = _ramp(_ANCHORS, SEQUENTIAL_STEPS)
"""Low to high from indigo to amber: lighter in even steps (Oklab), and both ends show on white and on dark."""


def _read(suffix: str) -> str:
    return Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")


def _tool(name: str, label: str, hint: str, path: str) -> str:
    icon = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    return f'<button type="button" data-tool="{name}" aria-label="{label}" title="{label} ({hint})">{icon}</button>'


_LASSO = "M12 4c5 0 9 2.5 9 6s-4 6-9 6-9-2.5-9-6 4-6 9-6zM7 15.2c-1.5 0-2.5 1-2.5 2.2s1 2.1 2.3 2.1 2-.7 2.2-2.2"
_BOX = "M4 8V4h4M11 4h2M16 4h4v4M20 11v2M20 16v4h-4M13 20h-2M8 20H4v-4M4 13v-2"
_PAN = "M12 3v18M3 12h18M9.5 5.5 12 3l2.5 2.5M9.5 18.5 12 21l2.5-2.5M5.5 9.5 3 12l2.5 2.5M18.5 9.5 21 12l-2.5 2.5"
_RESET = "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"
_RULE = '<span class="rule"></span>'
_HTML = f"""
<div class="map">
  <div class="frame">
    <div class="stage">
      <canvas class="canvas" tabindex="0" role="img"></canvas>
      <div class="toolbar" role="toolbar" aria-label="Map tools">
        {_tool("lasso", "Lasso", "L; Shift adds, Alt subtracts", _LASSO)}
        {_tool("box", "Box", "B; Shift adds, Alt subtracts", _BOX)}
        {_tool("pan", "Pan", "P or arrow keys", _PAN)}
        {_RULE}
        {_tool("in", "Zoom in", "+ or wheel", "M12 5v14M5 12h14")}
        {_tool("out", "Zoom out", "− or wheel", "M5 12h14")}
        {_tool("reset", "Reset view", "0 or double click", _RESET)}
        {_RULE}
        {_tool("clear", "Clear selection", "Esc", "M6 6l12 12M18 6L6 18")}
      </div>
      <div class="count" role="status"></div>
      <div class="card" hidden></div>
    </div>
    <div class="legend" role="group" aria-label="Legend"></div>
  </div>
</div>
"""

_POINTS = st.components.v2.component("oga_embedding_points", js=_read(".js"))
_MAP = st.components.v2.component("oga_embedding_map", html=_HTML, css=_read(".css"), js=_read(".js"))
