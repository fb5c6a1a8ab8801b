"""The embedding map in a browser: what the mouse and the keys do, and what reaches Python."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from oga_core.serving import free_port
from tests.browser.conftest import settled

ROOT = Path(__file__).resolve().parents[2]
MARGIN = 44  # that the map leaves around the points
PAGE = """
import json
from pathlib import Path
import numpy as np
import streamlit as st
from app.components.embedding_map import PALETTE, SEQUENTIAL, Card, Colours, Picture, embedding_map, next_act
from oga_core.review import inside

st.set_page_config(layout="wide")
HERE = Path(__file__).parent
data = np.load(HERE / "points.npz")
clusters, n = data["clusters"], len(data["clusters"])
NAMES = ["airplane", "automobile **bold** <b>x</b>", "bird", "cat", "deer"]
state, asked = st.session_state, st.query_params
state.setdefault("selected", np.zeros(n, bool))
state.setdefault("polygons", {})
state.setdefault("isolated", [])
colour = st.segmented_control("Colour by", ["given label", "predicted", "score"], default="given label", key="colour")
if st.button("Select every tenth"):
    state.selected, state.polygons = np.arange(n) % 10 == 0, {}
maps = {"first": "positions", "second": "turned"} if asked.get("maps") == "2" else {"first": asked.get("points", "positions")}
for key in maps:
    while act := next_act(key, n):
        if act.mode == "isolate":
            state.isolated = list(act.codes)
        hit = np.zeros(n, bool) if act.polygon is None else inside(data[act.picture], act.polygon)
        if act.row is not None:
            hit[act.row] = True
        if act.mode != "isolate":
            state.selected = {"add": state.selected | hit, "subtract": state.selected & ~hit}.get(act.mode, hit)
            state.polygons = {key: act.polygon}
        line = dict(
            mode=act.mode, row=act.row, polygon=act.polygon, picture=act.picture, codes=act.codes, by=act.by,
            inside=np.flatnonzero(hit).tolist(), selected=np.flatnonzero(state.selected).tolist(),
        )
        with (HERE / "acts.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\\n")
given, predicted = clusters.astype(np.uint16), data["predicted"].astype(np.uint16)
codes = {"given label": given, "predicted": predicted, "score": (data["scores"] * 255).astype(np.uint8)}[colour]
if colour == "score":
    colours = Colours(colour, codes, SEQUENTIAL, continuous=(0.0, 1.0, "Outlier score"))
else:
    colours = Colours(colour, codes, PALETTE, NAMES, isolated=state.isolated)
if not st.toggle("Show the map", True):
    st.stop()
kind = asked.get("kind", "image")
sample = (f"/{kind}/", "/160" if kind == "image" else "")
card = Card("/a/clusters", "/a/predicted", "/a/scores", "/a/indices", "/names", kind, sample)
for column, (key, name) in zip(st.columns(len(maps)), maps.items()):
    with column:
        embedding_map(
            Picture(name, f"Map of {name}", f"/a/{name}", "clouds", card), colours, selected=state.selected,
            polygon=state.polygons.get(key), key=key,
        )
st.write("drawn with", colour, int(state.selected.sum()))
"""
SERVER = """
import io
from pathlib import Path
import numpy as np
import streamlit as st
from PIL import Image
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

HERE = Path(__file__).parent
data = np.load(HERE / "points.npz")
n = len(data["clusters"])
arrays = {name: data[name].astype(np.uint16 if name in ("clusters", "predicted") else np.float32) for name in data}
arrays["indices"] = np.arange(n, dtype=np.int32) + 7
NAMES = ["airplane", "automobile **bold** <b>x</b>", "bird", "cat", "deer"]

def array(request):
    found = arrays.get(request.path_params["name"])
    return Response(status_code=404) if found is None else Response(found.tobytes())

def image(request):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (request.path_params["index"] % 256, 90, 160)).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")

def text(request):
    return JSONResponse({"text": f"sample {request.path_params['index']} <b>not bold</b> " + 500 * "x", "characters": 530})

app = st.App(HERE / "page.py", routes=[
    Route("/a/{name}", array), Route("/image/{index:int}/160", image), Route("/text/{index:int}", text),
    Route("/names", lambda request: JSONResponse(NAMES)),
])
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
        return self.page.locator("canvas.canvas").first

    @property
    def surface(self) -> Any:
        """What takes the mouse and the keys."""
        return self.page.locator(".surface").first

    def pixels(self) -> np.ndarray:
        """What is seen of the points, without what lies over them, int ``(height, width, 3)``."""
        self.page.mouse.move(1, 1)
        self.page.wait_for_timeout(300)
        box = self.canvas.bounding_box()
        inner = {"x": box["x"] + 4, "y": box["y"] + 50, "width": box["width"] - 8, "height": box["height"] - 90}
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=inner))).convert("RGB")).astype(int)

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
        for count in self.page.locator(".count").all():
            expect(count).to_have_text(f"{selected:,} selected of 2,000 samples")


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
    (folder / "page.py").write_text(PAGE)
    (folder / "server.py").write_text(SERVER)
    clouds = np.arange(2000) % 5
    columns = {"clusters": clouds, "predicted": np.where(SCORES > 0.97, (clouds + 1) % 5, clouds), "scores": SCORES}
    np.savez(folder / "points.npz", positions=POSITIONS, turned=POSITIONS[:, ::-1], **columns)  # type: ignore[arg-type]
    port = free_port()
    options = {"server.port": port, "server.address": "127.0.0.1", "server.headless": "true", "browser.gatherUsageStats": "false"}
    command = [sys.executable, "-m", "streamlit", "run", "server.py", *(f"--{name}={value}" for name, value in options.items())]
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

    def open_map(query: str = "", script: str = "", **context: Any) -> Map:
        (folder / "acts.jsonl").unlink(missing_ok=True)
        context = {"viewport": {"width": 1280, "height": 800}, **context}
        page = chromium.new_context(**context).new_page()
        page.add_init_script(script)
        shown = Map(page, folder / "acts.jsonl")
        page.on("console", lambda message: shown.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: shown.errors.append(str(error)))
        page.goto(f"{url}?{query}")
        expect(page.locator(".count").last).to_have_text("0 selected of 2,000 samples")
        page.locator(".map[data-renderer]").last.wait_for()
        settled(page)
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
    shown.surface.press("Escape")
    act = shown.acts(2)[1]
    assert (act["mode"], act["selected"]) == ("clear", [])
    shown.shows(0)


def test_double_click_resets_the_view_and_selects_nothing(opened: Callable[..., Map]) -> None:
    shown = opened()
    shown.surface.press("+")
    shown.surface.press("ArrowLeft")
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
    assert shown.acts(1)[0]["row"] == 4


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
    assert shown.acts(1)[0]["row"] == 0


def test_the_middle_button_pans_whatever_the_tool(opened: Callable[..., Map]) -> None:
    shown = opened()
    x, y = shown.at(*CENTRES[0])
    shown.page.mouse.move(x, y)
    shown.page.mouse.down(button="middle")
    shown.page.mouse.move(x + 50, y - 30, steps=5)
    shown.page.mouse.up(button="middle")
    x, y = shown.at(*POSITIONS[0])
    shown.page.mouse.click(x + 50, y - 30)
    assert shown.acts(1)[0]["row"] == 0


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
    assert shown.acts(1)[0]["row"] == 4


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
    [act] = shown.acts(1)
    assert (act["mode"], act["by"], act["codes"]) == ("isolate", "given label", [0])
    shown.page.mouse.move(*shown.at(*POSITIONS[1]))
    expect(card).to_be_hidden()
    legend.nth(1).click()
    assert shown.acts(2)[1]["codes"] == [0, 1]
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
    [act] = shown.acts(1)
    assert act["mode"] == "replace"
    assert len(act["polygon"]) == 32
    assert set(act["selected"]) <= set(members(4))
    assert len(act["selected"]) == pytest.approx(int(live.inner_text().split()[0]), rel=0.05)
    shown.page.keyboard.press(" ")
    [_, act] = shown.acts(2)
    assert act["row"] in members(4)
    shown.page.keyboard.press("Shift+Enter")
    assert len(shown.acts(3)[2]["selected"]) > 100
    shown.page.keyboard.press("Alt+Enter")
    assert shown.acts(4)[3]["selected"] == []
    shown.page.keyboard.press("Escape")
    assert shown.acts(5)[4]["mode"] == "clear"


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
    assert shown.acts(1)[0]["codes"] == [1]


# ---- two ways to draw ------------------------------------------------------------------------------------------------------
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
    assert shown.acts(1)[0]["inside"] == members(1)


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
    shown.acts(1)
    before = shown.pixels()
    shown.canvas.evaluate("canvas => canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    expect(shown.page.locator(".map")).to_have_attribute("data-renderer", "canvas")
    assert np.abs(shown.pixels() - before).mean() < 0.2
    shown.page.get_by_role("radio", name="predicted").click()
    expect(shown.page.get_by_text("drawn with predicted")).to_be_visible()
    shown.page.mouse.click(*shown.at(*POSITIONS[1]))
    assert shown.acts(2)[1]["row"] == 1


# ---- on the page -----------------------------------------------------------------------------------------------------------
MARKS = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter(value => value).length"
"""How much is drawn on an overlay."""


def test_two_maps_side_by_side_share_the_selection_and_the_pointer(opened: Callable[..., Map]) -> None:
    shown = opened("maps=2", viewport={"width": 1900, "height": 800})
    other = shown.page.locator(".map").nth(1)
    overlay = other.locator("canvas.overlay")
    shown.lasso(2)
    [act] = shown.acts(1)
    assert (act["picture"], act["inside"]) == ("positions", members(2))
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
    act = shown.acts(2)[1]
    high = act["polygon"][0][1]
    assert (act["picture"], act["inside"]) == ("turned", np.flatnonzero(POSITIONS[:, 0] < high).tolist())
    shown.shows(len(act["inside"]))


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
