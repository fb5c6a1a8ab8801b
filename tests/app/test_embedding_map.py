"""What the embedding map decides in Python: membership, selections, what it accepts from the browser, its colours."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.components.embedding_map import PALETTE, SEQUENTIAL, Lasso, _act, embedding_map, inside

WHOLE = st.integers(-6, 6)
CORNERS = st.lists(st.tuples(WHOLE, WHOLE), min_size=3, max_size=12)
SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]


def by_ray_cast(x: int, y: int, corners: list[tuple[int, int]]) -> bool:
    """The even-odd rule point by point, in fractions, by where each edge meets the height of the point."""
    odd = False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        if min(y0, y1) <= y < max(y0, y1):
            odd ^= x0 + Fraction((y - y0) * (x1 - x0), y1 - y0) > x
    return odd


def turns(x: float, y: float, corners: np.ndarray) -> int:
    """How often the outline goes round the point, from the angles under which it sees the corners."""
    angles = np.arctan2(corners[:, 1] - y, corners[:, 0] - x)
    steps = np.diff(np.append(angles, angles[0]))
    return round(float(((steps + math.pi) % (2 * math.pi) - math.pi).sum()) / (2 * math.pi))


@given(CORNERS, st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=30))
def test_inside_agrees_with_an_exact_ray_cast(corners: list[tuple[int, int]], points: list[tuple[int, int]]) -> None:
    found = inside(np.array(points, np.float32), corners)
    assert found.tolist() == [by_ray_cast(x, y, corners) for x, y in points]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(3, 60))
def test_inside_agrees_with_the_winding_of_a_star_shaped_outline(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * math.pi, count))
    corners = np.stack([np.cos(angles), np.sin(angles)], 1) * generator.uniform(0.2, 1, (count, 1))
    points = generator.uniform(-1.1, 1.1, (200, 2)).astype(np.float32)
    expected = [turns(float(x), float(y), corners) % 2 == 1 for x, y in points]
    assert inside(points, corners.tolist()).tolist() == expected


def test_inside_leaves_out_points_that_are_nowhere_and_outlines_that_enclose_nothing() -> None:
    points = np.array([[1, 1], [np.nan, 1], [np.inf, 1], [3, 1]], np.float32)
    assert inside(points, SQUARE).tolist() == [True, False, False, False]
    assert not inside(points, []).any()
    assert not inside(points, SQUARE[:2]).any()
    assert inside(np.empty((0, 2), np.float32), SQUARE).shape == (0,)


def test_inside_is_the_same_across_blocks() -> None:
    points = np.random.default_rng(0).normal(size=(200_000, 2)).astype(np.float32)
    found = inside(points, SQUARE)
    assert np.array_equal(found, ((points >= 0) & (points < 2)).all(1))


def test_an_act_replaces_adds_subtracts_and_clears() -> None:
    points = np.array([[1, 1], [5, 5], [6, 6]], np.float32)
    before = np.array([False, True, False])
    assert Lasso("replace", polygon=SQUARE).applied(points, before).tolist() == [True, False, False]
    assert Lasso("add", polygon=SQUARE).applied(points, before).tolist() == [True, True, False]
    assert Lasso("subtract", row=1).applied(points, before).tolist() == [False, False, False]
    assert Lasso("replace", row=2).applied(points, before).tolist() == [False, False, True]
    assert Lasso("clear").applied(points, before.view(np.uint8)).tolist() == [False, False, False]


@pytest.mark.parametrize(
    "sent",
    [
        {"mode": "explode", "row": 1},
        {"mode": "replace"},
        {"mode": "replace", "row": 10},
        {"mode": "replace", "row": -1},
        {"mode": "replace", "row": "1"},
        {"mode": "add", "polygon": [[0, 0], [1, 1]]},
        {"mode": "add", "polygon": [[0, 0]] * 61},
        {"mode": "add", "polygon": [[0, 0], [1, 1], [1, float("nan")]]},
        {"mode": "add", "polygon": [[0, 0], [1, 1], "x"]},
    ],
)
def test_what_is_no_act_on_this_map_is_ignored(sent: dict[str, object]) -> None:
    assert _act(sent, 10) is None


def test_acts_of_the_browser_are_read() -> None:
    assert _act({"mode": "clear", "id": 1}, 10) == Lasso("clear")
    assert _act({"mode": "add", "row": 9}, 10) == Lasso("add", row=9)
    assert _act({"mode": "subtract", "polygon": [[0, 0], [1, 0], [0, 1]]}, 10) == Lasso(
        "subtract", polygon=[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    )


@pytest.mark.parametrize(
    ("positions", "codes"),
    [
        (np.zeros((3, 2)), np.zeros(3, np.uint8)),
        (np.zeros((3, 3), np.float32), np.zeros(3, np.uint8)),
        (np.zeros((3, 2), np.float32), np.zeros(3, np.int64)),
        (np.zeros((3, 2), np.float32), np.zeros(4, np.uint8)),
    ],
)
def test_other_shapes_and_dtypes_are_refused(positions: np.ndarray, codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        embedding_map(positions, codes, palette=PALETTE, names=[], labels=None, selected=None, polygon=None, key="map")


def test_the_map_mounts_on_a_page() -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        from app.components.embedding_map import PALETTE, embedding_map

        codes = np.zeros(4, np.uint16)
        labels = (["cat"], codes, codes, np.ones(4, np.float32))
        act = embedding_map(
            np.ones((4, 2), np.float32),
            codes,
            palette=PALETTE,
            names=["cat"],
            labels=labels,
            selected=np.array([1, 2], np.int32),
            polygon=[(0, 0), (1, 0), (1, 1)],
            key="map",
        )
        st.write(f"act: {act}")

    tested = AppTest.from_function(page).run()
    assert not tested.exception
    assert tested.markdown[0].value == "act: None"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", PALETTE)
def test_categories_show_on_white_and_on_dark(colour: str) -> None:
    assert contrast(colour, "#ffffff") > 1.9
    assert contrast(colour, "#0e1117") > 2.5


def test_colours_are_enough_and_the_ramp_grows_lighter_in_small_steps() -> None:
    assert len(set(PALETTE)) == len(PALETTE) >= 20
    assert len(SEQUENTIAL) == 256
    lightness = np.cbrt([luminance(colour) for colour in SEQUENTIAL])
    assert (lightness[8:] > lightness[:-8]).all()
    assert contrast(SEQUENTIAL[0], "#0e1117") > 2
    assert contrast(SEQUENTIAL[-1], "#ffffff") > 1.5
