"""Which points lie in a polygon, against an exact ray cast and the winding of an outline."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings, strategies as st

from oga_core.review import inside

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
    for corner in (math.nan, math.inf):
        assert not inside(points, [*SQUARE, (1.0, corner)]).any()


def test_inside_is_the_same_across_blocks() -> None:
    points = np.random.default_rng(0).normal(size=(200_000, 2)).astype(np.float32)
    found = inside(points, SQUARE)
    assert np.array_equal(found, ((points >= 0) & (points < 2)).all(1))
