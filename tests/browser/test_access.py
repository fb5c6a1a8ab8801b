"""Everybody can use it: axe-core finds nothing serious on any page, light or dark, and all is reached by the keyboard."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from oga_core import Run, Workspace
from oga_core.data.examples import EXAMPLES, LIBRARIES
from oga_core.scoring import do_run, prepare
from oga_core.serving import Dashboard
from tests.browser.conftest import settled

StartServer = Callable[..., Dashboard]
PAGES = ["", "scores", "map", "review", "influence", "export"]
ABOUT = (
    "Return the sum of an array over an axis",
    "Read a table from a file into a frame",
    "Fit a distribution to the observations",
    "Predict the class of each sample",
    "Apply a linear layer to a batch",
)


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path) -> Run:
    """Texts in five classes, a tenth of them with a wrong label, scored and with a recommendation, as the docstrings are."""
    with open(tmp_path / "texts.csv", "w", newline="", encoding="utf-8") as handle:
        rows = [(f"{ABOUT[i % 5]}, sentence {i}", list(LIBRARIES)[(i + (i % 10 == 0)) % 5]) for i in range(150)]
        csv.writer(handle).writerows([("text", "label"), *rows])
    example = EXAMPLES["docstrings"]
    run = prepare(workspace, tmp_path / "texts.csv", title=example.title, notes=[example.note], epochs=5)
    do_run(run)
    assert run.recommendation is not None
    return run


def serious(page: Page) -> list[str]:
    """What axe-core holds against the page: rule, help and the elements, of serious and critical findings."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{v['id']} ({v['help']}): {' | '.join(str(node['html'])[:200] for node in v['nodes'][:6])}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def test_axe_finds_nothing_serious_on_any_page(page: Page, start_server: StartServer, run: Run) -> None:
    url = start_server().url
    found: list[str] = []
    for path in PAGES:
        page.goto(f"{url}{path}?run={run.id}")
        settled(page)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(500)
            found += [f"{path or 'start'}, {scheme}: {wrong}" for wrong in serious(page)]
    page.goto(url)
    settled(page)
    found += [f"start without a run: {wrong}" for wrong in serious(page)]
    page.get_by_text("Upload", exact=True).click()
    page.get_by_role("button", name="Data: choose a file").wait_for()
    page.mouse.move(0, 0)
    settled(page)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(500)
        found += [f"start, files, {scheme}: {wrong}" for wrong in serious(page)]
    assert not found, "\n".join(found)
