"""The page with the maps in a browser: the first picture at once, UMAP after it, two maps and one selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

from oga_core import Run, Workspace, embedding, from_arrays, score
from oga_core.maps import do_map, pictures
from oga_core.progress import silent
from oga_core.review import Selection, load_view, select_rows, standing_of
from oga_core.serving import Dashboard
from tests.browser.conftest import copy_run, picture, settled

StartServer = Callable[..., Dashboard]
MADE = "(globalThis.ogaMaps.maps.size, [...globalThis.ogaMaps.maps].map(map => map.mark ??= Math.random()))"
"""Marks every map that is drawn, to know it again."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """300 points in three classes, a few with a wrong label, by a model that knows their means."""
    rng = np.random.default_rng(0)
    true = np.arange(300) % 3
    samples = (3 * np.eye(3)[true] + rng.normal(size=(300, 3))).astype(np.float32)
    labels = np.where(np.arange(300) < 20, (true + 1) % 3, true)
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.copy_(2 * torch.eye(3))
        model.bias.zero_()
    dataset = from_arrays(samples, labels, ["red", "green", "blue"])
    return score(model, dataset, workspace=tmp_path_factory.mktemp("points"), detectors="l1,l2")


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own."""
    return copy_run(scored, workspace)


def draw_box(page: Page, which: int = 0) -> None:
    """Draw a box around the right half of a map."""
    shown = page.locator(".map").nth(which)
    shown.get_by_role("button", name="Box").click()
    box: Any = shown.locator(".surface").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4, steps=5)
    page.mouse.up()
    expect(page.get_by_role("button", name="Clear the lasso")).to_be_visible()
    settled(page)


def chosen(page: Page, run: Run) -> Selection:
    """The selection that the URL names."""
    return load_view(run, parse_qs(urlsplit(page.url).query)["view"][0])


def chosen_rows(page: Page, run: Run) -> list[int]:
    there = {name: embedding(run, *name.split("-")) for name in pictures(run)}
    return select_rows(run, chosen(page, run), standing_of(run), there).tolist()


def counts(page: Page) -> list[str]:
    return [count.inner_text() for count in page.locator(".count").all()]


def test_from_the_first_picture_to_two_maps_of_one_selection(page: Page, start_server: StartServer, run: Run) -> None:
    page.goto(f"{start_server().url}map?run={run.id}")
    expect(page.get_by_text("Principal components of the gradients")).to_be_visible()
    expect(page.locator(".map")).to_have_attribute("data-renderer", "canvas")
    settled(page)
    marks = page.evaluate(MADE)
    draw_box(page)
    rows = chosen_rows(page, run)
    assert 0 < len(rows) < 300
    assert counts(page) == [f"{len(rows)} selected of 300 samples"]
    assert page.evaluate(MADE) == marks  # drawn again, not made anew

    show = page.get_by_role("button", name="Show UMAP")
    expect(show).to_be_visible()
    assert chosen_rows(page, run) == rows
    show.click()
    expect(page.get_by_text("UMAP of the gradients")).to_be_visible()
    settled(page)
    assert counts(page) == [f"{len(rows)} selected of 300 samples"]
    assert page.evaluate(MADE) == marks

    page.get_by_role("radio", name="Both").click()
    expect(page.locator(".map[data-renderer]")).to_have_count(2)
    expect(page.get_by_text("UMAP of the features")).to_be_visible()
    settled(page)
    picture(page, "map_both")
    draw_box(page, 1)
    rows = chosen_rows(page, run)
    assert chosen(page, run).lassos[-1][2] == "features-umap"
    assert counts(page) == 2 * [f"{len(rows)} selected of 300 samples"]
    page.locator(".legend").first.get_by_role("button", name="green").click()
    settled(page)
    expect(page.locator(".legend").nth(1).get_by_role("button", name="green")).to_have_attribute("aria-pressed", "true")
    assert chosen(page, run).labels == ("green",)
    assert counts(page) == 2 * [f"{len(chosen_rows(page, run))} selected of 300 samples"]


def test_the_progress_of_a_job_is_followed_without_a_run_of_the_page_and_its_end_brings_the_map(
    page: Page, start_server: StartServer, run: Run
) -> None:
    embedding(run, method="pca")
    with run.job("map").track(silent) as report:  # in this process, at our pace
        page.goto(f"{start_server().url}map?run={run.id}")
        line = page.get_by_role("progressbar", name="UMAP")
        for done in (7, 40):
            report("layout", done, 100)
            expect(line).to_have_attribute("aria-valuetext", f"UMAP: {done} %, layout")
        mark = page.evaluate(MADE)
        report("placing the other samples", 63, 100)
        expect(page.get_by_text("UMAP: 63 %, placing the other samples")).to_be_visible()
        assert page.evaluate(MADE) == mark
        picture(page, "map_waits")
        page.get_by_role("link", name="Review", exact=True).click()
        expect(page.get_by_role("button", name="Keep")).to_be_visible()
        page.get_by_role("link", name="Map", exact=True).click()
        expect(page.get_by_text("UMAP: 63 %, placing the other samples")).to_be_visible()
        settled(page)
        mark = page.evaluate(MADE)
    do_map(run)
    expect(page.get_by_text("UMAP of the gradients")).to_be_visible()
    settled(page)
    assert page.evaluate(MADE) == mark
