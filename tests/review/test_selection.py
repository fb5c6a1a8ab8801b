"""The one selection means the same samples wherever it is drawn, and is found again after a refresh."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oga_core.detectors import Interval, Recommendation
from oga_core.review import Selection, decide, decisions, default_selection, inside, load_view, save_view, selected
from oga_core.runs import Run, Workspace, database
from oga_core.runs.run import RECOMMENDATION, TABLE

SQUARE = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0))
RIGHT = ((1.0, -1.0), (9.0, -1.0), (9.0, 9.0), (1.0, 9.0))
POSITIONS = np.array([[0.5, 0.5], [1.5, 0.5], [5.0, 5.0], [0.5, 1.5], [1.5, 1.5], [-1.0, 0.0]], np.float32)
EVERYTHING = Selection("l1", flagged_only=False)
COORDINATE = st.integers(-5, 5)
POINT = st.tuples(COORDINATE, COORDINATE)


def rows(run: Run, selection: Selection, positions: np.ndarray | None = None) -> list[int]:
    return [int(i) for i in selected(run, selection, decisions(run), positions)]


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
    run.set_summary(run.summary | {"detectors": ["recommended", "l1", "loss"]})
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


def test_lassos_are_drawn_one_after_the_other(run: Run) -> None:
    def lassoed(*steps: tuple[str, object]) -> list[int]:
        return sorted(rows(run, Selection("l1", flagged_only=False, lassos=steps), POSITIONS))  # type: ignore[arg-type]

    assert lassoed(("replace", SQUARE)) == [0, 1, 3, 4]
    assert lassoed(("replace", SQUARE), ("subtract", RIGHT)) == [0, 3]
    assert lassoed(("replace", SQUARE), ("add", RIGHT)) == [0, 1, 2, 3, 4]
    assert lassoed(("subtract", RIGHT), ("add", SQUARE)) == [0, 1, 3, 4]
    assert lassoed(("add", SQUARE), ("replace", RIGHT)) == [1, 2, 4]


def test_without_a_map_lassos_are_left_out_of_account(run: Run) -> None:
    assert rows(run, Selection("l1", flagged_only=False, lassos=(("replace", SQUARE),))) == [1, 3, 5, 4, 2, 0]


def test_a_lasso_that_replaces_forgets_those_before_it() -> None:
    drawn = EVERYTHING.lassoed(SQUARE, "add").lassoed(RIGHT, "subtract")
    assert drawn.lassos == (("add", SQUARE), ("subtract", RIGHT))
    assert drawn.lassoed(SQUARE, "replace").lassos == (("replace", SQUARE),)
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
    lassos = (("replace", SQUARE), ("add", RIGHT))
    first = Selection("loss", 0.25, False, ("dog",), ("owl",), ("keep", "undecided"), lassos)
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
    assert save_view(run.workspace.new_run("other", {}), EVERYTHING) != save_view(run, EVERYTHING)


@pytest.mark.parametrize(
    "change",
    [
        {"detector": "gone"}, {"detector": None}, {"detector": ["l1"]}, {"budget": 7}, {"budget": -1}, {"budget": "much"},
        {"budget": None}, {"labels": ["bird"]}, {"labels": "cat"}, {"predicted": [1, None]}, {"decisions": ["delete"]},
        {"lassos": [["explode", [[0, 0], [1, 1], [2, 0]]]]}, {"lassos": 3}, {"lassos": [["add", [["a", "b"]]]]},
        {"lassos": [["add", [[1]]]]},
    ],
)  # fmt: skip
def test_what_does_not_fit_the_run_is_left_out_of_a_view(run: Run, change: dict[str, object]) -> None:
    known = default_selection(run)
    view = save_view(run, known)
    text = json.dumps(asdict(known) | change)
    with database.writing(run.workspace.database) as connection:
        connection.execute("UPDATE views SET state = ? WHERE id = ?", (text, view))
    assert load_view(run, view) == known
