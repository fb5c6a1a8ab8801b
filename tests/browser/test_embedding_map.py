"""The embedding map in a browser: what the mouse and the keys do, and what reaches Python."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from oga_core.serving import free_port

ROOT = Path(__file__).resolve().parents[2]
MARGIN = 44  # that the map leaves around the points
SCRIPT = """
import json
from pathlib import Path
import numpy as np
import streamlit as st
from app.components.embedding_map import PALETTE, SEQUENTIAL, embedding_map, next_act
from oga_core.review import inside

st.set_page_config(layout="wide")
HERE = Path(__file__).parent
data = np.load(HERE / "points.npz")
positions, clusters = data["positions"], data["clusters"]
NAMES = ["airplane", "automobile **bold** <b>x</b>", "bird", "cat", "deer"]
state = st.session_state
state.setdefault("selected", np.zeros(len(positions), bool))
state.setdefault("polygon", None)
colour = st.segmented_control("Colour by", ["given", "predicted", "score"], default="given", key="colour")
act = next_act("map", len(positions))
if act:
    hit = np.zeros(len(positions), bool) if act.polygon is None else inside(positions, act.polygon)
    if act.row is not None:
        hit[act.row] = True
    state.selected = {"add": state.selected | hit, "subtract": state.selected & ~hit}.get(act.mode, hit)
    state.polygon = act.polygon
    hits = [] if act.polygon is None else np.flatnonzero(hit).tolist()
    chosen = np.flatnonzero(state.selected).tolist()
    line = dict(mode=act.mode, row=act.row, polygon=act.polygon, inside=hits, selected=chosen)
    with (HERE / "acts.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\\n")
given = clusters.astype(np.uint16)
predicted = np.where(data["scores"] > 0.97, (given + 1) % 5, given).astype(np.uint16)
continuous = (0.0, 1.0, "Outlier score") if colour == "score" else None
codes = {"given": given, "predicted": predicted, "score": (data["scores"] * 255).astype(np.uint8)}[colour]
if not st.toggle("Show the map", True):
    st.stop()
embedding_map(
    positions, codes, palette=SEQUENTIAL if continuous else PALETTE, names=NAMES, continuous=continuous,
    labels=(NAMES, given, predicted, data["scores"]), selected=state.selected, polygon=state.polygon, key="map",
)
st.write("drawn with", colour, int(state.selected.sum()))
"""


def clusters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five clouds of 400 points, far apart, and five points alone, of which the last lie close together."""
    generator = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 1], [9, 8], [-3, 8], [3, 5]])
    of_cloud = np.arange(2000) % 5
    positions = centres[of_cloud] + np.clip(generator.normal(scale=0.6, size=(2000, 2)), -1.1, 1.1)
    positions[:5] = [[-6, 1], [14, 9], [14, 1], [4.5, 9.5], [4.56, 9.5]]
    return positions.astype(np.float32), of_cloud, generator.uniform(size=2000).astype(np.float32)


POSITIONS, CLOUDS, SCORES = clusters()
CLOUDS[:5] = -1
CENTRES = {cloud: POSITIONS[cloud == CLOUDS].mean(0) for cloud in range(5)}


@dataclass
class Map:
    """The map on a page, driven with the mouse in data coordinates."""

    page: Any
    log: Path
    errors: list[str] = field(default_factory=list)

    @property
    def canvas(self) -> Any:
        return self.page.locator("canvas.canvas")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where the map in its first view has a point."""
        box = self.canvas.bounding_box()
        low, high = POSITIONS.min(0), POSITIONS.max(0)
        scale = float(min((box["width"] - 2 * MARGIN) / (high - low)[0], (box["height"] - 2 * MARGIN) / (high - low)[1]))
        left, down = (low + high) / 2
        return (
            float(box["x"] + box["width"] / 2 + (x - left) * scale),
            float(box["y"] + box["height"] / 2 - (y - down) * scale),
        )

    def lasso(self, cloud: int, held: str | None = None, radius: float = 1.75) -> None:
        """Draw a circle of 90 corners round a cloud, with a key held."""
        x, y = CENTRES[cloud]
        if held:
            self.page.keyboard.down(held)
        self.page.mouse.move(*self.at(x + radius, y))
        self.page.mouse.down()
        for step in range(1, 90):
            angle = 2 * math.pi * step / 90
            self.page.mouse.move(*self.at(x + radius * math.cos(angle), y + radius * math.sin(angle)))
        self.page.mouse.up()
        if held:
            self.page.keyboard.up(held)

    def acts(self, count: int) -> list[dict[str, Any]]:
        """What Python got, once there are so many acts."""
        eventually(lambda: self.log.exists() and len(self.log.read_text().splitlines()) >= count)
        self.page.wait_for_timeout(300)  # a second delivery of the same act would come now
        acts = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert len(acts) == count
        return acts

    def lightness(self) -> float:
        """Of what lies behind the points, 0 to 255."""
        colour = self.page.locator(".frame").evaluate("element => getComputedStyle(element).backgroundColor")
        return sum(int(channel) for channel in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    def shows(self, selected: int) -> None:
        expect(self.page.locator(".count")).to_have_text(f"{selected:,} selected of 2,000 samples")


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, "nothing came in time"
        time.sleep(0.05)


def members(*clouds: int) -> list[int]:
    return np.flatnonzero(np.isin(CLOUDS, clouds)).tolist()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Streamlit server with nothing but the map; its address and folder."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "page.py").write_text(SCRIPT)
    np.savez(folder / "points.npz", positions=POSITIONS, clusters=np.arange(2000) % 5, scores=SCORES)
    port = free_port()
    options = {"server.port": port, "server.address": "127.0.0.1", "server.headless": "true", "browser.gatherUsageStats": "false"}
    command = [sys.executable, "-m", "streamlit", "run", "page.py", *(f"--{name}={value}" for name, value in options.items())]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        eventually(lambda: answers(url + "_stcore/health"), 60)
        yield url, folder
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def opened(server: tuple[str, Path], chromium: Browser) -> Iterator[Callable[..., Map]]:
    """Opens the page in a new tab; at the end, nothing may have been complained of in its console."""
    url, folder = server
    maps: list[Map] = []

    def open_map(**context: Any) -> Map:
        (folder / "acts.jsonl").unlink(missing_ok=True)
        context = {"viewport": {"width": 1280, "height": 800}, **context}
        page = chromium.new_context(**context).new_page()
        shown = Map(page, folder / "acts.jsonl")
        page.on("console", lambda message: shown.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: shown.errors.append(str(error)))
        page.goto(url)
        shown.shows(0)
        expect(page.locator(".count")).to_be_visible()
        maps.append(shown)
        return shown

    yield open_map
    for shown in maps:
        shown.page.context.close()
        assert shown.errors == []


def test_lasso_selects_a_cloud_and_shift_adds_and_alt_subtracts(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.lasso(0)
    [act] = shown.acts(1)
    assert act["mode"] == "replace"
    assert 3 <= len(act["polygon"]) <= 60
    assert act["inside"] == act["selected"] == members(0)
    shown.shows(len(members(0)))
    shown.lasso(3, held="Shift")
    assert shown.acts(2)[1]["selected"] == members(0, 3)
    shown.shows(len(members(0, 3)))
    shown.lasso(0, held="Alt")
    act = shown.acts(3)[2]
    assert (act["mode"], act["inside"], act["selected"]) == ("subtract", members(0), members(3))
    shown.shows(len(members(3)))


def test_no_act_is_lost_when_they_follow_fast(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.lasso(0)
    shown.lasso(1, held="Shift")
    shown.lasso(2, held="Shift")
    assert shown.acts(3)[2]["selected"] == members(0, 1, 2)


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
    [act] = shown.acts(1)
    assert act["inside"] == members(4)
    assert len(act["polygon"]) == 4


def test_click_takes_the_nearest_point_and_escape_clears(opened: Callable[..., Map]) -> None:
    shown = opened()
    x, y = shown.at(*POSITIONS[1])
    shown.page.mouse.click(x + 3, y - 3)
    [act] = shown.acts(1)
    assert (act["mode"], act["row"], act["selected"]) == ("replace", 1, [1])
    shown.shows(1)
    shown.canvas.press("Escape")
    act = shown.acts(2)[1]
    assert (act["mode"], act["selected"]) == ("clear", [])
    shown.shows(0)


def test_double_click_resets_the_view_and_selects_nothing(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.canvas.press("+")
    shown.canvas.press("ArrowLeft")
    shown.page.mouse.dblclick(*shown.at(*CENTRES[0]))
    shown.page.wait_for_timeout(400)
    assert not shown.log.exists()
    shown.page.mouse.click(*shown.at(*POSITIONS[2]))
    assert shown.acts(1)[0]["row"] == 2


def test_the_view_survives_new_colours_and_an_absence(opened: Callable[..., Map]) -> None:
    shown = opened()
    here = shown.at(*POSITIONS[3])
    shown.page.mouse.move(*here)
    for _ in range(4):
        shown.page.mouse.wheel(0, -240)  # each wheel step of 240 zooms by exp(0.6) about the pointer
        shown.page.wait_for_timeout(50)
    for colour in ("predicted", "score", "given"):
        shown.page.get_by_role("radio", name=colour).click()
        expect(shown.page.get_by_text(f"drawn with {colour}")).to_be_visible()
    for maps in (0, 1):  # away meanwhile, as when the user visits another page
        shown.page.get_by_text("Show the map").click()
        expect(shown.canvas).to_have_count(maps)
    shown.shows(0)
    neighbour = shown.at(*POSITIONS[4])
    grown = math.exp(0.6 * 4)
    shown.page.mouse.click(here[0] + (neighbour[0] - here[0]) * grown, here[1] + (neighbour[1] - here[1]) * grown)
    assert shown.acts(1)[0]["row"] == 4


def test_pan_mode_drags_the_view(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.canvas.press("p")
    expect(shown.page.get_by_role("button", name="Pan", exact=True)).to_have_attribute("aria-pressed", "true")
    x, y = shown.at(*CENTRES[0])
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x + 50, y - 30, steps=5)
    shown.page.mouse.up()
    x, y = shown.at(*POSITIONS[0])
    shown.page.mouse.click(x + 50, y - 30)
    assert shown.acts(1)[0]["row"] == 0


def test_the_card_names_what_is_under_the_pointer_and_the_legend_isolates(opened: Callable[..., Map]) -> None:
    shown = opened()
    card, legend = shown.page.locator(".card"), shown.page.locator(".legend button")
    shown.page.mouse.move(*shown.at(*POSITIONS[1]))
    score = f"{SCORES[1]:.3g}"
    expect(card.locator("b")).to_have_text(["automobile **bold** <b>x</b>", "automobile **bold** <b>x</b>", score])
    expect(legend).to_have_count(5)
    expect(legend.nth(1)).to_contain_text("automobile **bold** <b>x</b>")
    legend.nth(0).click()
    expect(legend.nth(0)).to_have_attribute("aria-pressed", "true")
    shown.page.mouse.move(*shown.at(*POSITIONS[1]))
    expect(card).to_be_hidden()
    legend.nth(0).click()
    shown.page.mouse.move(*shown.at(POSITIONS[1, 0] + 0.01, POSITIONS[1, 1]))
    expect(card).to_be_visible()


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
    assert shown.acts(1)[0]["inside"] == members(2)
    shown.page.emulate_media(color_scheme="light")
    eventually(lambda: shown.lightness() > 230)
    shown.shows(len(members(2)))


def test_on_a_narrow_page_the_legend_lies_below(opened: Callable[..., Map]) -> None:
    shown = opened(viewport={"width": 480, "height": 800})
    canvas, legend = shown.canvas.bounding_box(), shown.page.locator(".legend").bounding_box()
    assert legend["y"] >= canvas["y"] + canvas["height"]
    shown.lasso(0)
    assert shown.acts(1)[0]["inside"] == members(0)
