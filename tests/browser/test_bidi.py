"""Bidi controls in the data in a real browser: each is shown, and none changes the order of what stands beside it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from oga_core import Run, Workspace, decide, export
from oga_core.review import Selection, save_view
from oga_core.scoring import do_run, prepare
from oga_core.serving import Dashboard
from tests import language
from tests.browser.conftest import copy_run, picture, settled

StartServer = Callable[..., Dashboard]
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CLASSES = ("cat\u202eflip", "dog\u2067away\u202d", "plain")
OVERRIDE = "good \u202efdp.exe\u202c then \u2067isolated\u2069 and \u200frest\u061c \u202eunclosed"
TEXTS = (f"{OVERRIDE} 0", *(f"number {i} \u202espelling\u2066 {['good', 'bad', 'fine'][i % 3]}" for i in range(1, 70)))

ORDER = """(root) => {
    const wrong = [], walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT)
    const block = (made) => (getComputedStyle(made).display === "inline" ? block(made.parentElement) : made)
    let last = null
    for (let node; (node = walker.nextNode()); ) {
        if (node.parentElement.closest(".bidi") || getComputedStyle(node.parentElement).visibility === "hidden") continue
        for (let i = 0; i < node.length; i++) {
            const range = new Range()
            range.setStart(node, i)
            range.setEnd(node, i + 1)
            const [box] = range.getClientRects()
            if (!box || !box.width) continue
            const within = block(node.parentElement)
            if (last?.within === within && box.top < last.bottom - 1 && box.bottom > last.top + 1 && box.left < last.left - 0.5)
                wrong.push(`${node.data[i]} at ${box.left} stands left of ${last.what} at ${last.left}: ${node.data}`)
            last = { within, top: box.top, bottom: box.bottom, left: box.left, what: node.data[i] }
        }
    }
    return wrong
}"""
"""Characters of an element that are drawn left of the one before them on their line of their block."""

RAW = """(controls) => {
    const raw = [], roots = [document]
    for (const root of roots) for (const made of root.querySelectorAll("*")) {
        if (made.shadowRoot) roots.push(made.shadowRoot)
        if (["SCRIPT", "STYLE"].includes(made.tagName)) continue
        const texts = [...made.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data)
        for (const name of ["title", "alt", "aria-label", "placeholder"]) texts.push(made.getAttribute(name) ?? "")
        for (const text of texts)
            if ([...text].some((c) => controls.includes(c))) raw.push(`${made.tagName}.${made.className}: ${text}`)
    }
    return raw
}"""
"""Elements of the page with a bidi control in their text, or in what is said of them."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Texts and class names with bidi controls, scored; all are shown, the first sample first."""
    folder = tmp_path_factory.mktemp("bidi")
    path = folder / "t.csv"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        rows = [(text, CLASSES[(i + (i % 13 == 0)) % 3]) for i, text in enumerate(TEXTS)]
        csv.writer(handle).writerows([("text", "label"), *rows])
    run = prepare(Workspace(folder / "workspace"), path, folds=0, title="bidi")
    do_run(run)
    save_view(run, Selection("l1", flagged_only=False))
    return run


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own."""
    return copy_run(scored, workspace)


def in_order(part: Locator) -> None:
    """Every character is drawn right of the one before it."""
    expect(part).to_be_visible()
    assert part.evaluate(ORDER) == []


def nothing_raw(page: Page) -> None:
    settled(page)
    assert page.evaluate(RAW, BIDI) == []


def shown(text: str) -> str:
    """As the chips have it."""
    return "".join(f"U+{ord(c):04X}" if c in BIDI else c for c in text)


def open_first(page: Page, server: Dashboard, run: Run) -> None:
    first = str(run.table["sample_id"].iloc[int((run.table["index"] == 0).to_numpy().argmax())])
    page.goto(f"{server.url}review?run={run.id}&sample={first}")
    expect(page.locator("figure .words")).to_be_visible()
    settled(page)


def test_the_order_that_is_measured_is_that_of_an_override(page: Page) -> None:
    """The measure finds what it is for: an override in plain text."""
    page.set_content("<p id=raw>good \u202efdp.exe</p><p id=plain>good fdp.exe</p>")
    assert page.locator("#raw").evaluate(ORDER)
    assert page.locator("#plain").evaluate(ORDER) == []


def test_on_review_each_control_is_shown_and_the_text_around_it_keeps_its_order(
    page: Page, start_server: StartServer, run: Run
) -> None:
    decide(run, run.table.iloc[:3], "relabel", reviewer="ann\u202eeve", new_label=CLASSES[1])
    open_first(page, start_server(), run)
    words = page.locator("figure .words")
    expect(words).to_have_text(shown(TEXTS[0]))
    chips = words.locator(".bidi")
    expect(chips).to_have_count(sum(c in BIDI for c in TEXTS[0]))
    expect(chips.first).to_have_attribute("title", "right-to-left override")
    in_order(words)
    label = str(run.table["label"][run.table["index"] == 0].iloc[0])
    expect(page.locator(".labels dd").first).to_have_text(shown(label))
    for part in (
        page.locator(".labels"),
        page.locator(".classes"),
        page.locator(".actions .verbs"),
        page.locator(".card .decision"),
    ):
        in_order(part)
    expect(page.locator(".why .lines").first).to_be_visible()
    settled(page)
    in_order(page.locator(".why"))
    nothing_raw(page)
    picture(page, "bidi_review")

    page.keyboard.press("1")
    expect(page.locator(".said")).to_contain_text("Saved")
    in_order(page.locator(".said"))
    page.keyboard.press("?")
    in_order(page.get_by_role("dialog"))
    nothing_raw(page)
    page.keyboard.press("Escape")

    page.get_by_role("button", name="Gallery").click()
    expect(page.get_by_role("option").first).to_be_visible()
    settled(page)
    for tile in page.locator(".tile").all()[:6]:
        in_order(tile)
    nothing_raw(page)
    picture(page, "bidi_gallery")
    page.get_by_role("button", name=f"Tick all {len(TEXTS)}").click()
    page.keyboard.press("2")
    expect(page.get_by_role("dialog")).to_contain_text(f"to {shown(CLASSES[1])}?")
    in_order(page.get_by_role("dialog"))
    picture(page, "bidi_confirmation")
    nothing_raw(page)
    page.keyboard.press("Escape")


def test_a_class_without_a_key_is_chosen_by_its_name_with_the_control_written_out(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    path, names = tmp_path / "t.csv", [f"c{i:02}\u202ex" for i in range(12)]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text", "label"), *((f"text {i} {i % 12}", names[i % 12]) for i in range(60))])
    run = prepare(workspace, path, folds=0)
    do_run(run)
    save_view(run, Selection("l1", flagged_only=False))
    open_first(page, start_server(), run)
    page.get_by_label("Another class").fill("c11⟨U+202E⟩x")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_contain_text(f"Saved: relabel to {shown(names[11])}")
    export(run, "relabelled", "jsonl", tmp_path / "out.jsonl")
    assert names[11] in (tmp_path / "out.jsonl").read_text("utf-8")
    export(run, "cleaned", "csv", tmp_path / "out.csv")
    assert all(name in (tmp_path / "out.csv").read_text("utf-8") for name in names)


def test_on_the_map_and_in_the_panel_they_are_shown_too(page: Page, start_server: StartServer, run: Run) -> None:
    page.goto(f"{start_server().url}map?run={run.id}")
    surface = page.locator(".surface").first
    expect(surface).to_be_visible()
    settled(page)
    legend = page.locator(".legend").first
    expect(legend).to_contain_text(shown(CLASSES[0]))
    in_order(legend)
    box = surface.bounding_box()
    assert box is not None
    card = page.locator(".card").first
    for i in range(900):
        page.mouse.move(box["x"] + box["width"] * (i % 30 + 0.5) / 30, box["y"] + box["height"] * (i // 30 + 0.5) / 30)
        if card.is_visible():
            break
    expect(card.locator(".preview .bidi").first).to_be_visible()
    expect(card.locator("b .bidi").or_(card.locator("b", has_text="plain")).first).to_be_visible()
    in_order(card)
    nothing_raw(page)
    picture(page, "bidi_map")
    page.get_by_role("combobox", name="Given label").click()
    expect(page.get_by_role("option").filter(has_text="cat⟨U+202E⟩flip")).to_be_visible()
    nothing_raw(page)


def test_a_prompt_and_the_tokens_of_its_answer_keep_their_order(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    path = language.table(
        tmp_path / "t.csv", [(f"spell \u202e{OVERRIDE}", "an\u202eswer \u2067is \u200ffine", "spell"), *language.ROWS]
    )
    run = prepare(workspace, path, weights=language.save(tmp_path / "model", steps=5, max_position_embeddings=120), scope="lora")
    do_run(run)
    save_view(run, Selection("loss", flagged_only=False))
    page.goto(f"{start_server().url}review?run={run.id}&sample={run.table['sample_id'].iloc[0]}")
    expect(page.locator(".tokens")).to_be_visible()
    settled(page)
    for part in (page.locator(".asked .words"), page.locator(".tokens")):
        expect(part.locator(".bidi").first).to_be_visible()
        in_order(part)
    token = page.locator(".tokens .token").filter(has=page.locator(".bidi")).first
    token.hover()
    expect(page.locator(".answered .hint .bidi").first).to_be_visible()
    in_order(page.locator(".answered .hint"))
    nothing_raw(page)
    picture(page, "bidi_answer")
