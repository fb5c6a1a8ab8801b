"""Waiting times at the dashboard: a real server, a real Chromium without a screen, a run of many digits."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from oga_core.addresses import free_port
from oga_core.benchmarks.big_run import big_run
from oga_core.errors import InputError
from oga_core.maps import pictures
from oga_core.progress import Progress, silent
from oga_core.review import Selection, save_view
from oga_core.runs import Run, Workspace
from oga_core.serving import serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = (10_000, 100_000, 1_000_000)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = ("Scores", "Map", "Review", "Export")
PATIENCE = 60_000
"""Milliseconds until a thing that does not happen is an error."""
JOB = 600_000
"""The same for what a job computes."""

_CLOCK = """(event) => {
    const parts = (selector, root = document) => {
        const found = [...root.querySelectorAll(selector)]
        for (const host of root.querySelectorAll("*")) if (host.shadowRoot) found.push(...parts(selector, host.shadowRoot))
        return found
    }
    const text = (selector) => parts(selector).map((part) => part.textContent).join("|")
    const begun = () => !event || window.ogaBegan !== undefined
    const before = (() => { %(before)s })()
    window.ogaBegan = undefined
    if (event) window.addEventListener(event, () => { window.ogaBegan ??= performance.now() }, { capture: true })
    const made = performance.now()
    window.ogaClock = new Promise((resolve, reject) => {
        const check = () => {
            if (performance.now() - made > %(patience)d) reject(new Error(`this has not become true: ${%(told)s}`))
            else if (begun() && (() => { %(done)s })()) {
                requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - (event ? window.ogaBegan : made)), 0))
            } else setTimeout(check, 4)
        }
        check()
    })
}"""
"""Starts a clock in the page: from an event to the frame in which something is true."""


@dataclass(frozen=True)
class Wait:
    """One thing that is waited for: seconds of each try."""

    what: str
    samples: int
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure(samples: int, *, repeats: int = 7, keep: Path | None = None, progress: Progress = silent) -> list[dict[str, Any]]:
    """Medians of what is waited for with so many samples, and the memory of the server.

    Parameters
    ----------
    samples
        Size of the run.
    repeats
        Tries of each.
    keep
        A workspace whose run of that size is used again, or made; a new one, thrown away, where it is None.

    Returns
    -------
    A row a thing: ``what``, ``samples``, ``median`` and ``most`` in seconds; of memory in gigabytes: of the server before a run
    is opened, and what the visit adds.

    Raises
    ------
    InputError
        Without Chromium or playwright.
    """
    path = chromium_path()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError("this needs playwright: pip install 'oga-core[test]'") from error
    if path is None:
        raise InputError("this needs Chromium (Debian's package chromium)")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(keep or folder)
        run = _run(workspace, samples, progress)
        save_view(run, Selection(run.detectors[0].name, 0.05, flagged_only=False))
        server = serve(workspace, port=free_port())
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                page.set_default_timeout(PATIENCE)
                try:
                    page.goto(server.url)
                    page.locator("h1").wait_for()
                    idle = _memory(server.process.pid)
                    waits = _Visit(page, server.url, run, samples, repeats, progress).all()
                finally:
                    browser.close()
            memory = {"server without a run, GB": idle, "added by the session, GB": _memory(server.process.pid) - idle}
            return [
                *({"what": w.what, "samples": samples, "median": w.median, "most": max(w.seconds)} for w in waits),
                *({"what": what, "samples": samples, "median": size, "most": size} for what, size in memory.items()),
            ]
        finally:
            server.stop()


def chromium_path() -> str | None:
    """Path of the browser of this machine, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a column for each number of samples."""
    sizes = sorted({row["samples"] for row in rows})
    cells = {(row["what"], row["samples"]): f"{row['median']:.2f}" for row in rows}
    lines = ["| median, seconds | " + " | ".join(f"{n:,}" for n in sizes) + " |", "|-" * (len(sizes) + 1) + "|"]
    for what in dict.fromkeys(row["what"] for row in rows):
        lines.append(f"| {what} | " + " | ".join(cells.get((what, n), "") for n in sizes) + " |")
    return "\n".join(lines)


def _run(workspace: Workspace, samples: int, progress: Progress) -> Run:
    there = [run for run in workspace.runs() if run.status().state == "done" and run.summary.samples == samples]
    return there[0] if there else big_run(workspace, samples, progress=progress)


class _Visit:
    """One visit to the dashboard with a stopwatch."""

    def __init__(self, page: Page, url: str, run: Run, samples: int, repeats: int, progress: Progress) -> None:
        self.page, self.url, self.run, self.samples, self.repeats, self.progress = page, url, run, samples, repeats, progress

    def all(self) -> list[Wait]:
        maps = (self.first_map, self.umap) if not pictures(self.run) else (self.open_map,)
        steps = (*maps, self.lasso, self.threshold, self.key, self.page_change)
        found = []
        for done, step in enumerate(steps):
            self.progress(f"dashboard with {self.samples:,} samples", done, len(steps))
            found.append(step())
        self.progress(f"dashboard with {self.samples:,} samples", len(steps), len(steps))
        return found

    def first_map(self) -> Wait:
        """From the click on Map to the first picture, which is computed."""
        return Wait("first map", self.samples, [self._map()])

    def open_map(self) -> Wait:
        """The same where the maps have been computed before."""
        return Wait("first map, already computed", self.samples, [self._map()])

    def _map(self) -> float:
        self.page.goto(f"{self.url}export?run={self.run.id}")
        self._quiet()
        return self._timed("click", "", "return parts('.map[data-renderer]').length > 0", partial(self._go, "Map"))

    def umap(self) -> Wait:
        """From the first picture to UMAP in its place, which a job computes meanwhile."""
        seconds = self._timed("", "", "return document.body.textContent.includes('UMAP of the gradients')", lambda: None, JOB)
        return Wait("first map → UMAP", self.samples, [seconds])

    def lasso(self) -> Wait:
        """From the release of a lasso on the map to the tiles of its samples below."""
        self._quiet()
        box = self.page.locator(".map canvas").first.bounding_box()
        assert box is not None
        tiles = "parts('.triage .tile img').map((image) => image.src + image.complete).join()"
        seconds = []
        for i in range(self.repeats):
            self._quiet()
            x, y = box["x"] + box["width"] * (0.1 + 0.4 * (i % 2)), box["y"] + box["height"] * (0.1 + 0.03 * i)
            width, height = box["width"] * 0.4, box["height"] * 0.5
            self.page.mouse.move(x, y)
            self.page.mouse.down()
            for dx, dy in ((1, 0), (1, 1), (0, 1)):
                self.page.mouse.move(x + dx * width, y + dy * height, steps=3)
            seconds.append(
                self._timed(
                    "pointerup",
                    f"window.ogaTiles = {tiles}",
                    f"const now = {tiles}; return now !== window.ogaTiles && !now.includes('false')",
                    self.page.mouse.up,
                )
            )
        return Wait("lasso released → gallery", self.samples, seconds)

    def threshold(self) -> Wait:
        """From a key on the budget to counts, histogram and gallery."""
        self.page.goto(f"{self.url}scores?run={self.run.id}")
        seconds = []
        self._quiet()
        self.page.get_by_role("button", name="Reset").click()
        for i in range(self.repeats):
            self._quiet()
            self.page.get_by_role("slider", name="Budget").focus()
            count, line = "text('[data-testid=stMetricValue]')", "text('.annotation-text')"
            seconds.append(
                self._timed(
                    "keydown",
                    f"window.ogaCounts = [{count}, {line}]",
                    f"return {count} !== window.ogaCounts[0] && {line} !== window.ogaCounts[1]",
                    partial(self.page.keyboard.press, "ArrowRight" if i % 2 else "ArrowLeft"),
                )
            )
        return Wait("threshold moved → counts, histogram, gallery", self.samples, seconds)

    def key(self) -> Wait:
        """From a key to "saved" and the next sample on the screen."""
        self.page.goto(f"{self.url}review?run={self.run.id}")
        self.page.locator(".triage .single b.place").wait_for()
        self._quiet()
        seconds = []
        for i in range(3 * self.repeats):
            place = "text('.triage .single b.place')"
            seconds.append(
                self._timed(
                    "keydown",
                    f"window.ogaPlace = {place}",
                    f"return {place} !== window.ogaPlace && /^Saved/.test(text('.triage .said'))",
                    partial(self.page.keyboard.press, "xks"[i % 3]),
                )
            )
            self.page.wait_for_timeout(150)
        return Wait("key pressed → saved and next sample", self.samples, seconds)

    def page_change(self) -> Wait:
        """From the click on a page's name to the page."""
        seconds = []
        for i in range(self.repeats + 1):
            title = PAGES[i % len(PAGES)]
            self._quiet()
            taken = self._timed(
                "click",
                "",
                f"return text('h1').includes('{title}') && parts('[data-stale=true]').length === 0"
                " && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'",
                partial(self._go, title),
            )
            seconds.append(taken)
        return Wait("change of page", self.samples, seconds[1:])

    def _go(self, title: str) -> None:
        self.page.get_by_role("link", name=title, exact=True).first.click()

    def _timed(self, event: str, before: str, done: str, action: Callable[[], object], patience: int = PATIENCE) -> float:
        self.page.evaluate(_CLOCK % {"before": before, "done": done, "patience": patience, "told": json.dumps(done)}, event)
        action()
        return float(self.page.evaluate("window.ogaClock")) / 1000

    def _quiet(self) -> None:
        """Wait until the script has ended and the page has been still for a while."""
        self.page.get_by_test_id("stApp").wait_for()
        self.page.wait_for_timeout(300)
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.wait_for_timeout(500)


def _memory(pid: int) -> float:
    """Resident memory of a process, in gigabytes."""
    return psutil.Process(pid).memory_info().rss / 1e9
