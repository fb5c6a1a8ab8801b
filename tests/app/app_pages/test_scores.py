"""The scores page: histogram, threshold, class shares, table."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.components import table
from oga_core import Run, Workspace, decide, from_arrays, score, train
from oga_core.detectors import BUDGETS, Recommendation
from oga_core.runs import Weights
from oga_core.runs.run import RECOMMENDATION
from oga_core.runs.stale import fingerprint
from tests.app.conftest import CLASSES, flags_at_first

OpenPage = Callable[..., AppTest]


def figures(at: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def histogram(at: AppTest) -> dict[str, Any]:
    return next(f for f in figures(at) if any(t["type"] == "bar" for t in f["data"]))


def values(sent: Any) -> np.ndarray:
    """An array of a figure, which Plotly sends as bytes where it can."""
    return np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"]) if isinstance(sent, dict) else np.asarray(sent)


def test_the_histogram_counts_each_score_where_numpy_counts_it(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    bars = [t for t in histogram(at)["data"] if t["type"] == "bar"]
    wanted = np.histogram(run.table["recommended"], 60)[0]
    assert np.array_equal(np.sum([values(bar["y"]) for bar in bars], axis=0), wanted)


def shown_table(at: AppTest, column: str) -> pd.DataFrame:
    """The one table on the page that has such a column."""
    (found,) = (frame.value for frame in at.dataframe if column in frame.value)
    return found


@pytest.mark.parametrize("name", ["scores", "map", "review", "export"])
def test_without_a_run_every_page_says_what_to_do(open_page: OpenPage, name: str) -> None:
    at = open_page(name)
    assert "No run is open yet" in at.info[0].value


def test_the_histogram_holds_every_scored_sample_and_the_line_is_the_lowest_flagged_score(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.1).run()
    for name in ("recommended", "l1"):
        at.selectbox(key="panel_detector").set_value(name).run()
        flags = run.flag(name, 0.1)
        assert len(flags) == 9
        line = next(s for s in histogram(at)["layout"]["shapes"] if s["type"] == "line")
        assert line["x0"] == pytest.approx(flags[name].min())


@pytest.mark.parametrize("by", ["selection", "given label", "decision"])
def test_each_colouring_parts_all_samples(open_page: OpenPage, run: Run, by: str) -> None:
    at = open_page("scores", run=run.id)
    decide(run, run.table.iloc[[3, 7]], "keep", reviewer="Ann")
    at.segmented_control(key="histogram_by").set_value(by).run()
    assert not at.exception
    bars = [t for t in histogram(at)["data"] if t["type"] == "bar"]
    counts = {bar["name"]: int(np.sum(values(bar["y"]))) for bar in bars}
    flagged = len(flags_at_first(run))
    if by == "given label":
        assert sorted(counts.values()) == [30, 30, 30]
    else:
        assert (
            counts
            == {"selection": {"selected": flagged, "not selected": 90 - flagged}, "decision": {"undecided": 88, "keep": 2}}[by]
        )
    names = " ".join(bar["name"] for bar in bars)
    assert "<b>" not in names


def test_class_shares_count_the_flags_of_each_class(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.1).run()
    shares = shown_table(at, "class").set_index("class")
    flags = run.flag("recommended", 0.1)
    for name in CLASSES:
        assert shares.loc[name, "flagged"] == (flags["label"] == name).sum()
        assert shares.loc[name, "samples"] == (run.table["label"] == name).sum()
    assert shares["share of all flags"].sum() == pytest.approx(1)


def test_the_table_shows_the_selection_in_the_order_of_suspicion(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    at.selectbox(key="panel_detector").set_value("loss").run()
    at.select_slider(key="panel_budget").set_value(0.1).run()
    shown = shown_table(at, "index")
    assert list(shown["index"]) == list(run.flag("loss", 0.1)["index"])
    at.toggle(key="panel_flagged_only").set_value(False).run()
    at.multiselect(key="panel_labels").set_value([CLASSES[1]]).run()
    shown = shown_table(at, "index")
    assert len(shown) == (run.table["label"] == CLASSES[1]).sum()
    assert (np.diff(shown["loss"]) <= 0).all()


def test_the_table_is_sorted_as_a_whole_and_paged(open_page: OpenPage, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PER_PAGE", 40)
    at = open_page("scores", run=run.id)
    at.toggle(key="panel_flagged_only").set_value(False).run()
    assert list(shown_table(at, "index")["index"]) == list(run.flag("recommended", 90)["index"][:40])
    at.selectbox(key=table.SORTED_BY).set_value("confidence").run()
    wanted = run.table.sort_values("confidence", ascending=False)["confidence"].to_numpy()
    np.testing.assert_allclose(shown_table(at, "index")["confidence"], wanted[:40])
    at.number_input(key=table.PAGE).set_value(3).run()
    np.testing.assert_allclose(shown_table(at, "index")["confidence"], wanted[80:])
    at.toggle(key=table.DESCENDING).set_value(False).run()
    np.testing.assert_allclose(shown_table(at, "index")["confidence"], wanted[::-1][80:])
    at.selectbox(key=table.SORTED_BY).set_value("source").run()
    assert list(shown_table(at, "index")["source"]) == sorted(run.table["source"])[80:]
    at.toggle(key="panel_flagged_only").set_value(True).run()  # fewer pages than the one that was shown
    assert len(shown_table(at, "index")) == len(flags_at_first(run))


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


def percent(written: str) -> float:
    return float(written.removesuffix(" %")) / 100


def span(written: str) -> tuple[float, float]:
    low, high = written.split(" to ")
    return percent(low), percent(high)


def rewritten(run: Run, found: Recommendation) -> Run:
    """The run with another recommendation."""
    run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(found.to_dict())))
    return run


def test_the_box_shows_the_numbers_of_the_recommendation(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    found = run.recommendation
    assert found is not None
    assert found.at_budget is not None
    wrong, budget, precision = at.main.metric[:3]
    assert (wrong.label, budget.label, precision.label) == (
        "Estimated label errors",
        "Suggested budget",
        "Expected precision",
    )
    assert percent(wrong.value) == pytest.approx(found.wrong.value, abs=5.1e-3)
    assert span(wrong.delta) == pytest.approx((found.wrong.low, found.wrong.high), abs=5.1e-3)
    assert percent(budget.value) == pytest.approx(found.budget, abs=5.1e-3)
    assert budget.delta == f"{len(flags_at_first(run))} samples"
    assert percent(precision.value) == pytest.approx(found.at_budget.precision.value, abs=5.1e-3)
    assert span(precision.delta) == pytest.approx((found.at_budget.precision.low, found.at_budget.precision.high), abs=5.1e-3)
    assert "Recommended score: Probability of a wrong label, out of fold." in [t.value for t in at.text]


def test_the_recommended_score_and_budget_are_what_is_shown_first(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    assert at.selectbox(key="panel_detector").value == "recommended"
    assert list(shown_table(at, "index")["index"]) == list(flags_at_first(run)["index"])


def test_the_evidence_is_how_well_each_score_finds_flipped_labels(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    found = run.recommendation
    assert found is not None
    assert [e.label for e in at.expander] == ["Evidence"]
    evidence = shown_table(at, "average precision")
    assert len(evidence) == len(found.canaries) == 14
    assert evidence["average precision"].tolist() == [c.average_precision for c in found.canaries]
    for budget in (0.01, 0.05, 0.2):
        at_budget = BUDGETS.index(budget)
        assert evidence[f"precision at {100 * budget:g} %"].tolist() == [c.precision[at_budget] for c in found.canaries]
        assert evidence[f"recall at {100 * budget:g} %"].tolist() == [c.recall[at_budget] for c in found.canaries]
    assert evidence["score"].tolist()[:2] == ["Probability of a wrong label", "Given-label confidence (control)"]
    assert set(evidence["flips"][:7]) == {"to any class"}
    assert set(evidence["flips"][7:]) == {"to a likely class"}
    mistakes = shown_table(at, "true class")
    assert mistakes.to_numpy().tolist() == [list(m) for m in found.mistaken]
    assert set(mistakes["true class"]) <= set(CLASSES)
    assert any("fitted again in folds" in t.value for t in at.text)


def test_the_curve_is_the_expected_precision_with_its_interval(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    found = run.recommendation
    assert found is not None
    curve = next(f for f in figures(at) if f["layout"]["xaxis"].get("type") == "log")
    band, expected = curve["data"]
    assert expected["x"] == pytest.approx([100 * one.budget for one in found.curve])
    assert expected["y"] == pytest.approx([one.precision.value for one in found.curve])
    assert band["y"] == pytest.approx(
        [one.precision.high for one in found.curve] + [one.precision.low for one in found.curve[::-1]]
    )
    (line,) = curve["layout"]["shapes"]
    assert line["x0"] == pytest.approx(100 * found.budget)


def test_where_nothing_is_to_be_trimmed_the_box_says_so_and_one_in_a_hundred_is_shown(open_page: OpenPage, run: Run) -> None:
    assert run.recommendation is not None
    rewritten(run, replace(run.recommendation, out_of_fold=True, budget=0.0, at_budget=None, mistaken=[]))
    at = open_page("scores", run=run.id)
    assert [(m.label, m.value) for m in at.main.metric][1:] == [("Suggested budget", "nothing to trim")]
    assert at.select_slider(key="panel_budget").value == 0.01
    told = [t.value for t in at.text]
    assert "None is expected even once." in told
    assert any("a starter model that was trained without it" in t for t in told)
    assert not any(f["layout"].get("shapes") for f in figures(at) if f["layout"]["xaxis"].get("type") == "log")


def test_names_in_the_box_are_shown_as_they_are(open_page: OpenPage, run: Run) -> None:
    assert run.recommendation is not None
    rewritten(run, replace(run.recommendation, mistaken=[(CLASSES[1], CLASSES[2], 3.0)]))
    at = open_page("scores", run=run.id)
    assert shown_table(at, "true class").to_numpy().tolist() == [[CLASSES[1], CLASSES[2], 3.0]]
    assert not any(CLASSES[1] in m.value or CLASSES[2] in m.value for m in at.markdown)


def test_a_run_without_a_recommendation_is_shown_as_before(open_page: OpenPage, workspace: Workspace) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    dataset = from_arrays(x, np.arange(40) % 2)
    few = score(train(dataset, epochs=1).classifier, dataset, workspace=workspace)
    at = open_page("scores", run=few.id)
    assert not at.main.metric
    assert not at.expander
    assert at.selectbox(key="panel_detector").value == "l1"
    assert at.select_slider(key="panel_budget").value == 0.05


def test_scores_by_weights_that_have_changed_since_are_said_to_be_stale(open_page: OpenPage, run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"old")
    run.set_spec(replace(run.spec, model=Weights(str(weights))))
    run.set_summary(replace(run.summary, weights=fingerprint(weights)))
    assert not open_page("scores", run=run.id).warning
    weights.write_bytes(b"others")
    assert "its scores are stale" in open_page("scores", run=run.id).warning[0].value
