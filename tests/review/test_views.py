"""Selections that are kept under a name."""

from __future__ import annotations

import pytest

from oga_core.errors import InputError
from oga_core.review import Selection, forget_view, list_views, name_view
from oga_core.runs import Run, Workspace, database


def test_named_selections_are_found_again_after_a_restart_in_the_order_of_their_names(run: Run) -> None:
    assert list_views(run) == {}
    owls = Selection("loss", 0.1, labels=("owl",), score_range=(1.0, 2.5), search="a b", disputed=True, order="cluster")
    name_view(run, "owls", Selection("l1"))
    name_view(run, "cats ", Selection("l1", labels=("cat",)))
    name_view(run, " owls", owls)
    again = Workspace(run.workspace.path).run(run.id)
    assert list(list_views(again).items()) == [("cats", Selection("l1", labels=("cat",))), ("owls", owls)]
    assert list_views(run.workspace.new_run("other")) == {}


def test_a_named_selection_can_be_forgotten(run: Run) -> None:
    name_view(run, "owls", Selection("l1"))
    forget_view(run, "cats")
    assert list(list_views(run)) == ["owls"]
    forget_view(run, "owls")
    assert list_views(run) == {}


@pytest.mark.parametrize("name", ["", " \t\n", "x" * 81])
def test_a_name_that_is_none_is_refused(run: Run, name: str) -> None:
    with pytest.raises(InputError, match="a view needs a name of 1 to 80 characters"):
        name_view(run, name, Selection("l1"))


def test_a_name_stays_the_text_it_is_on_one_line(run: Run) -> None:
    name_view(run, "<b>ф 猫</b>\n'; DROP TABLE runs", Selection("l1"))
    assert list(list_views(run)) == ["<b>ф 猫</b> '; DROP TABLE runs"]


def test_a_named_selection_that_no_longer_fits_is_one_that_does(run: Run) -> None:
    with database.writing(run.workspace.database) as connection:
        connection.execute("INSERT INTO named_views (run, name, state) VALUES (?, 'old', '[]')", (run.id,))
    assert list_views(run) == {"old": Selection("l1")}
