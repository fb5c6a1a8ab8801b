"""A server with nothing but the embedding map, and the map on its page."""

from __future__ import annotations

import io
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
from PIL import Image
from playwright.sync_api import Browser, expect

from oga_core.addresses import free_port
from tests.browser.conftest import settled

ROOT = Path(__file__).resolve().parents[2]
MARGIN = 44  # that the map leaves around the points
PAGE = """
import json
from pathlib import Path
import numpy as np
import streamlit as st
from app.components.embedding_map import PALETTE, SEQUENTIAL, Card, Colours, Picture, embedding_map, take_action
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
    while action := take_action(key, n):
        if action.mode == "isolate":
            state.isolated = list(action.codes)
        hit = np.zeros(n, bool) if action.polygon is None else inside(data[action.picture], action.polygon)
        if action.row is not None:
            hit[action.row] = True
        if action.mode != "isolate":
            state.selected = {"add": state.selected | hit, "subtract": state.selected & ~hit}.get(action.mode, hit)
            state.polygons = {key: action.polygon}
        line = dict(
            mode=action.mode, row=action.row, polygon=action.polygon, picture=action.picture, codes=action.codes, by=action.by,
            inside=np.flatnonzero(hit).tolist(), selected=np.flatnonzero(state.selected).tolist(),
        )
        with (HERE / "actions.jsonl").open("a") as log:
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

    def actions(self, count: int) -> list[dict[str, Any]]:
        """What Python got, once there are so many actions."""
        eventually(lambda: self.log.exists() and len(self.log.read_text().splitlines()) >= count)
        self.page.wait_for_timeout(300)  # a second delivery of the same action would come now
        actions = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert len(actions) == count
        return actions

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
        (folder / "actions.jsonl").unlink(missing_ok=True)
        context = {"viewport": {"width": 1280, "height": 800}, **context}
        page = chromium.new_context(**context).new_page()
        page.add_init_script(script)
        shown = Map(page, folder / "actions.jsonl")
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
