"""Makes the pictures of the README from the running program: ``python assets/make.py``, in the environment of the tests."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from oga_core import Run, Workspace, embedding
from oga_core.addresses import free_port
from oga_core.benchmarks.dashboard import chromium_path
from oga_core.scoring import do_run, prepare_example
from oga_core.serving import serve

HERE = Path(__file__).parent
SIZE: ViewportSize = {"width": 1440, "height": 1020}
MOVIE_WIDTH = 960
MARGIN = 44
"""Pixels round the points of a map that shows all of them."""
RADIUS = 0.05
FRAME = 0.2
"""Seconds a frame of the animated picture."""


def settled(page: Page) -> None:
    page.get_by_test_id("stApp").wait_for()
    page.wait_for_timeout(700)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSkeleton").first.wait_for(state="hidden")
    page.wait_for_timeout(500)


class Film:
    """Frames of the page, one every quarter of a second of what the viewer sees."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.lengths: list[int] = []

    def hold(self, seconds: float) -> None:
        """Show the page as it is for so long."""
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        shot.thumbnail((MOVIE_WIDTH, MOVIE_WIDTH), Image.Resampling.LANCZOS)
        self.frames.append(shot)
        self.lengths.append(round(1000 * seconds))

    def save(self, path: Path) -> None:
        self.frames[0].save(
            path, save_all=True, append_images=self.frames[1:], duration=self.lengths, loop=0, quality=60, method=6
        )
        print(f"{path.name}: {sum(self.lengths) / 1000:.0f} s, {path.stat().st_size / 1e6:.1f} MB")


def go(page: Page, title: str) -> None:
    page.get_by_role("link", name=title, exact=True).first.click()
    settled(page)


def odd_group(run: Run) -> tuple[np.ndarray, float]:
    """Middle and radius of the place on the map with the most flagged samples; 1 is half of the map's larger side."""
    positions = embedding(run)
    low, high = positions.min(axis=0), positions.max(axis=0)
    positions = (positions - (low + high) / 2) / (high - low).max() * 2
    flagged = positions[run.flagged(run.detectors[0].name, 0.05)]
    near = np.linalg.norm(flagged[:, None] - flagged, axis=2) < RADIUS
    return flagged[near[near.sum(axis=1).argmax()]].mean(axis=0), 1.4 * RADIUS


def lasso(page: Page, middle: np.ndarray, radius: float, between: Callable[[], None] = lambda: None) -> None:
    """Draw a lasso round a place of the map, whose larger side is taken to fill the height of the canvas."""
    box = page.locator(".map canvas").first.bounding_box()
    assert box is not None
    half, x, y = box["height"] / 2 - MARGIN, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    angles = np.linspace(0, 2 * np.pi, 9)
    points = [(x + half * (middle[0] + radius * np.cos(a)), y - half * (middle[1] + radius * np.sin(a))) for a in angles]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
        between()
    page.mouse.up()
    settled(page)


def tour(page: Page, film: Film, url: str, run: Run) -> None:
    """From the scores to the export, with a picture of three pages on the way."""
    page.goto(f"{url}scores?run={run.id}")
    settled(page)
    page.screenshot(path=HERE / "scores.png")
    film.hold(2.5)
    page.get_by_role("slider", name="Budget").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        settled(page)
        film.hold(0.8)
    go(page, "Map")
    page.wait_for_timeout(1500)
    film.hold(1.5)
    lasso(page, *odd_group(run), lambda: film.hold(FRAME))
    page.screenshot(path=HERE / "map.png")
    film.hold(2.5)
    page.get_by_role("button", name="Clear the lasso").click()
    settled(page)
    go(page, "Review")
    page.wait_for_timeout(800)
    page.screenshot(path=HERE / "review.png")
    film.hold(1.5)
    for key in "xaaxkaas":
        page.keyboard.press(key)
        page.wait_for_timeout(500)
        film.hold(0.7)
    page.get_by_role("button", name="Gallery").click()
    settled(page)
    film.hold(2.0)
    go(page, "Export")
    film.hold(2.5)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Workspace(folder)
        run = prepare_example(workspace, "digits")
        do_run(run)
        embedding(run)
        server = serve(workspace, port=free_port())
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            film = Film(page)
            started = time.monotonic()
            tour(page, film, server.url, run)
            film.save(HERE / "tour.webp")
            print(f"made in {time.monotonic() - started:.0f} s")
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
