"""The page of the review, and a run to review."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from oga_core import Run, Workspace, decisions
from oga_core.review import Selection, save_view
from oga_core.serving import Dashboard
from tests.app.conftest import CLASSES, tinted_run
from tests.browser.conftest import copy_run, settled

StartServer = Callable[..., Dashboard]
SAMPLES = 150


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on 150 images in three classes with awkward names, 15 of them with a wrong label."""
    return tinted_run(Workspace(tmp_path_factory.mktemp("scored")), CLASSES, SAMPLES, 15, 12)


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own; all samples are selected, those of l1 first."""
    run = copy_run(scored, workspace)
    save_view(run, Selection("l1", flagged_only=False))
    return run


def order(run: Run) -> list[str]:
    """Sample ids, most suspicious first."""
    return [str(s) for s in run.table["sample_id"].iloc[run.ranked("l1")]]


def review(page: Page, server: Dashboard, run: Run) -> None:
    page.goto(f"{server.url.split('?')[0]}review?run={run.id}")
    expect(place(page)).to_have_text(re.compile(rf"\d+ of {SAMPLES}"))
    settled(page)


def place(page: Page) -> Locator:
    return page.locator(".single .place").first


def said(page: Page) -> Locator:
    return page.locator(".said")


def press(page: Page, key: str, words: str) -> None:
    """Press a key and wait for what is said of it."""
    said(page).evaluate("(e) => { e.textContent = '' }")
    page.keyboard.press(key)
    expect(said(page)).to_contain_text(words)


def at(page: Page, number: int) -> None:
    expect(place(page)).to_have_text(f"{number} of {SAMPLES}")


def gallery(page: Page) -> None:
    page.get_by_role("button", name="Gallery").click()
    expect(page.get_by_role("option").first).to_be_visible()


def ticked(page: Page) -> list[int]:
    tiles = page.locator(".tile[aria-selected=true]")
    return [int(p) for p in tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.place)")]


def current(page: Page) -> int:
    return int(page.locator(".tile.current").get_attribute("data-place") or -1)


def actions(run: Run) -> list[str]:
    """What stands, in the order of suspicion."""
    stands = decisions(run)
    return [str(stands[s]) for s in order(run) if s in stands]
