"""The embedding map in a browser: what the mouse and the keys do, and what reaches Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.map_page import CENTRES, CLOUDS, POSITIONS, SCORES, Map, eventually, opened, server

__all__ = ["opened", "server"]


def members(*clouds: int) -> list[int]:
    return np.flatnonzero(np.isin(CLOUDS, clouds)).tolist()


def test_lasso_selects_a_cloud_and_shift_adds_and_alt_subtracts(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.lasso(0)
    [action] = shown.actions(1)
    assert action["mode"] == "replace"
    assert 3 <= len(action["polygon"]) <= 60
    assert action["inside"] == action["selected"] == members(0)
    shown.shows(len(members(0)))
    shown.lasso(3, held="Shift")
    assert shown.actions(2)[1]["selected"] == members(0, 3)
    shown.shows(len(members(0, 3)))
    shown.lasso(0, held="Alt")
    action = shown.actions(3)[2]
    assert (action["mode"], action["inside"], action["selected"]) == ("subtract", members(0), members(3))
    shown.shows(len(members(3)))


def test_no_act_is_lost_when_they_follow_fast(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.lasso(0)
    shown.lasso(1, held="Shift")
    shown.lasso(2, held="Shift")
    assert shown.actions(3)[2]["selected"] == members(0, 1, 2)


def test_box_by_its_button(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.page.get_by_role("button", name="Box", exact=True).click()
    expect(shown.page.get_by_role("button", name="Box", exact=True)).to_have_attribute("aria-pressed", "true")
    x, y = CENTRES[4]
    shown.page.mouse.move(*shown.at(x - 1.6, y - 1.6))
    shown.page.mouse.down()
    shown.page.mouse.move(*shown.at(x, y))
    shown.page.mouse.move(*shown.at(x + 1.6, y + 1.6))
    shown.page.mouse.up()
    [action] = shown.actions(1)
    assert action["inside"] == members(4)
    assert len(action["polygon"]) == 4


def test_click_takes_the_nearest_point_and_escape_clears(opened: Callable[..., Map]) -> None:
    shown = opened()
    x, y = shown.at(*POSITIONS[1])
    shown.page.mouse.click(x + 3, y - 3)
    [action] = shown.actions(1)
    assert (action["mode"], action["row"], action["selected"]) == ("replace", 1, [1])
    shown.shows(1)
    shown.surface.press("Escape")
    action = shown.actions(2)[1]
    assert (action["mode"], action["selected"]) == ("clear", [])
    shown.shows(0)


def test_double_click_resets_the_view_and_selects_nothing(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.surface.press("+")
    shown.surface.press("ArrowLeft")
    shown.page.mouse.dblclick(*shown.at(*CENTRES[0]))
    shown.page.wait_for_timeout(400)
    assert not shown.log.exists()
    shown.page.mouse.click(*shown.at(*POSITIONS[2]))
    assert shown.actions(1)[0]["row"] == 2


def test_the_view_survives_new_colours_and_an_absence(opened: Callable[..., Map]) -> None:
    shown = opened()
    here = shown.at(*POSITIONS[3])
    shown.page.mouse.move(*here)
    for _ in range(4):
        shown.page.mouse.wheel(0, -240)  # each wheel step of 240 zooms by exp(0.6) about the pointer
        shown.page.wait_for_timeout(50)
    for colour in ("predicted", "score", "given label"):
        shown.page.get_by_role("radio", name=colour).click()
        expect(shown.page.get_by_text(f"drawn with {colour}")).to_be_visible()
    for maps in (0, 1):  # away meanwhile, as when the user visits another page
        shown.page.get_by_text("Show the map").click()
        expect(shown.canvas).to_have_count(maps)
    shown.shows(0)
    neighbour = shown.at(*POSITIONS[4])
    grown = math.exp(0.6 * 4)
    shown.page.mouse.click(here[0] + (neighbour[0] - here[0]) * grown, here[1] + (neighbour[1] - here[1]) * grown)
    assert shown.actions(1)[0]["row"] == 4


def test_pan_mode_drags_the_view(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.surface.press("p")
    expect(shown.page.get_by_role("button", name="Pan", exact=True)).to_have_attribute("aria-pressed", "true")
    x, y = shown.at(*CENTRES[0])
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x + 50, y - 30, steps=5)
    shown.page.mouse.up()
    x, y = shown.at(*POSITIONS[0])
    shown.page.mouse.click(x + 50, y - 30)
    assert shown.actions(1)[0]["row"] == 0


def test_the_middle_button_pans_whatever_the_tool(opened: Callable[..., Map]) -> None:
    shown = opened()
    x, y = shown.at(*CENTRES[0])
    shown.page.mouse.move(x, y)
    shown.page.mouse.down(button="middle")
    shown.page.mouse.move(x + 50, y - 30, steps=5)
    shown.page.mouse.up(button="middle")
    x, y = shown.at(*POSITIONS[0])
    shown.page.mouse.click(x + 50, y - 30)
    assert shown.actions(1)[0]["row"] == 0


def test_two_fingers_zoom_and_pan_and_select_nothing(opened: Callable[..., Map]) -> None:
    shown = opened(has_touch=True)
    client = shown.page.context.new_cdp_session(shown.page)
    (x0, y0), (x1, y1) = shown.at(*POSITIONS[3]), shown.at(*POSITIONS[4])

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x0 - 20, y0))
    touch("touchStart", (x0 - 20, y0), (x0 + 20, y0))
    for step in range(1, 11):
        touch("touchMove", (x0 - 20 - 16 * step, y0 + 4 * step), (x0 + 20 + 16 * step, y0 + 4 * step))
    touch("touchEnd")
    shown.page.wait_for_timeout(300)
    assert not shown.log.exists()
    shown.page.mouse.click(x0 + 9 * (x1 - x0), y0 + 40 + 9 * (y1 - y0))  # from 40 pixels apart to 360, and 40 down
    assert shown.actions(1)[0]["row"] == 4


def test_the_card_names_what_is_under_the_pointer_and_shows_its_image(opened: Callable[..., Map]) -> None:
    shown = opened()
    card = shown.page.locator(".card")
    shown.page.mouse.move(*shown.at(*POSITIONS[1]))
    said = ["automobile **bold** <b>x</b>", "bird" if SCORES[1] > 0.97 else "automobile **bold** <b>x</b>", f"{SCORES[1]:.3g}"]
    expect(card.locator("b")).to_have_text(said)
    image = card.locator("img")
    expect(image).to_have_attribute("src", "/image/8/160")  # the sample of row 1 is the eighth of the data
    eventually(lambda: image.evaluate("image => image.complete && image.naturalWidth === 40"))
    shown.page.mouse.move(*shown.at(6, 3))
    expect(card).to_be_hidden()


def test_the_card_of_a_text_shows_how_it_begins_and_never_as_html(opened: Callable[..., Map]) -> None:
    shown = opened("kind=text")
    shown.page.mouse.move(*shown.at(*POSITIONS[2]))
    preview = shown.page.locator(".card .preview")
    expect(preview).to_have_text(re.compile(r"^sample 9 <b>not bold</b> x+…$"))
    assert len(preview.evaluate("preview => preview.textContent")) == 201


def test_the_legend_singles_out_classes_here_and_in_python(opened: Callable[..., Map]) -> None:
    shown = opened()
    card, legend = shown.page.locator(".card"), shown.page.locator(".legend button")
    expect(legend).to_have_count(5)
    expect(legend.nth(1)).to_have_text("automobile **bold** <b>x</b>400")
    legend.nth(0).click()
    expect(legend.nth(0)).to_have_attribute("aria-pressed", "true")
    [action] = shown.actions(1)
    assert (action["mode"], action["by"], action["codes"]) == ("isolate", "given label", [0])
    shown.page.mouse.move(*shown.at(*POSITIONS[1]))
    expect(card).to_be_hidden()
    legend.nth(1).click()
    assert shown.actions(2)[1]["codes"] == [0, 1]
    shown.page.mouse.move(*shown.at(POSITIONS[1, 0] + 0.01, POSITIONS[1, 1]))
    expect(card).to_be_visible()
    shown.page.get_by_role("radio", name="score").click()
    expect(shown.page.locator(".legend .ramp")).to_be_visible()
    expect(legend).to_have_count(0)


def test_python_can_set_the_selection(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.page.get_by_role("button", name="Select every tenth").click()
    shown.shows(200)
    said = "Map of positions: 2,000 samples, coloured by given label in 5 colours; 200 selected."
    expect(shown.canvas).to_have_attribute("aria-label", said)


# ---- with the keys alone ---------------------------------------------------------------------------------------------------
def test_the_crosshair_selects_what_lies_in_its_circle_or_nearest(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.page.get_by_role("button", name="Lasso").focus()
    for _ in range(3):
        shown.page.keyboard.press("ArrowRight")  # from tool to tool
    expect(shown.page.get_by_role("button", name="Crosshair")).to_be_focused()
    shown.page.keyboard.press("Enter")
    expect(shown.surface).to_be_focused()
    x, y = shown.at(*CENTRES[4])
    box = shown.surface.bounding_box()
    right, down = (x - box["x"] - box["width"] / 2) / 12, (y - box["y"] - box["height"] / 2) / 12
    for keys, steps in (("ArrowLeft", "ArrowRight"), right), (("ArrowUp", "ArrowDown"), down):
        for _ in range(abs(round(steps))):
            shown.page.keyboard.press(keys[steps > 0])
    for _ in range(3):
        shown.page.keyboard.press("]")  # from a radius of 36 pixels to 70
    live = shown.page.locator(".live")
    expect(live).to_have_text(re.compile(r"^\d+ samples in the circle; nearest: given deer predicted \S+ score"))
    shown.page.keyboard.press("Enter")
    [action] = shown.actions(1)
    assert action["mode"] == "replace"
    assert len(action["polygon"]) == 32
    assert set(action["selected"]) <= set(members(4))
    assert len(action["selected"]) == pytest.approx(int(live.inner_text().split()[0]), rel=0.05)
    shown.page.keyboard.press(" ")
    [_, action] = shown.actions(2)
    assert action["row"] in members(4)
    shown.page.keyboard.press("Shift+Enter")
    assert len(shown.actions(3)[2]["selected"]) > 100
    shown.page.keyboard.press("Alt+Enter")
    assert shown.actions(4)[3]["selected"] == []
    shown.page.keyboard.press("Escape")
    assert shown.actions(5)[4]["mode"] == "clear"


def test_the_crosshair_moves_the_view_at_its_edge(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.surface.press("t")
    before = shown.pixels()
    for _ in range(12):
        shown.page.keyboard.press("Shift+ArrowDown")
    assert np.abs(shown.pixels() - before).mean() > 1
    assert not shown.log.exists()


def test_the_legend_is_one_stop_for_the_tab_key(opened: Callable[..., Map]) -> None:
    shown = opened()
    legend = shown.page.locator(".legend button")
    assert [button.get_attribute("tabindex") for button in legend.all()] == ["0", "-1", "-1", "-1", "-1"]
    legend.nth(0).focus()
    shown.page.keyboard.press("ArrowDown")
    expect(legend.nth(1)).to_be_focused()
    shown.page.keyboard.press(" ")
    assert shown.actions(1)[0]["codes"] == [1]
