"""The one selection means the same samples wherever it is drawn, and is found again after a refresh."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from oga_core.data import Dataset
from oga_core.detectors import Interval, Recommendation
from oga_core.review import (
    ORDERS,
    Selection,
    decide,
    decisions,
    default_selection,
    inside,
    load_view,
    save_view,
    select_rows,
    standing_of,
)
from oga_core.review.selection import Polygon
from oga_core.runs import Run, Workspace, database
from oga_core.runs.run import RECOMMENDATION, TABLE

SQUARE = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0))
RIGHT = ((1.0, -1.0), (9.0, -1.0), (9.0, 9.0), (1.0, 9.0))
UMAP, PCA = "gradients-umap", "gradients-pca"
POSITIONS = np.array([[0.5, 0.5], [1.5, 0.5], [5.0, 5.0], [0.5, 1.5], [1.5, 1.5], [-1.0, 0.0]], np.float32)
EVERYTHING = Selection("l1", flagged_only=False)
COORDINATE = st.integers(-5, 5)
POINT = st.tuples(COORDINATE, COORDINATE)


def rows(run: Run, selection: Selection, **positions: np.ndarray) -> list[int]:
    return [int(i) for i in select_rows(run, selection, standing_of(run), positions)]


def test_the_most_suspicious_come_first_and_the_budget_says_how_many(run: Run) -> None:
    assert rows(run, EVERYTHING) == [1, 3, 5, 4, 2, 0]
    assert rows(run, Selection("l1", budget=0.5)) == [1, 3, 5]
    assert rows(run, Selection("loss", budget=0.5)) == [0, 5, 4]
    assert default_selection(run) == Selection("l1", budget=0.05)


@pytest.mark.parametrize(("suggested", "budget", "first"), [(0.5, 0.5, [4, 0, 2]), (1 / 3, 1 / 3, [4, 0]), (0.0, 0.01, [])])
def test_at_first_as_many_are_flagged_as_are_recommended_by_the_recommended_score(
    run: Run, suggested: float, budget: float, first: list[int]
) -> None:
    table = run.table.assign(recommended=[0.9, 0.0, 0.8, 0.2, 1.0, 0.1])
    found = Recommendation(["oof:noise"], False, Interval(0.1, 0.0, 0.2), suggested, None, [], [], [])
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(found.to_dict())))
    run.set_summary(replace(run.summary, detectors=("recommended", "l1", "loss")))
    again = Workspace(run.workspace.path).run(run.id)
    assert default_selection(again) == load_view(again, None) == Selection("recommended", budget)
    assert rows(again, default_selection(again)) == first


def test_labels_predictions_and_decisions_narrow_it_together(run: Run) -> None:
    decide(run, run.table.iloc[[1, 3]], "keep", reviewer="ann")
    assert rows(run, Selection("l1", flagged_only=False, labels=("dog", "cat"))) == [1, 3, 4, 0]
    assert rows(run, Selection("l1", flagged_only=False, predicted=("owl",))) == [3, 5, 4]
    assert rows(run, Selection("l1", flagged_only=False, decisions=("keep",))) == [1, 3]
    assert rows(run, Selection("l1", flagged_only=False, decisions=("undecided", "remove"))) == [5, 4, 2, 0]
    assert rows(run, Selection("l1", budget=0.5, labels=("owl", "cat"), decisions=("undecided",))) == [5]


def test_a_range_of_the_score_is_inclusive_and_is_that_of_the_chosen_score(run: Run) -> None:
    assert rows(run, replace(EVERYTHING, score_range=(2.0, 5.0))) == [3, 5, 4, 2]
    assert rows(run, replace(EVERYTHING, score_range=(2.0, 2.0))) == [2]
    assert rows(run, replace(EVERYTHING, detector="loss", score_range=(2.0, 5.0))) == [0, 5, 4, 3]
    assert rows(run, replace(EVERYTHING, score_range=(7.0, 9.0))) == []


def test_disputed_are_those_that_reviewers_disagree_about(run: Run) -> None:
    decide(run, run.table.iloc[:4], "keep", reviewer="ann")
    decide(run, run.table.iloc[2:5], "remove", reviewer="bob")
    assert rows(run, replace(EVERYTHING, disputed=True)) == [3, 2]
    assert rows(run, replace(EVERYTHING, disputed=True, decisions=("keep",))) == []


class Texts(Dataset):
    """Texts in the order opposite to that of the run's table."""

    def __init__(self, texts: list[str]) -> None:
        self.labels, self.sources, self.texts = np.zeros(len(texts), np.int64), [f"row {i}" for i in range(len(texts))], texts

    def content(self, index: int) -> bytes:
        return self.texts[index].encode()

    def load(self, index: int) -> str:
        return self.texts[index]

    def search(self, words: str) -> np.ndarray:
        return np.array([all(w in text for w in words.split()) for text in self.texts])


def test_words_are_searched_in_the_data_at_the_samples_own_place_and_without_them_in_the_sources(run: Run) -> None:
    table = run.table.assign(index=[5, 4, 3, 2, 1, 0])
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    again = Workspace(run.workspace.path).run(run.id)
    texts = Texts(["a b", "b", "a", "c a", "", "b a"])
    assert select_rows(again, replace(EVERYTHING, search="a b"), standing_of(again), None, texts).tolist() == [5, 0]
    assert rows(again, replace(EVERYTHING, search=" DOG 1/ ")) == [1]
    assert rows(again, replace(EVERYTHING, search=" ")) == [1, 3, 5, 4, 2, 0]


FILTERS = st.fixed_dictionaries(
    {
        "detector": st.sampled_from(["l1", "loss"]),
        "budget": st.sampled_from([0.01, 0.3, 0.5, 0.99]),
        "flagged_only": st.booleans(),
        "labels": st.sets(st.sampled_from(["cat", "dog", "owl"])).map(tuple),
        "predicted": st.sets(st.sampled_from(["cat", "owl"])).map(tuple),
        "decisions": st.sets(st.sampled_from(["undecided", "keep", "remove"])).map(tuple),
        "score_range": st.none() | st.tuples(st.integers(0, 3), st.integers(3, 6)),
        "search": st.sampled_from(["", "cat", "o p 1"]),
        "disputed": st.booleans(),
        "order": st.sampled_from(ORDERS),
    }
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FILTERS)
def test_every_filter_together_is_what_they_are_one_by_one(run: Run, fields: dict[str, object]) -> None:
    if not standing_of(run).by_id:
        decide(run, run.table.iloc[1:5], "keep", reviewer="ann")
        decide(run, run.table.iloc[4:], "remove", reviewer="bob")
    chosen = Selection(**fields)  # type: ignore[arg-type]
    table, stands = run.table, decisions(run)
    score = table[chosen.detector]
    flagged = score.sort_values(ascending=False, kind="stable").index[: round(chosen.budget * 6)]
    low, high = chosen.score_range or (-np.inf, np.inf)
    expected = set()
    for row, entry in table.iterrows():
        decision = stands.get(str(entry["sample_id"]))
        state = decision.action if decision else "undecided"
        if (
            (row in flagged or not chosen.flagged_only)
            and (entry["label"] in chosen.labels or not chosen.labels)
            and (entry["predicted"] in chosen.predicted or not chosen.predicted)
            and (state in chosen.decisions or not chosen.decisions)
            and low <= entry[chosen.detector] <= high
            and all(word in str(entry["source"]) for word in chosen.search.split())
            and ((decision is not None and decision.disputed) or not chosen.disputed)
        ):
            expected.add(row)
    found = rows(run, chosen)
    assert (set(found), len(found)) == (expected, len(expected))
    if chosen.order == "suspicion":
        assert score[found].is_monotonic_decreasing


def test_picked_samples_alone_are_meant_and_those_that_are_gone_are_not(run: Run) -> None:
    ids = tuple(run.table["sample_id"].iloc[[0, 3, 5]])
    assert rows(run, replace(EVERYTHING, samples=ids)) == [3, 5, 0]
    assert rows(run, replace(EVERYTHING, samples=(*ids, "gone"), labels=(str(run.table["label"].iloc[3]),))) == [
        row for row in (3, 5, 0) if run.table["label"].iloc[row] == run.table["label"].iloc[3]
    ]
    assert rows(run, replace(EVERYTHING, samples=("gone",))) == []


def test_lassos_are_drawn_one_after_the_other(run: Run) -> None:
    def lassoed(*steps: tuple[str, Polygon, str]) -> list[int]:
        pictures = {UMAP: POSITIONS, PCA: POSITIONS[::-1]}
        return sorted(rows(run, Selection("l1", flagged_only=False, lassos=steps), **pictures))

    assert lassoed(("replace", SQUARE, UMAP)) == [0, 1, 3, 4]
    assert lassoed(("replace", SQUARE, UMAP), ("subtract", RIGHT, UMAP)) == [0, 3]
    assert lassoed(("replace", SQUARE, UMAP), ("add", RIGHT, UMAP)) == [0, 1, 2, 3, 4]
    assert lassoed(("subtract", RIGHT, UMAP)) == [0, 3, 5]
    assert lassoed(("subtract", RIGHT, UMAP), ("add", SQUARE, UMAP)) == [0, 1, 3, 4, 5]
    assert lassoed(("add", SQUARE, UMAP), ("replace", RIGHT, UMAP)) == [1, 2, 4]
    assert lassoed(("replace", SQUARE, PCA)) == [1, 2, 4, 5]
    assert lassoed(("replace", SQUARE, PCA), ("subtract", RIGHT, UMAP)) == [5]


def test_a_lasso_on_a_picture_that_is_not_there_is_left_out_of_account(run: Run) -> None:
    drawn = replace(EVERYTHING, lassos=(("replace", SQUARE, UMAP),))
    assert rows(run, drawn) == rows(run, drawn, **{PCA: POSITIONS}) == [1, 3, 5, 4, 2, 0]


def test_the_first_lasso_takes_from_all_samples_unless_it_subtracts() -> None:
    flagged = Selection("l1")
    assert not flagged.lassoed(SQUARE, "replace", UMAP).flagged_only
    assert not flagged.lassoed(SQUARE, "add", UMAP).flagged_only
    assert flagged.lassoed(SQUARE, "subtract", UMAP).flagged_only


def test_a_lasso_that_replaces_forgets_those_before_it() -> None:
    drawn = EVERYTHING.lassoed(SQUARE, "add", UMAP).lassoed(RIGHT, "subtract", PCA)
    assert drawn.lassos == (("add", SQUARE, UMAP), ("subtract", RIGHT, PCA))
    assert drawn.lassoed(SQUARE, "replace", UMAP).lassos == (("replace", SQUARE, UMAP),)
    assert drawn.without_lasso().lassos == ()


@given(corners=st.tuples(POINT, POINT, POINT), point=POINT)
def test_inside_a_triangle_is_on_one_side_of_all_its_edges(corners: tuple[tuple[int, int], ...], point: tuple[int, int]) -> None:
    x, y = point
    sides = [(x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1])]
    assume(0 not in sides)
    expected = all(s > 0 for s in sides) or all(s < 0 for s in sides)
    assert bool(inside(np.array([point], np.float32), corners)[0]) == expected


def test_where_a_polygon_crosses_itself_the_even_odd_rule_holds() -> None:
    turn = 2 * np.pi * np.arange(5) * 2 / 5
    star = tuple(zip(np.sin(turn).tolist(), np.cos(turn).tolist()))
    assert inside(np.array([[0.0, 0.0], [0.0, 0.9], [0.0, -0.6], [2.0, 0.0]]), star).tolist() == [False, True, False, False]


@pytest.mark.parametrize("polygon", [(), ((0.0, 0.0),), ((0.0, 0.0), (9.0, 9.0))])
def test_a_line_holds_nothing(polygon: tuple[tuple[float, float], ...]) -> None:
    assert not inside(POSITIONS, polygon).any()


def test_many_points_are_looked_at_in_blocks_as_if_at_once() -> None:
    points = np.random.default_rng(0).uniform(-1, 3, (200_001, 2)).astype(np.float32)
    expected = ((points > 0) & (points < 2)).all(1)
    assert np.array_equal(inside(points, SQUARE), expected)


def test_a_view_is_found_again_by_its_id_after_a_restart(run: Run) -> None:
    lassos = (("replace", SQUARE, UMAP), ("add", RIGHT, PCA))
    first = Selection(
        "loss",
        0.25,
        False,
        ("dog",),
        ("owl",),
        ("keep", "undecided"),
        lassos,
        (-1.5, 2.0),
        "Ä \ud800",
        True,
        "cluster",
        ("a", "b"),
    )
    view, other = save_view(run, first), save_view(run, EVERYTHING)
    assert view == save_view(run, first) != other
    again = Workspace(run.workspace.path).run(run.id)
    assert load_view(again, view) == first
    assert load_view(again, other) == EVERYTHING


def test_without_its_id_the_latest_view_of_the_run_is_found_and_else_the_default(run: Run) -> None:
    assert load_view(run, None) == default_selection(run)
    for selection in (EVERYTHING, Selection("loss"), EVERYTHING):
        save_view(run, selection)
    assert load_view(run, None) == load_view(run, "nope") == EVERYTHING
    assert save_view(run.workspace.new_run("other"), EVERYTHING) != save_view(run, EVERYTHING)


@pytest.mark.parametrize(
    "change",
    [
        {"detector": "gone"},
        {"detector": None},
        {"detector": ["l1"]},
        {"budget": 7},
        {"budget": -1},
        {"budget": "much"},
        {"budget": None},
        {"labels": ["bird"]},
        {"labels": "cat"},
        {"predicted": [1, None]},
        {"decisions": ["delete"]},
        {"lassos": [["explode", [[0, 0], [1, 1], [2, 0]], "x"]]},
        {"lassos": [["add", [[0, 0], [1, 1], [2, 0]]]]},
        {"lassos": 3},
        {"lassos": [["add", [["a", "b"]], "x"]]},
        {"lassos": [["add", [[1]], "x"]]},
        {"budget": 10**400},
        {"score_range": [2, 1]},
        {"score_range": [1]},
        {"score_range": ["a", 1]},
        {"score_range": [float("nan"), 1]},
        {"score_range": 3},
        {"score_range": [0, 10**400]},
        {"search": ""},
        {"disputed": 1},
        {"order": "random"},
        {"order": None},
        {"order": ["cluster"]},
        {"samples": 3},
        {"samples": "ab"},
        {"samples": [3, None, ["a"]]},
    ],
)
def test_what_does_not_fit_the_run_is_left_out_of_a_view(run: Run, change: dict[str, object]) -> None:
    known = default_selection(run)
    view = save_view(run, known)
    text = json.dumps(asdict(known) | change)
    with database.writing(run.workspace.database) as connection:
        connection.execute("UPDATE views SET state = ? WHERE id = ?", (text, view))
    assert load_view(run, view) == known


def test_a_view_from_before_there_were_more_fields_is_still_a_view(run: Run) -> None:
    view = save_view(run, Selection("loss", 0.25, labels=("dog",)))
    known = ("detector", "budget", "flagged_only", "labels", "predicted", "decisions", "lassos")
    text = json.dumps({name: value for name, value in asdict(load_view(run, view)).items() if name in known})
    with database.writing(run.workspace.database) as connection:
        connection.execute("UPDATE views SET state = ? WHERE id = ?", (text, view))
    assert load_view(run, view) == Selection("loss", 0.25, labels=("dog",))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", "[" * 100_000, '{"lassos": [], "budget": "x"}'])
def test_what_is_no_view_at_all_is_the_default(run: Run, text: str) -> None:
    view = save_view(run, EVERYTHING)
    with database.writing(run.workspace.database) as connection:
        connection.execute("UPDATE views SET state = ? WHERE id = ?", (text, view))
    assert load_view(run, view) == default_selection(run)


def test_a_search_is_cut_to_a_length_that_can_be_looked_for(run: Run) -> None:
    assert load_view(run, save_view(run, Selection("l1", search="x" * 5000))).search == "x" * 200
