"""The embedding map in a browser: two ways to draw it, and how it lies on a page."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.map_page import CENTRES, POSITIONS, Map, eventually, opened, server
from tests.browser.test_embedding_map import members

__all__ = ["opened", "server"]


CARD = """
const asked = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === 0x9246 ? "A real card" : asked.call(this, name);
};
"""

NO_WEBGL = """
const made = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : made.call(this, kind, ...rest);
};
"""


@pytest.mark.parametrize(
    ("query", "script", "renderer"),
    [
        ("", "", "canvas"),
        ("", CARD, "webgl"),
        ("renderer=webgl", "", "webgl"),
        ("renderer=canvas", CARD, "canvas"),
        ("renderer=webgl", NO_WEBGL, "canvas"),
        ("", NO_WEBGL, "canvas"),
    ],
)
def test_webgl_draws_where_there_is_a_card_and_a_plain_canvas_elsewhere(
    opened: Callable[..., Map], query: str, script: str, renderer: str
) -> None:
    shown = opened(query, script)
    expect(shown.page.locator(".map")).to_have_attribute("data-renderer", renderer)
    assert shown.pixels().std() > 5
    shown.lasso(1)
    assert shown.actions(1)[0]["inside"] == members(1)


def test_both_ways_draw_the_same_picture(opened: Callable[..., Map]) -> None:
    """Plain, with a selection, with a class singled out, zoomed, coloured by a quantity, in the dark."""
    pictures: dict[str, list[np.ndarray]] = {}
    for renderer in ("webgl", "canvas"):
        shown = opened(f"renderer={renderer}")
        expect(shown.page.locator(".map")).to_have_attribute("data-renderer", renderer)
        taken = pictures.setdefault(renderer, [])
        taken.append(shown.pixels())
        shown.page.get_by_role("button", name="Select every tenth").click()
        shown.shows(200)
        taken.append(shown.pixels())
        shown.page.locator(".legend button").nth(3).click()
        taken.append(shown.pixels())
        shown.surface.press("+")
        shown.surface.press("+")
        taken.append(shown.pixels())
        shown.page.get_by_role("radio", name="score").click()
        expect(shown.page.locator(".legend .ramp")).to_be_visible()
        taken.append(shown.pixels())
        shown.page.emulate_media(color_scheme="dark")
        eventually(lambda shown=shown: shown.lightness() < 60)  # type: ignore[misc]
        taken.append(shown.pixels())
    for one, other in zip(pictures["webgl"], pictures["canvas"], strict=True):
        assert one.std() > 2
        assert np.abs(one - other).mean() < 0.2
        assert (np.abs(one - other).max(2) > 16).mean() < 1e-3
    states = pictures["canvas"]
    assert all(np.abs(a - b).mean() > 0.5 for a, b in pairwise(states))


def test_a_lost_card_is_replaced_by_the_plain_canvas(opened: Callable[..., Map]) -> None:
    shown = opened("renderer=webgl")
    shown.lasso(3)
    shown.actions(1)
    before = shown.pixels()
    shown.canvas.evaluate("canvas => canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    expect(shown.page.locator(".map")).to_have_attribute("data-renderer", "canvas")
    assert np.abs(shown.pixels() - before).mean() < 0.2
    shown.page.get_by_role("radio", name="predicted").click()
    expect(shown.page.get_by_text("drawn with predicted")).to_be_visible()
    shown.page.mouse.click(*shown.at(*POSITIONS[1]))
    assert shown.actions(2)[1]["row"] == 1


# ---- on the page -----------------------------------------------------------------------------------------------------------
MARKS = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter(value => value).length"
"""How much is drawn on an overlay."""


def test_two_maps_side_by_side_share_the_selection_and_the_pointer(opened: Callable[..., Map]) -> None:
    shown = opened("maps=2", viewport={"width": 1900, "height": 800})
    other = shown.page.locator(".map").nth(1)
    overlay = other.locator("canvas.overlay")
    shown.lasso(2)
    [action] = shown.actions(1)
    assert (action["picture"], action["inside"]) == ("positions", members(2))
    shown.shows(len(members(2)))
    assert overlay.evaluate(MARKS) == 0
    shown.page.mouse.move(*shown.at(*POSITIONS[3]))
    eventually(lambda: overlay.evaluate(MARKS) > 0)
    shown.page.mouse.move(1, 1)
    eventually(lambda: overlay.evaluate(MARKS) == 0)
    other.get_by_role("button", name="Box").click()
    box = other.locator(".surface").bounding_box()
    shown.page.mouse.move(box["x"] + 5, box["y"] + 60)
    shown.page.mouse.down()
    shown.page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=4)
    shown.page.mouse.up()
    action = shown.actions(2)[1]
    high = action["polygon"][0][1]
    assert (action["picture"], action["inside"]) == ("turned", np.flatnonzero(POSITIONS[:, 0] < high).tolist())
    shown.shows(len(action["inside"]))


def test_points_that_cannot_be_had_are_told_of_and_the_map_keeps_its_height(server: tuple[str, Path], chromium: Browser) -> None:
    page = chromium.new_context().new_page()
    page.goto(f"{server[0]}?points=gone")
    expect(page.locator(".note")).to_have_text("The points could not be loaded. Reload the page.")
    assert page.locator(".frame").bounding_box()["height"] == 560  # type: ignore[index]
    page.context.close()


def test_the_page_scrolls_beside_the_map_and_not_over_it(opened: Callable[..., Map]) -> None:
    shown = opened(viewport={"width": 1000, "height": 400})
    top = shown.canvas.bounding_box()["y"]
    shown.page.mouse.move(*shown.at(*CENTRES[3]))
    shown.page.mouse.wheel(0, 200)
    shown.page.wait_for_timeout(300)
    assert shown.canvas.bounding_box()["y"] == top
    shown.page.mouse.move(10, 200)
    shown.page.mouse.wheel(0, 200)
    eventually(lambda: shown.canvas.bounding_box()["y"] < top)


def test_in_the_dark_and_when_the_theme_turns(opened: Callable[..., Map]) -> None:
    shown = opened(color_scheme="dark")
    assert shown.lightness() < 60
    shown.lasso(2)
    assert shown.actions(1)[0]["inside"] == members(2)
    shown.page.emulate_media(color_scheme="light")
    eventually(lambda: shown.lightness() > 230)
    shown.shows(len(members(2)))


def test_on_a_narrow_page_the_legend_lies_below(opened: Callable[..., Map]) -> None:
    shown = opened(viewport={"width": 480, "height": 800})
    canvas, legend = shown.canvas.bounding_box(), shown.page.locator(".legend").bounding_box()
    assert legend["y"] >= canvas["y"] + canvas["height"]
    shown.lasso(0)
    assert shown.actions(1)[0]["inside"] == members(0)
