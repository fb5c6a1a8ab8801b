"""The influence view in a real browser: a test prompt is written, and what pushes towards it and against it is decided on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from oga_core import Run, decisions, influence_of
from oga_core.influence import against, towards
from oga_core.serving import Dashboard
from tests.browser.conftest import picture, settled
from tests.browser.test_answers import run, scored
from tests.browser.test_road import go, press

__all__ = ["run", "scored"]
PROMPT, ANSWER = "Spell the word lamb.", "l a m b"


def test_what_pushes_towards_and_against_a_written_prompt_is_decided_on_and_reviewed(
    page: Page, run: Run, start_server: Callable[..., Dashboard]
) -> None:
    page.goto(f"{start_server().url}?run={run.id}")
    go(page, "Influence")
    page.get_by_role("textbox", name="Prompt").fill(PROMPT)
    page.get_by_role("textbox", name="Answer").fill(ANSWER)
    page.get_by_role("button", name="Find the training samples").click()
    frames = page.locator(".tiles [role=group]")
    expect(frames).to_have_count(2)
    settled(page)
    page.locator(".tiles [role=group]").last.locator(".tile").first.scroll_into_view_if_needed()
    picture(page, "influence")
    found = influence_of(run, PROMPT, ANSWER)
    both = (towards(found, 12), against(found, 12))
    for frame, word, samples in zip(frames.all(), ("Towards", "Against"), both, strict=True):
        assert word in (frame.get_attribute("aria-label") or "")
        told = [float(text.removeprefix("cosine ")) for text in frame.locator(".foot small").all_inner_texts()]
        assert told == pytest.approx(samples["cosine"].tolist(), abs=0.011)

    frames.nth(1).locator(".tile").first.click()
    press(page, "x", "Saved: remove")
    (decided,) = decisions(run)
    assert decided == both[1]["sample_id"].iloc[0]
    frames.nth(0).locator(".tile").first.dblclick()
    expect(page.get_by_text("with the test sample", exact=True)).to_be_visible()
    settled(page)
    picture(page, "influence_single")

    page.get_by_role("button", name="Review these 24").click()
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="24 picked samples")).to_be_visible()
    settled(page)
    picture(page, "influence_review")
    expect(page.get_by_text("1 of 24 decided").first).to_be_visible()
    page.get_by_role("link", name="Influence").click()
    expect(page.locator(".tiles [role=group]")).to_have_count(2)  # what was found is still there
