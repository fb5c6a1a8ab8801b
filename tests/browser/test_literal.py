"""A data set in which every string would be something else if it were read as Markdown, HTML, a formula or an icon."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from oga_core import Run, Workspace, decide
from oga_core.review import Selection, name_view, save_view
from oga_core.scoring import do_run, prepare
from oga_core.serving import Dashboard
from tests.browser.conftest import picture, settled

StartServer = Callable[..., Dashboard]
HOSTILE = (
    "![x](http://evil.test/a.png)",
    "<img src=http://evil.test/b.png>",
    '<a href="http://evil.test/c">look</a>',
    ":material/home: :red[y] **z** $x$ %{x} &amp; 'q'",
    "=1+1",
    "javascript:alert(1)",
    "http://evil.test/d.png",
)
IN_FILES = "![n](evil.test) <b>n<:b>"
"""A file's name, in which there can be no slash."""
READ_AS = "img[src*=evil], a[href*=evil]:not([href^='#']), a[href^=javascript], [style*=evil], iframe, object, embed"


def hostile_table(folder: Path) -> Path:
    path = folder / f"{IN_FILES}.csv"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for i in range(len(HOSTILE) * 12):
            own = HOSTILE[i % len(HOSTILE)]
            writer.writerow([f"{own} {own} number {i}", HOSTILE[(i + (i % 11 == 0)) % len(HOSTILE)]])
    return path


def hostile_zip(folder: Path) -> Path:
    path, rng = folder / f"{IN_FILES}.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(60):
            buffer = io.BytesIO()
            Image.fromarray(rng.normal(60 + 120 * (i % 2), 20, (8, 8, 3)).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
            label = ("![f](evil.test)", "<img src=http:evil.test>")[(i + (i < 3)) % 2]
            archive.writestr(f"{label}/{i} {IN_FILES}.png", buffer.getvalue())
        archive.writestr(f"![f](evil.test)/broken {IN_FILES}.png", b"no image")
    return path


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path) -> Run:
    """The table, scored; two reviewers of hostile names disagree, and a view has a hostile name."""
    run = prepare(workspace, hostile_table(tmp_path), folds=0, title=IN_FILES)
    do_run(run)
    for reviewer in HOSTILE[:2]:
        decide(run, run.table.iloc[:20], "relabel", reviewer=reviewer, new_label=HOSTILE[len(reviewer) % 2])
    save_view(run, Selection("l1", flagged_only=False))
    name_view(run, HOSTILE[1], Selection("l1", flagged_only=False))
    return run


def read_as_nothing(page: Page) -> None:
    settled(page)
    assert page.locator(READ_AS).evaluate_all("found => found.map((e) => e.outerHTML.slice(0, 200))") == []


def shows(page: Page, text: str) -> None:
    """The string stands on the page as it is."""
    expect(page.get_by_text(text, exact=False).first).to_be_attached()


def check_start(page: Page) -> None:
    expect(page.get_by_role("heading", name=IN_FILES)).to_be_visible()
    page.get_by_text("and the model's outputs").click()
    read_as_nothing(page)


def check_histogram(page: Page) -> None:
    page.get_by_text("given label", exact=True).first.click()
    chart = page.locator(".js-plotly-plot").last
    expect(chart.locator(".legendtext")).to_have_count(len(HOSTILE))
    assert sorted(chart.locator(".legendtext").all_text_contents()) == sorted(HOSTILE)
    settled(page)
    chart.scroll_into_view_if_needed()
    plane = chart.locator(".nsewdrag").bounding_box()
    left = chart.locator(".bars .point").first.bounding_box()
    assert plane is not None
    assert left is not None
    page.mouse.move(left["x"] + left["width"] / 2 - 1, plane["y"] + plane["height"] - 6)
    page.mouse.move(left["x"] + left["width"] / 2, plane["y"] + plane["height"] - 6, steps=4)
    hover = chart.locator(".hoverlayer .name")
    expect(hover).to_be_attached()
    assert hover.text_content() in HOSTILE


def check_scores(page: Page) -> None:
    settled(page)
    page.get_by_role("button", name="Views").click()
    shown = HOSTILE[1].replace("//", "\u2060//")  # so that no link is made of the address
    expect(page.get_by_role("button", name=shown)).to_have_text(shown)
    page.keyboard.press("Escape")
    check_histogram(page)
    page.get_by_text("Evidence").click()
    for field in ("Given label", "Predicted"):
        page.get_by_role("combobox", name=field).click()
        expect(page.get_by_role("option").filter(has_text=HOSTILE[-1])).to_be_visible()
        assert set(HOSTILE) <= {option.strip() for option in page.get_by_role("option").all_inner_texts()}
        page.get_by_role("option").filter(has_text=HOSTILE[0]).click()
        page.keyboard.press("Escape")
        settled(page)
    shows(page, HOSTILE[0])
    read_as_nothing(page)
    picture(page, "literal_scores")


def check_map(page: Page) -> None:
    expect(page.locator("canvas").first).to_be_visible()
    settled(page)
    for name in HOSTILE:
        shows(page, name)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    read_as_nothing(page)
    picture(page, "literal_map")


def check_review(page: Page, run: Run) -> None:
    expect(page.locator(".triage .single")).to_be_visible()
    settled(page)
    page.get_by_text("Agreement of the reviewers").click()
    shows(page, run.open_dataset().text(int(run.table["index"].iloc[0]))[:20])
    for name in HOSTILE:
        shows(page, name)  # the buttons of the classes
    page.keyboard.press("?")
    read_as_nothing(page)
    picture(page, "literal_review")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Gallery").click()
    read_as_nothing(page)


def check_export(page: Page) -> None:
    expect(page.get_by_role("heading", name="Export", exact=True)).to_be_visible()
    page.get_by_role("combobox", name="What").click()
    page.get_by_role("option", name="relabel").first.click()
    read_as_nothing(page)
    page.get_by_test_id("stDataFrame").first.hover()
    expect(page.get_by_role("button", name="Search").first).to_be_visible()
    expect(page.locator("[aria-label^='Download as CSV']").first).to_be_hidden()  # Streamlit's own has the formulas in it
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    with open(download.value.path(), newline="", encoding="utf-8") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert any(HOSTILE[0] in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith("=")]


def test_no_page_reads_a_string_of_the_data_as_anything_but_letters(page: Page, start_server: StartServer, run: Run) -> None:
    url = start_server().url
    page.goto(f"{url}?run={run.id}")
    check_start(page)
    page.goto(f"{url}scores?run={run.id}")
    check_scores(page)
    page.goto(f"{url}map?run={run.id}")
    check_map(page)
    page.goto(f"{url}review?run={run.id}")
    check_review(page, run)
    page.goto(f"{url}export?run={run.id}")
    check_export(page)


def test_hostile_names_of_folders_and_files_are_letters_too(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    run = prepare(workspace, hostile_zip(tmp_path), folds=0)
    do_run(run)
    save_view(run, Selection("l1", flagged_only=False))
    url = start_server().url
    for path in ("", "scores", "map", "review", "export"):
        page.goto(f"{url}{path}?run={run.id}")
        read_as_nothing(page)
        if path == "review":
            shows(page, IN_FILES + ".png")
            shows(page, "<img src=http:evil.test>")
    page.goto(f"{url}?run={run.id}")
    page.get_by_text("Not scored (1)").click()
    read_as_nothing(page)
