"""The report says what the numbers say: contrived numbers, and the sentences that must follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oga_core.experiments import arms, figures, tables
from oga_core.experiments.figures import Figure
from oga_core.experiments.paper import Numbers
from oga_core.experiments.reading import (
    CONTRARY,
    OPEN,
    REPEATED,
    claims,
    column,
    difference,
    first_in,
    list_trained,
    overall,
    sentence,
    summary,
)
from oga_core.experiments.report import Study, write
from oga_core.experiments.results import Results, Row

SEEDS = 5
PAPER: dict[str, Numbers] = {
    "accuracy": {"a": {"untrimmed": (90, 0.5), "l1": (92, None), "l2": (88, None), "low_confidence": (92, None)}}
}
READ = {"a": "0.1"}


def rows(tmp_path: Path, **changes: list[float]) -> pd.DataFrame:
    """Five seeds of a setting; accuracies by arm less the untrimmed one, in points, and average precisions."""
    results = Results(tmp_path, {})
    base = [0.80, 0.84, 0.82, 0.86, 0.78]
    gains = {
        "oracle": [3.0] * 5,
        "random": [-1.0, 0.5, 0.0, 0.5, 0.0],
        "l1": [2.0, 2.2, 1.8, 2.1, 1.9],
        "l2": [0.4, -0.5, 0.3, -0.2, 0.1],
        "low_confidence": [-2.0, -2.2, -1.8, -2.1, -1.9],
    } | changes
    precision = {"random": 0.1, "l1": 0.5, "l2": 0.4, "low_confidence": 0.7}
    for seed in range(SEEDS):
        results.add(Row("a", seed, "", "untrimmed", 0, accuracy=base[seed]))
        for arm, gain in gains.items():
            more: dict[str, Any] = {} if arm == "oracle" else {"average_precision": precision[arm] + 0.01 * seed, "auc": 0.6}
            if arm == "l1":
                more["random_accuracy"] = base[seed] + gains["random"][seed] / 100
            budget = "" if arm == "oracle" else "0.1"
            results.add(Row("a", seed, budget, arm, 10, accuracy=base[seed] + gain[seed] / 100, **more))
    return results.of(SEEDS)


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    table = rows(tmp_path)
    apart = difference(column(table, "a", "0.1", "l1", "accuracy"), column(table, "a", "0.1", "untrimmed", "accuracy"))
    assert (apart.mean, apart.seeds, apart.sign) == (pytest.approx(0.02), 5, 1)
    assert apart.half < 0.003  # although the accuracies themselves differ by points
    assert difference(column(table, "a", "0.1", "l2", "accuracy"), column(table, "a", "", "untrimmed", "accuracy")).sign == 0


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [([2.0, 2.2, 1.8, 2.1, 1.9], REPEATED), ([-2.0, -2.2, -1.8, -2.1, -1.9], CONTRARY), ([1.0, -1.0, 2.0, -2.0, 0.0], OPEN)],
)
def test_a_difference_of_the_paper_repeats_or_not(tmp_path: Path, gain: list[float], verdict: str) -> None:
    found = {(c.first, c.second): c for c in claims(rows(tmp_path, l1=gain), READ, PAPER)}
    assert found["l1", "untrimmed"].paper == 2
    assert found["l1", "untrimmed"].verdict == verdict


def test_a_fall_in_the_paper_repeats_as_a_fall(tmp_path: Path) -> None:
    found = {(c.first, c.second): c.verdict for c in claims(rows(tmp_path, l2=[-2.0, -2.1, -1.9, -2.0, -2.2]), READ, PAPER)}
    assert found["l2", "untrimmed"] == REPEATED


def test_what_is_equal_in_the_paper_or_not_trained_here_is_no_claim(tmp_path: Path) -> None:
    pairs = {(c.first, c.second) for c in claims(rows(tmp_path), READ, PAPER)}
    assert ("l1", "low_confidence") not in pairs  # 92 and 92
    assert ("l2", "low_confidence") in pairs
    more: dict[str, Numbers] = {"accuracy": {"a": PAPER["accuracy"]["a"] | {"iforest": (95, None)}, "b": {"l1": (1, None)}}}
    assert {c.first for c in claims(rows(tmp_path), READ, more)} == {"l1", "l2"}


def test_the_first_of_the_papers_curves_is_held_to_it(tmp_path: Path) -> None:
    verdicts = {c.second: c.verdict for c in first_in(rows(tmp_path), READ, {"a": "l1", "b": "l1"})}
    assert verdicts == {"untrimmed": REPEATED, "random": REPEATED, "l2": REPEATED, "low_confidence": REPEATED}
    assert {c.verdict for c in first_in(rows(tmp_path), READ, {"a": "low_confidence"})} == {CONTRARY}


def test_the_sentence_follows_the_numbers(tmp_path: Path) -> None:
    text = sentence(rows(tmp_path), "a", "0.1", "Setting")
    assert text.startswith(
        "**Setting.** Average precision is highest for OGA L1 among the paper's detectors (0.520 ± 0.020) "
        "and given-label confidence among the controls (0.720 ± 0.020)."
    )
    assert "OGA L1 − given-label confidence: -0.200 ± 0.000, the interval leaves out zero." in text
    assert "The untrimmed model has a test accuracy of 82.0 ± 3.9 %." in text
    assert "it changes by +3.00 ± 0.00 points (the interval leaves out zero)" in text
    assert "Beside the untrimmed model: better: OGA L1 (+2.00 ± 0.20); worse: given-label confidence (-2.00 ± 0.20); " in text
    assert "interval contains zero: 2 of 4." in text
    assert "Beside a random trim of the same size and class shares: better: OGA L1 (+2.00" in text


def test_the_same_sentence_the_other_way_round(tmp_path: Path) -> None:
    text = sentence(rows(tmp_path, l1=[-2.0, -2.2, -1.8, -2.1, -1.9], low_confidence=[1.0, 1.1, 0.9, 1.0, 1.2]), "a", "0.1", "S")
    assert "better: given-label confidence (+1.04 ± 0.14); worse: OGA L1 (-2.00 ± 0.20)" in text


def test_one_seed_has_no_intervals_and_settles_nothing(tmp_path: Path) -> None:
    table = rows(tmp_path).query("seed == 0")
    text = sentence(table, "a", "0.1", "S")
    assert "±" not in text
    assert "one seed, no interval" in text
    assert "better: none; worse: none; interval contains zero: 4 of 4" in text
    assert {c.verdict for c in claims(table, READ, PAPER)} == {OPEN}


def test_the_whole_is_counted_from_the_same_intervals(tmp_path: Path) -> None:
    text = overall(rows(tmp_path), READ)
    assert (
        "Trimmed by the paper's detectors, test accuracy is above that of the untrimmed model in 1 of 2 comparisons, below it in "
        "0, and above that of a random trim of the same size and class shares in 1 of 1 comparisons, below it in 0." in text
    )
    assert (
        "Trimmed by the controls, test accuracy is above that of the untrimmed model in 0 of 1 comparisons, below it in 1."
        in text
    )


def test_an_arm_that_is_the_same_as_another_is_counted_once(tmp_path: Path) -> None:
    table = rows(tmp_path)
    twin = table[table["arm"] == "low_confidence"].assign(arm="el2n")
    both = pd.concat([table, twin], ignore_index=True)
    assert list_trained(both, "a", "0.1") == list_trained(table, "a", "0.1")
    assert "interval contains zero: 2 of 4." in sentence(both, "a", "0.1", "S")
    other = pd.concat([table, twin.assign(accuracy=twin["accuracy"] + 0.001)], ignore_index=True)
    assert "el2n" in list_trained(other, "a", "0.1")


def test_the_summary_counts_the_verdicts(tmp_path: Path) -> None:
    found = claims(rows(tmp_path), READ, PAPER)
    assert [c.verdict for c in found] == [REPEATED, OPEN, CONTRARY]
    assert summary(found).startswith("Of 3 differences that the paper's tables or curves show, 1 repeated")
    assert "1 came out the other way round, 1 stay open" in summary(found)
    assert summary([]) == ""


def test_the_table_has_means_intervals_and_the_papers_numbers(tmp_path: Path) -> None:
    table = tables.summarise(rows(tmp_path), ["a"], {"a": ["0.1"]}, PAPER)
    l1 = table.set_index("arm").loc["l1"]
    assert (l1["accuracy"], l1["seeds"], l1["paper_accuracy"]) == (pytest.approx(0.84), 5, 0.92)
    assert l1["accuracy_half"] == pytest.approx(0.0397, abs=1e-3)
    assert list(table["arm"]) == ["untrimmed", "random", "oracle", "l1", "l2", "low_confidence"]
    text = tables.format_tables(table, {"a": "Setting A"})
    assert text.startswith("**Setting A**, 10 % trimmed, 5 seeds")
    assert "| untrimmed |  |  | 82.0 ± 3.9 |  | 90.00 ± 0.50 |" in text
    assert "detection accuracy" not in text


def test_without_figures_no_browser_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("plotly.io.write_images", fail)
    assert figures.save([], tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_the_report_holds_all_of_it_and_says_where_no_images_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("no browser\nhere")

    table = rows(tmp_path)
    drawn = figures.of_arms(table, [("a", "0.1", "Setting A")], "Title")
    study = Study(
        "Contrived",
        {"a": "Setting A"},
        {"a": ["0.1"]},
        table,
        True,
        PAPER,
        notes=["a note"],
        figures=[Figure("dots", "What is seen.", drawn)],
    )
    monkeypatch.setattr("plotly.io.write_images", fail)
    text = write(study, tmp_path).read_text("utf-8")
    read = sentence(table, "a", "0.1", "Setting A, 10 % trimmed")
    for part in (
        "# Contrived",
        "A quick run",
        read,
        "| Setting A | test accuracy |",
        "* a note",
        "[dots.html](dots.html)",
        "PNG was not written: no browser here.",
    ):
        assert part in text
    assert "dots.png" not in text
    assert not (tmp_path / "dots.png").exists()
    page = (tmp_path / "dots.html").read_text("utf-8")
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page  # it needs nothing else
    assert len(pd.read_csv(tmp_path / "table.csv")) == 6
    assert (tmp_path / "table.md").read_text("utf-8").strip() in text


def test_figures_show_the_means(tmp_path: Path) -> None:
    drawn = figures.of_arms(rows(tmp_path), [("a", "0.1", "Setting A")], "Title")
    dots = {
        trace.hovertemplate.split(":")[0]: float(trace.x[0])
        for trace in drawn.data
        if trace.hovertemplate and trace.xaxis == "x2"
    }
    assert dots["OGA L1"] == pytest.approx(2.0)
    assert dots["random trim like OGA L1"] == pytest.approx(0.0, abs=1e-9)
    assert dots["oracle"] == pytest.approx(3.0)
    assert "untrimmed" not in dots


def test_a_band_of_two_seeds_is_not_drawn(tmp_path: Path) -> None:
    table = rows(tmp_path)
    table["by_epoch"] = [(0.1, a) for a in table["accuracy"]]
    panels = [("a", "0.1", "Setting A")]
    for some, bands in ((table, 2), (table.query("seed < 2"), 0)):
        drawn = figures.of_curves(some, panels, (arms.UNTRIMMED, "l1"), "Title")
        assert sum(trace.fill == "toself" for trace in drawn.data) == bands
        assert [trace.name for trace in drawn.data if trace.showlegend] == ["untrimmed", "OGA L1"]
    assert np.allclose(drawn.data[0].y[0], 10)
