"""The review in a real browser: every key, ticks, the gallery, bulk decisions and undo."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from oga_core import Run, decisions
from oga_core.review import Selection, save_view
from tests.app.conftest import CLASSES
from tests.browser.conftest import picture, settled
from tests.browser.review_page import (
    SAMPLES,
    StartServer,
    actions,
    at,
    current,
    gallery,
    order,
    place,
    press,
    review,
    run,
    said,
    scored,
    ticked,
)

__all__ = ["run", "scored"]


def test_every_key_does_what_it_says(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    at(page, 1)
    for key, words in (("k", "Saved: keep"), ("x", "Saved: remove"), ("s", "Saved: unsure"), ("a", "Saved: relabel to")):
        press(page, key, words)
    at(page, 5)
    rows = run.ranked("l1")
    suggested = run.table["suggested_label"].iloc[rows[3]]
    assert actions(run) == ["keep", "remove", "unsure", f"relabel to {suggested}"]

    given = run.table["label"].iloc[rows[4]]
    press(page, str(CLASSES.index(given) + 1), "The given label is")
    at(page, 5)
    other = next(c for c in CLASSES if c != given)
    press(page, str(CLASSES.index(other) + 1), f"Saved: relabel to {other}")
    assert decisions(run)[order(run)[4]].new_label == other

    for number in (5, 4, 3, 2, 1):  # the undone sample is shown again
        press(page, "u", "Saved: undone, 1 sample")
        at(page, number)
    press(page, "u", "Nothing is left to undo")
    assert actions(run) == []
    for number in (1, 2, 3, 4, 5):
        press(page, "Shift+U", "Saved: done again, 1 sample")
        at(page, number)
    press(page, "Shift+U", "Nothing is left to do again")
    assert len(actions(run)) == 5
    expect(page.get_by_test_id("stSidebar").get_by_text(f"5 of {SAMPLES} decided")).to_be_visible()

    page.keyboard.press("ArrowRight")
    at(page, 6)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    at(page, 4)
    press(page, "k", "Saved: keep")
    at(page, 6)  # the next that is undecided
    page.keyboard.press("g")
    expect(page.get_by_role("listbox", name="Samples")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    assert len(actions(run)) == 5
    page.keyboard.press("Enter")
    at(page, 6)


def test_keys_work_wherever_the_focus_is_but_where_one_types(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    page.get_by_role("button", name="Gallery").focus()
    press(page, "k", "Saved: keep")
    page.get_by_text("Flagged samples only").click()  # a switch of the sidebar
    settled(page)
    page.get_by_text("Flagged samples only").click()
    settled(page)
    press(page, "x", "Saved: remove")
    page.get_by_role("textbox", name="Reviewer").fill("")
    page.get_by_role("textbox", name="Reviewer").press_sequentially("Max kxs")
    page.get_by_role("textbox", name="Reviewer").press("Enter")
    settled(page)
    assert actions(run) == ["keep", "remove"]
    page.get_by_role("heading", name="Review", exact=True).click()
    for key in ("Control+k", "Alt+x"):
        page.keyboard.press(key)
    page.keyboard.down("s")
    for _ in range(5):  # held
        page.keyboard.down("s")
    page.keyboard.up("s")
    expect(said(page)).to_contain_text("Saved: unsure")
    settled(page)
    assert actions(run) == ["keep", "remove", "unsure"]
    assert decisions(run)[order(run)[2]].reviewer == "Max kxs"


def test_ticks_and_ranges_are_decided_in_one_step(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    gallery(page)
    expect(page.get_by_role("option")).to_have_count(60)
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert ticked(page) == [0, 2]
    page.keyboard.press("Escape")
    assert ticked(page) == []
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert ticked(page) == [2, 3, 4]
    page.keyboard.press("Shift+ArrowLeft")
    assert ticked(page) == [2, 3]
    page.get_by_role("option").nth(6).click()
    page.get_by_role("option").nth(9).click(modifiers=["Shift"])
    assert ticked(page) == [2, 3, 6, 7, 8, 9]
    page.get_by_role("option").nth(7).click(modifiers=["Control"])
    assert ticked(page) == [2, 3, 6, 8, 9]
    page.get_by_role("option").nth(0).locator(".tick").click()
    assert ticked(page) == [0, 2, 3, 6, 8, 9]
    press(page, "x", "Saved: remove, 6 samples")
    assert ticked(page) == []
    assert set(decisions(run)) == {order(run)[i] for i in (0, 2, 3, 6, 8, 9)}
    expect(page.get_by_role("option").nth(6)).to_have_accessible_name(re.compile("remove$"))
    page.keyboard.press("Control+a")
    assert ticked(page) == list(range(60))
    press(page, "a", "Saved: relabel to the suggested labels, 60 samples")
    suggested = run.table["suggested_label"].iloc[run.ranked("l1")[:60]]
    assert [decisions(run)[s].new_label for s in order(run)[:60]] == list(suggested)
    press(page, "u", "Saved: undone, 60 samples")
    assert len(decisions(run)) == 6
    press(page, "u", "Saved: undone, 6 samples")
    assert not decisions(run)
    assert current(page) == 0


def test_the_gallery_turns_pages_and_opens_samples(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    gallery(page)
    page.keyboard.press("ArrowDown")
    below = current(page)
    boxes = [page.locator(f"[data-place='{p}']").bounding_box() for p in (0, below)]
    left, top = ([box[side] for box in boxes if box is not None] for side in ("x", "y"))
    assert left[0] == left[1]
    assert top[0] < top[1]
    page.keyboard.press("ArrowUp")
    assert current(page) == 0
    page.keyboard.press("PageDown")
    expect(page.get_by_text("Page 2 of 3")).to_be_visible()
    assert current(page) == 60
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_role("option")).to_have_count(30)
    page.get_by_role("button", name="Previous page").click()
    expect(page.get_by_text("Page 2 of 3")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    at(page, 62)
    page.keyboard.press("Escape")
    expect(page.get_by_role("option")).to_have_count(60)
    assert current(page) == 61
    page.get_by_role("option").nth(3).dblclick()
    at(page, 64)
    press(page, "k", "Saved: keep")
    assert list(decisions(run)) == [order(run)[63]]


def test_deciding_on_all_selected_asks_first_and_shows_the_classes(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    gallery(page)
    page.get_by_role("button", name=f"Tick all {SAMPLES}").click()
    page.keyboard.press("x")
    dialog = page.get_by_role("dialog", name=f"Remove all {SAMPLES} samples?")
    expect(dialog.get_by_role("row").nth(1)).to_contain_text("50 of 50")
    expect(dialog.get_by_role("row")).to_have_count(4)
    picture(page, "review_confirmation")
    dialog.get_by_role("button", name="Cancel").click()
    settled(page)
    assert not decisions(run)
    page.keyboard.press("k")
    page.get_by_role("button", name=f"Yes, keep {SAMPLES} samples").click()
    expect(said(page)).to_contain_text(f"Saved: keep, {SAMPLES} samples")
    assert {d.action for d in decisions(run).values()} == {"keep"}
    assert len(decisions(run)) == SAMPLES
    expect(page.locator(".pace")).to_contain_text(f"{SAMPLES} of {SAMPLES} decided")
    press(page, "u", f"Saved: undone, {SAMPLES} samples")
    assert not decisions(run)
    expect(page.locator(".tile.decided")).to_have_count(0)
    press(page, "Shift+U", f"Saved: done again, {SAMPLES} samples")
    assert len(decisions(run)) == SAMPLES


def test_undo_brings_a_sample_back_that_the_selection_had_dropped(page: Page, start_server: StartServer, run: Run) -> None:
    save_view(run, Selection("l1", flagged_only=False, decisions=("undecided",)))
    review(page, start_server(), run)
    press(page, "x", "Saved: remove")
    expect(place(page)).to_have_text(f"1 of {SAMPLES - 1}")
    settled(page)
    first, second = order(run)[:2]
    assert f"sample={second}" in page.url
    press(page, "u", "Saved: undone")
    expect(place(page)).to_have_text(f"1 of {SAMPLES}")
    settled(page)
    assert f"sample={first}" in page.url
