"""A real server on a workspace of its own, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from oga_core import Run, Workspace
from oga_core.addresses import free_port
from oga_core.benchmarks.dashboard import chromium_path
from oga_core.serving import Dashboard, serve

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=90_000)
SCREENSHOTS = Path(__file__).with_name("screenshots") if os.environ.get("OGA_SCREENSHOTS") else None
"""Where screenshots are saved; no test reads them, so that they are taken only where a person wants to look at them."""


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; in CI a missing one is a failure, not a skip. It is closed before tests outside this folder run.

    Playwright has an asyncio loop in this thread, in which a test could not start another.
    """
    path = chromium_path()
    if path is None:
        reason = "no Chromium on this machine (Debian's package chromium)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def copy_run(run: Run, workspace: Workspace) -> Run:
    """Copy a run that several tests share, with its workspace; what a test does to the copy no other test sees."""
    shutil.copytree(run.workspace.path, workspace.path, dirs_exist_ok=True)
    return workspace.run(run.id)


@pytest.fixture
def start_server(workspace: Workspace) -> Iterator[Callable[..., Dashboard]]:
    """Starts a server on the workspace; all of them are ended with the test."""
    started: list[Dashboard] = []

    def start(page: str = "", **options: Any) -> Dashboard:
        started.append(serve(workspace, port=free_port(), page=page, **options))
        return started[-1]

    yield start
    for dashboard in started:
        dashboard.stop()


@pytest.fixture
def page(chromium: Browser, start_server: Callable[..., Dashboard]) -> Iterator[Page]:
    """A page that fails the test if a request leaves this machine or the console shows an error; closed before the servers."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(120_000)
    wrong: list[str] = []
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else None)
    # After a reload below the root Streamlit asks for its own settings there first, and is told 404; a file may be refused, and a
    # name asked for (428).
    expected = ("/_stcore/", "/oga/upload")

    def hear(message: ConsoleMessage) -> None:
        url = message.location["url"]
        if message.type == "error" and not any(part in url for part in expected) and "428" not in message.text:
            wrong.append(f"{message.text} {url}")

    page.on("console", hear)
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def loose(chromium: Browser) -> Iterator[Page]:
    """A page on which requests may fail."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


QUIET = """() => new Promise(done => {
    let timer = setTimeout(done, 400)
    const observer = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(done, 400) })
    observer.observe(document.body, { subtree: true, childList: true, characterData: true })
})"""


def settled(page: Page) -> None:
    """Wait until the script has run to its end and the page has not changed for a while."""
    page.get_by_test_id("stApp").wait_for()
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.evaluate(QUIET)


def picture(page: Page, name: str) -> None:
    """Save a screenshot, light and dark, if ``OGA_SCREENSHOTS`` is set."""
    if SCREENSHOTS is None:
        return
    SCREENSHOTS.mkdir(exist_ok=True)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)
        page.screenshot(path=SCREENSHOTS / f"{name}_{scheme}.png")
