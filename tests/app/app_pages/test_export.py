"""The export page: what is previewed is what the core writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from oga_core import Run, decide, export, undo
from oga_core.export import WHAT, rows
from tests.app.conftest import flags_at_first

OpenPage = Callable[..., AppTest]


@pytest.mark.parametrize("what", list(WHAT))
def test_the_preview_is_the_export(open_page: OpenPage, run: Run, what: str) -> None:
    flags = flags_at_first(run)
    decide(run, flags.iloc[:1], "remove", reviewer="Ann")
    decide(run, flags.iloc[1:2], "relabel", new_label=str(flags["suggested_label"].iloc[1]), reviewer="Ann")
    at = open_page("export", run=run.id)
    at.selectbox(key="export_what").set_value(what).run()
    asked: dict[str, Any] = {"detector": "recommended", "budget": len(flags)} if what == "flags" else {}
    expected = rows(run, what, **asked)
    assert len(expected)
    shown = at.dataframe[0].value.reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, expected.head(200).reset_index(drop=True), check_dtype=False)


def test_flags_that_nobody_decided_on_come_only_when_asked_for_and_are_marked(open_page: OpenPage, run: Run) -> None:
    flags = flags_at_first(run)
    decide(run, flags.iloc[:1], "remove", reviewer="Ann")
    at = open_page("export", run=run.id)
    assert len(at.dataframe[0].value) == 1
    at.toggle(key="export_flags").set_value(True).run()
    shown = at.dataframe[0].value
    assert sorted(shown["status"]) == ["confirmed", *["flagged"] * (len(flags) - 1)]


def test_with_nothing_decided_the_page_says_where_to_go(open_page: OpenPage, run: Run) -> None:
    at = open_page("export", run=run.id)
    assert "Nothing to export yet" in at.info[0].value


def test_an_export_is_listed_and_superseded_once_decisions_change(open_page: OpenPage, run: Run, tmp_path: Path) -> None:
    decide(run, flags_at_first(run).iloc[:2], "remove", reviewer="Ann")
    export(run, "removed", "csv", tmp_path / "out.csv")
    (line,) = (t.value for t in open_page("export", run=run.id).text if "out.csv" in t.value)
    assert line.endswith("removed, csv, 2 rows, out.csv: as the decisions stand now")
    undo(run, reviewer="Ann")
    (line,) = (t.value for t in open_page("export", run=run.id).text if "out.csv" in t.value)
    assert line.endswith("superseded: decisions have changed since, export again")
