"""The whole road in a real browser: start, scores, lasso, review with keys, undo, refresh, export."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from oga_core import Run, Workspace, decisions, embedding, open_dataset, save_weights, score, train
from oga_core.data.examples import EXAMPLES
from oga_core.maps import pictures
from oga_core.review import Selection, default_selection, load_view, save_view, select_rows, standing_of
from oga_core.serving import Dashboard
from tests.browser.conftest import copy_run, picture, settled

StartServer = Callable[..., Dashboard]
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 210)}


def go(page: Page, title: str) -> None:
    settled(page)
    page.get_by_role("link", name=title).first.click()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    settled(page)


def message(page: Page) -> Locator:
    """What the page says of the last action."""
    return page.locator(".said")


def press(page: Page, key: str, said: str) -> None:
    """Press a key and wait until the page has answered it."""
    focused = page.locator(".tile.current").or_(page.locator(".place", has_text=" of "))
    expect(focused.first).to_be_visible()  # the component listens, and has a sample in focus
    before = message(page).inner_text() if message(page).count() else ""
    page.keyboard.press(key)
    expect(message(page)).to_contain_text(said)
    expect(message(page)).not_to_have_text(before)
    settled(page)


def only_run(workspace: Workspace) -> Run:
    (run,) = workspace.runs()
    return run


def lasso_right_half(page: Page) -> None:
    canvas = page.locator("canvas").first
    expect(canvas).to_be_visible()
    settled(page)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y, width, height = (box[k] for k in ("x", "y", "width", "height"))
    corners = [(0.55, 0.12), (0.98, 0.12), (0.98, 0.98), (0.55, 0.98), (0.55, 0.14)]
    page.mouse.move(x + corners[0][0] * width, y + corners[0][1] * height)
    page.mouse.down()
    for cx, cy in corners[1:]:
        page.mouse.move(x + cx * width, y + cy * height, steps=8)
    page.mouse.up()
    expect(page.get_by_role("button", name="Clear the lasso")).to_be_visible()
    settled(page)


def selected_count(page: Page) -> int:
    shown = page.locator("[data-testid=stMetric]", has_text="Selected samples").locator("[data-testid=stMetricValue]")
    return int(shown.inner_text().replace(",", ""))


def review_with_keys(page: Page, run: Run, rows: np.ndarray) -> None:
    """Decide on the first three of these rows of the table, by keys."""
    go(page, "Review")
    order = list(run.table["sample_id"].iloc[rows])
    page.get_by_role("textbox", name="Reviewer").fill("Ann Reviewer")
    page.get_by_role("textbox", name="Reviewer").press("Enter")
    settled(page)
    page.get_by_role("heading", name="Review", exact=True).click()
    press(page, "x", "Saved: remove")
    press(page, "a", "Saved: relabel")
    press(page, "k", "Saved: keep")
    press(page, "s", "Saved: unsure")
    press(page, "u", "Saved: undone")
    page.keyboard.press("ArrowRight")
    settled(page)
    picture(page, "review")
    stands = decisions(run)
    assert [stands[s].action for s in order[:3]] == ["remove", "relabel", "keep"]
    assert len(stands) == 3
    assert {d.reviewer for d in stands.values()} == {"Ann Reviewer"}
    assert stands[order[1]].new_label == run.table["suggested_label"].iloc[rows[1]]


def export_removed(page: Page, path: Path, sample_id: str) -> None:
    """Download the list of removed samples, in which there is one."""
    go(page, "Export")
    picture(page, "export")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    download.value.save_as(path)
    frame = pd.read_csv(path, keep_default_na=False)
    assert list(frame["sample_id"]) == [sample_id]
    assert list(frame["reviewer"]) == ["Ann Reviewer"]
    assert list(frame["status"]) == ["confirmed"]


def test_the_example_from_start_to_an_exported_file(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    page.goto(start_server().url)
    expect(page.get_by_role("heading", name="Find the training samples that hurt your model")).to_be_visible()
    settled(page)
    picture(page, "start")
    page.get_by_role("button", name=re.compile("Open this example")).first.click()
    expect(page.get_by_text(EXAMPLES["digits"].note)).to_be_visible()
    page.get_by_role("button", name=re.compile("Look at the scores")).click()
    run = only_run(workspace)
    assert run.summary.scored == 1797

    expect(page.locator(".js-plotly-plot").last).to_be_visible()
    settled(page)
    picture(page, "scores")
    expect(page.get_by_text("Recommended score:")).to_be_visible()
    assert selected_count(page) == len(select_rows(run, default_selection(run), standing_of(run), {})) > 0

    go(page, "Map")
    lasso_right_half(page)
    picture(page, "map")
    chosen = load_view(run, None)
    there = {name: embedding(run, *name.split("-")) for name in pictures(run)}
    expected = select_rows(run, chosen, standing_of(run), there)
    assert 0 < selected_count(page) == len(expected) < 1797

    review_with_keys(page, run, expected)
    page.reload()
    expect(page.get_by_text(re.compile(f"3 of {len(expected):,} decided")).first).to_be_visible()
    settled(page)
    assert selected_count(page) == len(expected)
    assert page.get_by_role("textbox", name="Reviewer").input_value() == "Ann Reviewer"
    page.get_by_role("button", name="Gallery").click()
    expect(page.locator(".tile img").first).to_have_js_property("complete", True)
    settled(page)
    picture(page, "gallery")

    export_removed(page, tmp_path / "removed.csv", run.table["sample_id"].iloc[expected[0]])


def colour_zip(path: Path) -> None:
    """150 small images in three classes by colour; four of them in the wrong folder, one of them no image."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(150):
            name = list(COLOURS)[i % 3]
            folder = list(COLOURS)[(i + 1) % 3] if i < 4 else name
            pixels = rng.normal(COLOURS[name], 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            archive.writestr(f"{folder}/{i:03d}.png", buffer.getvalue() if i != 10 else b"no image")


def test_an_uploaded_zip_of_images_with_weights(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    colour_zip(tmp_path / "colours.zip")
    trained = train(open_dataset(tmp_path / "colours.zip"), epochs=3)
    save_weights(trained.classifier, tmp_path / "colours.safetensors")
    page.goto(start_server().url)
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "colours.zip")
    page.get_by_text("My model", exact=True).click()
    expect(page.locator("input[type=file]")).to_have_count(2)
    page.locator("input[type=file]").nth(1).set_input_files(tmp_path / "colours.safetensors")
    expect(page.get_by_text("Which output of the model is which class")).to_be_visible()
    settled(page)
    picture(page, "start_upload")
    page.get_by_role("button", name=re.compile("Score the samples")).click()
    expect(page.get_by_text("Not scored (1)")).to_be_visible()
    run = only_run(workspace)
    assert run.summary.model_source == "weights colours.safetensors"
    assert (run.summary.scored, run.summary.not_scored) == (149, 1)
    go(page, "Map")
    lasso_right_half(page)
    go(page, "Review")
    press(page, "2", "Saved: relabel")
    (decision,) = decisions(run).values()
    assert decision.new_label in run.class_names
    go(page, "Export")
    page.get_by_role("combobox", name="What").click()
    page.get_by_role("option", name=re.compile("whole data")).click()
    settled(page)
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    frame = pd.read_csv(download.value.path(), keep_default_na=False)
    assert len(frame) == 150
    (changed,) = frame[frame["oga_status"] == "relabel"].to_dict("records")
    assert changed["label"] == decision.new_label
    assert not changed["source"].startswith(decision.new_label + "/")


ANIMALS = ("the cat purrs and sleeps on the sofa", "a dog barks at the postman", "the fish swims in its bowl of water")


def test_an_uploaded_table_of_texts(page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path) -> None:
    names = ("cat", "dog", "**fish** <img src=http://example.invalid/x.png> ![x](http://example.invalid/y.png)")
    rng = np.random.default_rng(0)
    with open(tmp_path / "animals.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for i in range(150):
            word = rng.choice(["today", "again", "slowly", "<b>now</b>", "![x](http://example.invalid/z.png)"])
            writer.writerow([f"{ANIMALS[i % 3]} {word} {i}", names[(i + (i < 5)) % 3]])
    page.goto(start_server().url)
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "animals.csv")
    page.get_by_text("all", exact=True).click()
    settled(page)
    picture(page, "start_scope")
    page.get_by_role("button", name=re.compile("Score the samples")).click()
    page.get_by_role("button", name=re.compile("Look at the scores")).click()
    run = only_run(workspace)
    assert run.summary.scope == "all"
    expect(page.locator(".js-plotly-plot").last).to_be_visible()
    settled(page)
    go(page, "Map")
    lasso_right_half(page)
    page.get_by_role("button", name="Clear the lasso").click()
    settled(page)
    go(page, "Review")
    picture(page, "review_text")
    first = run.flag("recommended", 1).iloc[0]
    text = open_dataset(tmp_path / "animals.csv").text(int(first["index"]))
    expect(page.get_by_text(text).first).to_be_visible()
    press(page, "x", "Saved: remove")
    go(page, "Export")
    page.get_by_role("combobox", name="Format").click()
    page.get_by_role("option", name="jsonl").click()
    settled(page)
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    frame = pd.read_json(download.value.path(), lines=True, dtype=False)
    assert list(frame["sample_id"]) == [first["sample_id"]]
    assert list(frame["label"]) == [first["label"]]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the colours: 149 samples scored."""
    folder = tmp_path_factory.mktemp("colours")
    colour_zip(folder / "colours.zip")
    dataset = open_dataset(folder / "colours.zip")
    return score(train(dataset, epochs=2).classifier, dataset, workspace=folder / "workspace")


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own."""
    return copy_run(scored, workspace)


def test_a_server_killed_in_the_middle_of_a_review_loses_nothing_it_called_saved(
    chromium: Browser, start_server: StartServer, workspace: Workspace, run: Run
) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    save_view(run, Selection("l1", flagged_only=False))
    saved = 0
    for keys in ("x", "xk", "ksx"):
        server = start_server(f"review?run={run.id}")
        page.goto(server.url)
        expect(page.get_by_text(re.compile(rf"{len(decisions(run))} of 149 decided")).first).to_be_visible()
        settled(page)
        for key in keys:
            press(page, key, "Saved")
            saved += 1
        page.keyboard.press("x")  # in the middle of this one
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert saved <= len(decisions(Workspace(workspace.path).run(run.id))) <= saved + 1
        saved = len(decisions(run))


def test_a_refresh_shows_the_same_sample_again(page: Page, start_server: StartServer, workspace: Workspace, run: Run) -> None:
    save_view(run, Selection("l1"))  # 5 %: 7 flagged
    page.goto(start_server(f"review?run={run.id}").url)
    expect(page.get_by_text("1 of 7")).to_be_visible()
    settled(page)
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        settled(page)
    expect(page.get_by_text("3 of 7")).to_be_visible()
    page.reload()
    expect(page.get_by_text("3 of 7")).to_be_visible()


def test_a_second_tab_sees_what_the_first_has_decided(
    page: Page, start_server: StartServer, workspace: Workspace, run: Run
) -> None:
    page.goto(start_server(f"?run={run.id}").url)
    go(page, "Review")
    press(page, "x", "Saved: remove")
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.get_by_text(re.compile(r"^1 of \d+ decided")).first).to_be_visible()
    settled(second)
    press(second, "k", "Saved: keep")
    press(page, "k", "Saved: keep")
    expect(page.locator(".pace")).to_have_text(re.compile(r"^[23] of"))
    assert len(decisions(run)) in (2, 3)


@pytest.mark.parametrize("host", ["evil.example", "169.254.1.1"])
def test_another_host_name_is_refused(start_server: StartServer, host: str) -> None:
    import urllib.error
    import urllib.request

    url = start_server().url
    for path in ("", "oga/image/x/0/160"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url + path, headers={"Host": host}))
        assert refused.value.code in (400, 403)
