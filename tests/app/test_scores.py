"""The scores page: histogram, threshold, class shares, table."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from oga_core import Run
from tests.app.conftest import CLASSES

OpenPage = Callable[..., AppTest]


def figure(at: AppTest) -> dict[str, object]:
    chart: dict[str, object] = json.loads(at.get("plotly_chart")[0].proto.spec)
    return chart


@pytest.mark.parametrize("name", ["scores", "map", "review", "export"])
def test_without_a_run_every_page_says_what_to_do(open_page: OpenPage, name: str) -> None:
    at = open_page(name)
    assert "No run is open yet" in at.info[0].value


def test_the_histogram_holds_every_scored_sample_and_the_line_is_the_lowest_flagged_score(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.1).run()
    flags = run.flag("l1", 0.1)
    assert len(flags) == 9
    line = next(s for s in figure(at)["layout"]["shapes"] if s["type"] == "line")  # type: ignore[index]
    assert line["x0"] == pytest.approx(flags["l1"].min())


@pytest.mark.parametrize("by", ["flag", "given label", "decision"])
def test_each_colouring_parts_all_samples(open_page: OpenPage, run: Run, by: str) -> None:
    at = open_page("scores", run=run.id)
    at.segmented_control(key="histogram_by").set_value(by).run()
    assert not at.exception
    bars = [t for t in figure(at)["data"] if t["type"] == "bar"]  # type: ignore[attr-defined]
    assert len(bars) == {"flag": 2, "given label": 3, "decision": 1}[by]
    names = " ".join(bar["name"] for bar in bars)
    assert "<b>" not in names


def test_class_shares_count_the_flags_of_each_class(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.1).run()
    shares = at.dataframe[0].value.set_index("class")
    flags = run.flag("l1", 0.1)
    for name in CLASSES:
        assert shares.loc[name, "flagged"] == (flags["label"] == name).sum()
        assert shares.loc[name, "samples"] == (run.table["label"] == name).sum()
    assert shares["share of all flags"].sum() == pytest.approx(1)


def test_the_table_shows_the_selection_in_the_order_of_suspicion(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.selectbox(key="panel_detector").set_value("loss").run()
    at.select_slider(key="panel_budget").set_value(0.1).run()
    shown = at.dataframe[1].value
    assert list(shown["index"]) == list(run.flag("loss", 0.1)["index"])
    at.toggle(key="panel_flagged_only").set_value(False).run()
    at.multiselect(key="panel_labels").set_value([CLASSES[1]]).run()
    shown = at.dataframe[1].value
    assert len(shown) == (run.table["label"] == CLASSES[1]).sum()
    assert (np.diff(shown["loss"]) <= 0).all()


def test_the_selection_is_found_again_after_a_refresh_and_on_other_pages(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.selectbox(key="panel_detector").set_value("iforest").run()
    at.select_slider(key="panel_budget").set_value(0.2).run()
    view = at.query_params["view"][0]
    at.switch_page("app_pages/export.py").run()
    assert at.selectbox(key="panel_detector").value == "iforest"
    again = open_page("scores", run=run.id, view=view)
    assert again.selectbox(key="panel_detector").value == "iforest"
    assert again.select_slider(key="panel_budget").value == 0.2
    without_view = open_page("scores", run=run.id)
    assert without_view.select_slider(key="panel_budget").value == 0.2
