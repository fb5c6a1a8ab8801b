"""Runs are deleted, put back and removed on Start, while other tabs have them open."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from oga_core import Run, Workspace
from oga_core.review import decide, decisions
from oga_core.serving import Dashboard
from tests.app.conftest import tinted_run
from tests.browser.conftest import picture, settled

StartServer = Callable[..., Dashboard]
LONG = "resnet50 fine-tuned on the street scenes of March with the second round of labels and all corrections <b>v7</b>.zip"


def run_in(workspace: Workspace, title: str) -> Run:
    return tinted_run(workspace, ["red", "green", "blue"], 60, 6, 8, title)


def list_on_start(page: Page, server: Dashboard) -> None:
    page.goto(server.url)
    expect(page.get_by_text("Earlier runs")).to_be_visible()
    settled(page)


def test_a_run_is_deleted_and_put_back_and_the_trash_is_emptied(
    page: Page, start_server: StartServer, workspace: Workspace
) -> None:
    kept, run = run_in(workspace, "kept"), run_in(workspace, LONG)
    decide(run, run.table.iloc[:12], "remove", reviewer="ann")
    decide(run, run.table.iloc[12:15], "keep", reviewer="bob")
    list_on_start(page, start_server())
    page.get_by_role("button", name="Delete").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(LONG)
    expect(dialog).to_contain_text("15 decisions by 2 reviewers were made in it")
    picture(page, "trash_question")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    settled(page)
    assert len(workspace.runs()) == 2

    page.get_by_role("button", name="Delete").first.click()
    dialog.get_by_role("button", name="Move to the trash").click()
    expect(page.get_by_text("is in the trash. Its decisions stay.")).to_be_visible()
    expect(page.get_by_text("Trash (1 run, ")).to_be_visible()
    assert [r.id for r in workspace.runs()] == [kept.id]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Trash (1 run, ")).to_have_count(0)
    assert len(workspace.runs()) == 2

    settled(page)
    page.get_by_role("button", name="Delete").first.click()
    dialog.get_by_role("button", name="Move to the trash").click()
    page.get_by_text("Trash (1 run, ").click()
    expect(page.get_by_role("button", name="Put back")).to_be_visible()
    for width in (700, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        settled(page)
        row = page.get_by_role("button", name="Put back").bounding_box()
        assert row is not None
        assert row["x"] + row["width"] < width
        picture(page, f"trash_{width}")
    page.get_by_role("button", name="Empty the trash").click()
    expect(dialog).to_contain_text("This removes 1 run (")
    dialog.get_by_role("button", name="Remove for good").click()
    expect(page.get_by_text("Trash (")).to_have_count(0)
    expect(page.get_by_role("button", name="Open", exact=True)).to_have_count(1)
    assert not run.path.exists()
    assert len(decisions(kept)) == 15


def test_a_review_of_a_run_that_is_deleted_meanwhile_says_so_and_goes_on_when_it_is_put_back(
    loose: Page, start_server: StartServer, workspace: Workspace
) -> None:
    run = run_in(workspace, "reviewed")
    address = f"{start_server().url.split('?')[0]}review?run={run.id}"
    loose.goto(address)
    place = loose.locator(".single .place").first
    expect(place).to_contain_text(" of ")
    settled(loose)
    workspace.delete([run.id])
    loose.keyboard.press("k")
    expect(loose.get_by_text("This run is in the trash").first).to_be_visible()
    assert decisions(run) == {}
    loose.goto(address)
    expect(loose.get_by_test_id("stAlert")).to_contain_text("This run is in the trash")
    expect(loose.get_by_role("link", name="Go to Start")).to_be_visible()
    workspace.undelete([run.id])
    loose.goto(address)
    expect(place).to_contain_text(" of ")
    settled(loose)
    loose.keyboard.press("k")
    for _ in range(50):
        if decisions(run):
            break
        loose.wait_for_timeout(100)
    assert [d.action for d in decisions(run).values()] == ["keep"]
