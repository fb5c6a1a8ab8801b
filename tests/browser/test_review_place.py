"""The reviewer's place in the browser and in Python: what Python drew before it heard of a move does not undo the move."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from app.components.component import link_modules

PLACE = """
async ([modules, script]) => {
  const urls = {};
  for (const [path, source] of modules) {
    const linked = source.replace(/from "oga:([^"]+)"/g, (_, imported) => `from "${urls[imported]}"`);
    urls[path] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
  }
  const { PlaceSender } = await import(urls[modules.at(-1)[0]]);
  const sent = [];
  const triage = {
    memory: {}, data: {}, saving: {}, layout: "single",
    component: { setTriggerValue: (_, value) => sent.push(value) },
  };
  const sender = new PlaceSender(triage);
  const taken = [];
  for (const [what, value] of script) {
    if (what === "move") { triage.focus = { id: value }; sender.sendNow({}); }
    else {
      triage.data = { heard: value.heard === null ? null : (sent[value.heard]?.turn ?? 0), focus: value.focus };
      taken.push(sender.takeChange("focus") ?? null);
    }
  }
  return taken;
}
"""
Step = tuple[str, Any]


def move(sample: str) -> Step:
    return "move", sample


def drawn(focus: str, heard: int | None) -> Step:
    """The page as Python draws it when it has heard of so many moves, counted from 0."""
    return "drawn", {"focus": focus, "heard": heard}


@pytest.mark.parametrize(
    ("steps", "taken"),
    [
        ([drawn("a", None)], ["a"]),
        ([drawn("a", None), drawn("a", None)], ["a", None]),
        ([drawn("a", None), move("b"), drawn("b", 0)], ["a", None]),
        ([move("b"), move("c"), drawn("b", 0), drawn("c", 1)], [None, None]),  # b is late: the reviewer is at c
        ([drawn("a", None), move("b"), drawn("x", None)], ["a", None]),
        ([move("b"), move("c"), move("b"), drawn("c", 1), drawn("b", 2)], [None, None]),
        ([move("b"), drawn("b", 0), drawn("x", 0)], [None, "x"]),  # chosen on another page
        ([move("b"), move("c"), drawn("x", 1)], ["x"]),
    ],
)
def test_only_what_python_drew_after_the_last_move_moves_the_reviewer(
    page: Page, steps: list[Step], taken: list[str | None]
) -> None:
    assert page.evaluate(PLACE, [link_modules("triage/place.js"), steps]) == taken
