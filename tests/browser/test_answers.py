"""Prompts with answers in a real browser: shown as two blocks, each token of the answer shaded by its loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from oga_core import Run, Workspace, decisions
from oga_core.review import Selection, save_view, token_losses
from oga_core.review.sample_model import model_of
from oga_core.scoring import do_run, prepare
from oga_core.scoring.one_sample import OpenedModel
from oga_core.serving import Dashboard
from tests import language
from tests.browser.conftest import copy_run, picture, settled

HOSTILE = (
    "![x](http://example.invalid/x.png) <b>bold</b> $y$\n" * 2,
    "<img src=x onerror=alert(1)> **stars** :red[x] é\u202e",
    "spell",
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a small Llama that knows some of the answers; the first sample's strings are not to be trusted."""
    folder = tmp_path_factory.mktemp("language")
    path = language.table(folder / "t.csv", [HOSTILE, *language.ROWS])
    model = language.save(folder / "model", steps=60, max_position_embeddings=120)
    run = prepare(Workspace(folder / "workspace"), path, weights=model, scope="lora")
    do_run(run)
    save_view(run, Selection("loss", flagged_only=False))
    return run


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own."""
    return copy_run(scored, workspace)


CONTRAST = """token => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true })
    const ground = document.querySelector("[data-testid=stApp]")
    const painted = (...colours) => {
        for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1) }
        const [r, g, b] = Array.from(context.getImageData(0, 0, 1, 1).data, v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const style = getComputedStyle(token), under = getComputedStyle(ground).backgroundColor
    const [dark, light] = [painted(under, style.backgroundColor), painted(style.color)].sort((a, b) => a - b)
    return (light + 0.05) / (dark + 0.05)
}"""
"""Contrast ratio of a token's text with its ground (WCAG 2)."""


def shade(loss: float) -> int:
    return sum(loss >= edge for edge in (0.5, 1, 2, 4))


def test_each_token_of_an_answer_is_shaded_by_its_loss_and_says_it(
    page: Page, run: Run, start_server: Callable[..., Dashboard]
) -> None:
    page.goto(f"{start_server().url}review?run={run.id}")
    row = int(run.ranked("loss")[0])
    expected = token_losses(run, row, OpenedModel(run.open_dataset(), *model_of(run))).answer
    tokens = page.locator(".tokens .token")
    expect(tokens).to_have_count(len(expected))
    for i, token in enumerate(expected):
        assert token.loss is not None
        assert tokens.nth(i).text_content() == token.text.replace("\u202e", "U+202E")
        assert tokens.nth(i).get_attribute("data-shade") == str(shade(token.loss))
        assert f"loss {float(f'{token.loss:.2g}'):g} nats, probability" in (tokens.nth(i).get_attribute("title") or "")
    expect(page.locator(".legend .token")).to_have_text(["below 0.5", "0.5 to 1", "1 to 2", "2 to 4", "4 and more"])

    tokens.first.focus()
    page.keyboard.press("ArrowRight")
    second = expected[1].loss or 0.0
    expect(tokens.nth(1)).to_be_focused()
    expect(page.locator(".answered .hint")).to_contain_text(f"loss {float(f'{second:.2g}'):g} nats")
    expect(page.locator(".single .place").first).to_contain_text(
        "1 of"
    )  # the arrow went to the next token, not to the next sample
    assert math.isclose(sum(t.loss or 0 for t in expected) / len(expected), run.table["loss"][row], rel_tol=1e-5)
    picture(page, "answers")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)
        assert min(page.locator(".legend .token").evaluate_all(f"tokens => tokens.map({CONTRAST})")) > 4.5


def test_a_hostile_prompt_stays_text_and_relabelling_is_not_offered(
    page: Page, run: Run, start_server: Callable[..., Dashboard]
) -> None:
    first = str(run.table["sample_id"].iloc[0])
    page.goto(f"{start_server().url}review?run={run.id}&sample={first}")
    expect(page.locator(".asked .words")).to_have_text(HOSTILE[0].strip())
    expect(page.locator(".tokens")).to_contain_text("<img src=x onerror=alert(1)> **stars** :red[x] é")
    expect(page.locator(".picture img")).to_have_count(0)
    expect(page.get_by_role("button", name="Relabel")).to_have_count(0)
    page.keyboard.press("a")
    expect(page.locator(".said")).not_to_contain_text("Saved")
    page.keyboard.press("x")
    expect(page.locator(".said")).to_contain_text("Saved")
    assert {d.action for d in decisions(run).values()} == {"remove"}
    settled(page)
    picture(page, "answers_next")
    page.get_by_role("button", name="Gallery").click()
    expect(page.locator(".tile .answer").first).to_be_visible()
    assert page.locator(".tile .answer").first.locator(".words").count() == 2
    settled(page)
    picture(page, "answers_gallery")
