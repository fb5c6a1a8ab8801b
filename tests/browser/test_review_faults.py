"""The review in a real browser: faults, two reviewers, strings that are not to be trusted, and access without a mouse."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.components.component import make_script, read_file
from oga_core import Run, Workspace, decisions, open_dataset, score, train
from oga_core.review import Selection, save_view
from oga_core.scoring import do_run, prepare
from oga_core.serving import serve
from tests.browser.conftest import picture, settled
from tests.browser.review_page import SAMPLES, StartServer, actions, at, gallery, order, place, press, review, run, said, scored

__all__ = ["run", "scored"]


def test_what_cannot_be_saved_is_told_and_shown_as_undecided(loose: Page, start_server: StartServer, run: Run) -> None:
    review(loose, start_server(), run)
    press(loose, "k", "Saved: keep")
    with sqlite3.connect(run.workspace.database) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    loose.keyboard.press("x")
    loose.keyboard.press("s")
    expect(said(loose)).to_contain_text("Not saved: the disk is full")
    at(loose, 2)
    expect(loose.locator(".card .decision")).to_have_text("undecided")
    settled(loose)
    at(loose, 2)
    expect(loose.locator(".pace")).to_contain_text(f"1 of {SAMPLES} decided")
    assert actions(run) == ["keep"]
    with sqlite3.connect(run.workspace.database) as connection:
        connection.execute("DROP TRIGGER full")
    press(loose, "x", "Saved: remove")
    assert actions(run) == ["keep", "remove"]


def test_a_server_that_is_gone_is_told_and_the_review_goes_on_when_it_is_back(
    loose: Page, start_server: StartServer, workspace: Workspace, run: Run
) -> None:
    server = start_server()
    review(loose, server, run)
    press(loose, "k", "Saved: keep")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    loose.keyboard.press("x")
    expect(said(loose)).to_contain_text("Not saved: the server does not answer")
    at(loose, 2)
    expect(loose.locator(".card .decision")).to_have_text("undecided")
    again = serve(workspace, port=int(server.url.split(":")[2].split("/")[0]))
    try:
        expect(loose.get_by_role("dialog")).to_have_count(0)  # Streamlit's own, that the connection is lost
        press(loose, "x", "Saved: remove")
        # The new server knows nothing of the session: the page loads itself again, and is where it was.
        expect(loose.get_by_test_id("stSidebar").get_by_text(f"2 of {SAMPLES} decided")).to_be_visible()
        settled(loose)
        at(loose, 3)
        for _ in range(60):
            loose.keyboard.press("ArrowRight")
        at(loose, 63)
        press(loose, "s", "Saved: unsure")
    finally:
        again.stop()
    assert actions(run) == ["keep", "remove", "unsure"]


def name_asked(page: Page, key: str, name: str, words: str) -> None:
    """Press a key that decides; the name is asked for first."""
    page.keyboard.press(key)
    dialog = page.get_by_role("dialog", name="Who are you?")
    dialog.get_by_label("Your name").fill(name)
    dialog.get_by_role("button", name="Save name").click()
    expect(said(page)).to_contain_text(words)


def test_two_browsers_are_two_reviewers_from_the_moment_the_second_comes(
    page: Page, chromium: Browser, start_server: StartServer, run: Run
) -> None:
    server = start_server()
    review(page, server, run)
    at(page, 1)
    press(page, "k", "Saved: keep")  # alone, no name is asked for
    at(page, 2)
    expect(page.get_by_test_id("stSidebar").get_by_text(f"1 of {SAMPLES} decided")).to_be_visible()
    settled(page)
    page.wait_for_load_state("networkidle")
    page.route("**/oga/claim", lambda route: route.abort())  # from here on it learns nothing of what others decide
    other = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    review(other, server, run)
    expect(other.get_by_role("checkbox", name="Share the queue")).to_be_checked()
    at(page, 2)
    at(other, 9)  # the first has claimed eight
    for _ in range(7):
        other.keyboard.press("ArrowLeft")
    at(other, 2)
    expect(said(other)).to_contain_text("Another reviewer has this sample")

    other.keyboard.press("x")
    dialog = other.get_by_role("dialog", name="Who are you?")
    expect(dialog).to_contain_text("Others review here too")
    picture(other, "review_name")
    dialog.get_by_role("button", name="Cancel").click()
    expect(said(other)).to_contain_text("Not saved: your name is needed first")
    other.wait_for_timeout(1500)  # nothing that is asked meanwhile takes them elsewhere
    at(other, 2)
    expect(said(other)).to_contain_text("Not saved: your name is needed first")
    assert len(decisions(run)) == 1
    name_asked(other, "x", "Sam", "Saved: remove")
    expect(other.get_by_role("textbox", name="Reviewer")).to_have_value("Sam")
    name_asked(page, "k", "Sam", "Saved, overtaking what Sam had decided meanwhile: keep")  # the same name, another person
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".card .decision")).to_contain_text("Sam said remove")
    page.unroute("**/oga/claim")
    picture(page, "review_conflict")
    second = decisions(run)[order(run)[1]]
    assert (second.reviewer, second.action, second.conflict) == ("Sam", "keep", True)

    press(other, "u", "Saved: undone")  # their own, not the later one of the other
    assert decisions(run)[order(run)[1]].action == "keep"
    press(other, "u", "Nothing is left to undo")
    for browser in (page, other):
        review(browser, server, run)  # anew: each is given the next of its own
    for browser in (page, other, page, other, page):
        settled(browser)
        press(browser, "s", "Saved: unsure")
    found = decisions(run)
    assert (len(found), len({d.identity for d in found.values()})) == (7, 2)
    assert [d.sample_id for d in found.values() if d.conflict] == []
    expect(other.get_by_text("Agreement of the reviewers")).to_be_visible()
    # Who wants to decide on the same samples as others turns sharing off.
    other.get_by_role("checkbox", name="Share the queue").uncheck()
    other.reload()
    settled(other)
    expect(other.get_by_role("checkbox", name="Share the queue")).not_to_be_checked()
    other.context.close()


def test_a_key_that_was_changed_stays_so_and_conflicts_are_told(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    keep = dialog.get_by_role("button", name=re.compile("^Keep:"))
    for key, words in (("x", "is taken by “Remove”"), ("r", "belongs to Streamlit"), ("Escape", "Nothing was changed")):
        keep.click()
        page.keyboard.press(key)
        expect(dialog.get_by_role("status")).to_contain_text(words)
    keep.click()
    page.keyboard.press("j")
    expect(dialog.get_by_role("status")).to_contain_text("Keep: J")
    picture(page, "review_keys")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Keep")).to_contain_text("J")
    page.reload()
    settled(page)
    page.keyboard.press("k")
    press(page, "j", "Saved: keep")
    assert actions(run) == ["keep"]
    page.keyboard.press("?")
    dialog.get_by_role("button", name="Reset all keys").click()
    dialog.get_by_role("button", name="Close").click()
    press(page, "k", "Saved: keep")
    assert actions(run) == ["keep", "keep"]


def test_the_next_samples_are_there_before_they_are_asked_for(page: Page, start_server: StartServer, run: Run) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    review(page, start_server(), run)
    page.wait_for_timeout(500)
    before = {url for url in asked if url.endswith("/480")}
    assert 3 <= len(before) <= 12
    for number in range(2, 6):
        press(page, "k", "Saved: keep")
        at(page, number)
        shown = page.locator("figure .picture img")
        assert shown.evaluate("image => image.complete && image.naturalWidth > 0")
        assert shown.evaluate("image => image.src") in before


def test_why_it_was_flagged_is_told_and_every_number_explains_itself(page: Page, start_server: StartServer, run: Run) -> None:
    save_view(run, Selection("l1", 0.1))
    page.goto(f"{start_server().url}review?run={run.id}")
    why = page.get_by_role("region", name="Why was it flagged?")
    expect(why.get_by_role("heading", name=re.compile("^Most similar gradients")).first).to_be_visible()
    settled(page)
    picture(page, "review_why")
    term = why.get_by_text("Gradient norm", exact=True)
    term.focus()
    expect(why.get_by_role("tooltip")).to_contain_text("‖g‖₂")
    expect(term).to_have_attribute("aria-describedby", "why-tip")
    neighbour = why.get_by_role("button", name=re.compile("cosine")).last
    name = (neighbour.get_attribute("aria-label") or "").split(",")[0]
    neighbour.click()
    expect(page.locator(".single .source")).to_have_text(name)
    page.keyboard.press("ArrowLeft")
    expect(place(page)).to_have_text(re.compile(r"\d+ of 15"))


def test_strings_from_the_data_are_shown_as_they_are(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    names = ("<img src=x onerror=alert(1)>", "![x](http://example.invalid/x.png)", "**bold** :red[x] $y$")
    texts = ("<script>alert(2)</script> one", "![x](http://example.invalid/y.png) two", "<b>three</b> *stars* שלום 你好")
    with open(tmp_path / "awkward.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for i in range(90):
            writer.writerow([f"{texts[i % 3]} {i}" + " and so on" * 100 * (i % 2), names[(i + (i < 6)) % 3]])
    dataset = open_dataset(tmp_path / "awkward.csv")
    run = score(train(dataset, epochs=2).classifier, dataset, workspace=workspace, title=names[0])
    save_view(run, Selection("l1", flagged_only=False))
    page.on("dialog", lambda dialog: pytest.fail(f"a script of the data ran: {dialog.message}"))
    page.goto(f"{start_server().url}review?run={run.id}")
    first = run.table.iloc[run.ranked("l1")[0]]
    expect(page.locator("figure .words")).to_have_text(dataset.text(int(first["index"])))
    expect(page.locator(".labels dd").first).to_have_text(first["label"])
    expect(page.locator(".classes")).to_contain_text(names[0])
    expect(page.get_by_role("heading", name=re.compile("^Most similar gradients")).first).to_be_visible()
    settled(page)
    gallery(page)
    shown = page.locator(".tile .words").all_inner_texts()
    for row, text in zip(run.ranked("l1")[:60], shown, strict=True):
        assert " ".join(dataset.text(int(run.table["index"].iloc[row])).split()).startswith(" ".join(text.rstrip("…").split()))
    picture(page, "review_awkward")
    page.get_by_role("button", name="Tick all 90").click()
    page.keyboard.press("1")
    expect(page.get_by_role("dialog")).to_contain_text(f"Relabel all 90 samples to {names[1]}?")
    assert page.locator(".triage img").count() == 0


def test_a_sample_that_has_changed_is_told_in_its_place(loose: Page, start_server: StartServer, run: Run, tmp_path: Path) -> None:
    assert run.spec.data is not None
    data = Path(run.spec.data.source)
    copy = tmp_path / "samples.npz"
    shutil.copy(data, copy)
    first = int(run.table["index"].iloc[run.ranked("l1")[0]])
    with np.load(data) as stored:
        arrays = dict(stored)
    arrays["x"][first] ^= 1
    try:
        np.savez(data, **arrays)
        review(loose, start_server(), run)
        expect(loose.locator("figure .picture")).to_have_text("This sample has changed since it was scored.")
        loose.keyboard.press("ArrowRight")
        expect(loose.locator("figure .picture img")).to_be_visible()
    finally:
        shutil.copy(copy, data)


def test_it_can_be_used_without_a_mouse_and_told_to_a_screen_reader(page: Page, start_server: StartServer, run: Run) -> None:
    review(page, start_server(), run)
    expect(page.get_by_role("progressbar", name="Decided")).to_have_attribute("aria-valuetext", f"0 of {SAMPLES} decided")
    expect(page.get_by_role("img", name=re.compile(r"^row \d+, labelled "))).to_be_visible()
    for name in ("Keep", "Remove", "Unsure", "Undo", "Redo", "Next sample", "Gallery"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(1)
    page.get_by_role("button", name="Gallery").focus()
    page.keyboard.press("Enter")
    option = page.get_by_role("option").first
    expect(option).to_have_accessible_name(re.compile(r"^row \d+, labelled .*undecided$"))
    option.focus()
    page.keyboard.press("ArrowRight")
    second = page.get_by_role("option").nth(1)
    expect(second).to_be_focused()
    assert second.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(second).to_have_attribute("aria-selected", "true")
    press(page, "k", "Saved: keep")
    assert said(page).get_attribute("role") == "status"
    nameless = page.locator(".triage button, .triage input").evaluate_all(
        "all => all.filter(e => !e.ariaLabel && !e.textContent.trim() && !e.labels?.length).map(e => e.outerHTML)"
    )
    assert nameless == []


def test_a_click_on_the_strip_below_the_map_opens_the_sample(start_server: StartServer, page: Page, run: Run) -> None:
    page.goto(f"{start_server().url}map?run={run.id}")
    expect(page.get_by_role("option")).to_have_count(12)
    settled(page)
    for number in (4, 2):
        page.get_by_role("option").nth(number - 1).click()
        expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible()
        at(page, number)
        settled(page)
        page.get_by_role("button", name="Gallery").click()
        page.keyboard.press("ArrowRight")
        page.get_by_role("link", name="Map").first.click()
        expect(page.get_by_role("option")).to_have_count(12)
        settled(page)


def test_a_page_is_not_empty_that_was_opened_before_the_last_move_was_sent(
    start_server: StartServer, page: Page, run: Run
) -> None:
    server = start_server()
    review(page, server, run)
    os.kill(server.process.pid, signal.SIGSTOP)  # so busy that the next page takes a while
    page.get_by_role("button", name="Gallery").click()
    page.keyboard.press("ArrowRight")
    page.get_by_role("link", name="Map").first.click(no_wait_after=True)
    page.wait_for_timeout(2000)
    os.kill(server.process.pid, signal.SIGCONT)
    expect(page.get_by_role("heading", name="Map", exact=True)).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(12)
    settled(page)


def test_the_other_layers_are_told_where_the_scope_is_more_than_the_head(
    start_server: StartServer, page: Page, workspace: Workspace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 2
    np.savez(tmp_path / "noise.npz", x=x, y=y)
    run = prepare(workspace, tmp_path / "noise.npz", scope="all", detectors="l1", epochs=1, folds=0)
    do_run(run)
    page.goto(f"{start_server().url}review?run={run.id}")
    page.get_by_role("button", name="Share of the norm by layer").click()
    expect(page.get_by_text("Opening the model")).to_have_count(0)
    expect(page.locator(".why .lines").last.locator(".line").first).to_have_text(re.compile(r"\d %$"))
    settled(page)
    picture(page, "review_layers")


def test_the_keys_still_work_where_streamlit_cleans_up_after_a_call_that_was_overtaken(page: Page) -> None:
    module, skeleton = make_script("triage/triage.js"), read_file("triage/skeleton.html")
    page.route("**/*", lambda route: route.fulfill(json=[]))
    page.route("**/plain", lambda route: route.fulfill(content_type="text/html", body=skeleton))
    page.goto("http://127.0.0.1/plain")
    page.evaluate(
        """async (module) => {
            const { default: call } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })))
            const parentElement = document.body.attachShadow({ mode: "open" }) // as Streamlit makes it
            parentElement.append(document.querySelector(".triage"))
            const data = { run: "r", queue: "q", total: 0, layout: "gallery", keyed: {}, decisions: [], version: 0 }
            data.several = false
            const overtaken = call({ parentElement, data, setTriggerValue() {} })
            call({ parentElement, data, setTriggerValue() {} })
            overtaken()
        }""",
        module,
    )
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
