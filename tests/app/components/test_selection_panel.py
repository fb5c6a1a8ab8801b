"""The sidebar: filters, the count, named views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamlit.testing.v1 import AppTest

from app import state
from oga_core import Run, decide
from oga_core.review import Selection, list_views, load_view, save_view
from oga_core.runs import DataSource
from tests.app.conftest import flags_at_first

OpenPage = Callable[..., AppTest]


def count(at: AppTest) -> str:
    (shown,) = (m.value for m in at.sidebar.metric if m.label == "Selected samples")
    return str(shown)


def view(at: AppTest, run: Run) -> Selection:
    return load_view(run, at.query_params["view"][0])


def test_the_count_follows_every_filter_and_stands_on_every_page(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    assert count(at) == str(len(flags_at_first(run)))
    at.toggle(key="panel_flagged_only").set_value(False).run()
    assert count(at) == "90"
    at.text_input(key="panel_search").set_value("ROW 7").run()  # with a 7 in its number
    assert count(at) == "18"
    for page in ("map", "review", "export"):
        at.switch_page(f"app_pages/{page}.py").run()
        assert count(at) == "18"
        assert at.text_input(key="panel_search").value == "ROW 7"


def test_disputed_samples_can_be_singled_out(open_page: OpenPage, run: Run) -> None:
    one = run.table.iloc[[5]]
    decide(run, one, "keep", reviewer="Ann")
    decide(run, one, "remove", reviewer="Bob")  # who has not seen Ann's
    at = open_page("scores", run=run.id)
    at.toggle(key="panel_flagged_only").set_value(False).run()
    at.toggle(key="panel_disputed").set_value(True).run()
    assert count(at) == "1"


def test_a_range_of_scores_is_shown_and_taken_away_by_a_click(open_page: OpenPage, run: Run) -> None:
    middle = float(run.table["l1"].median())
    kept = save_view(run, Selection("l1", 0.1, flagged_only=False, score_range=(middle, 1e9)))
    at = open_page("scores", run=run.id, view=kept)
    assert count(at) == str((run.table["l1"] >= middle).sum())
    (button,) = (b for b in at.sidebar.button if b.label.startswith("Score "))
    button.click().run()
    assert view(at, run).score_range is None
    assert count(at) == "9"


def test_a_named_view_is_found_again_by_everybody_until_it_is_forgotten(open_page: OpenPage, run: Run) -> None:
    name = "look *again* at [these](http://example.invalid)"
    at = open_page("scores", run=run.id)
    at.select_slider(key="panel_budget").set_value(0.2).run()
    at.text_input(key="view_name").set_value(f"  {name} ").run()
    assert list(list_views(run)) == [name]
    at.select_slider(key="panel_budget").set_value(0.05).run()
    other = open_page("scores", run=run.id)
    other.button(key=f"view_{name}").click().run()
    assert other.select_slider(key="panel_budget").value == 0.2
    assert "[these](" not in other.button(key=f"view_{name}").label
    other.button(key=f"forget_{name}").click().run()
    assert list_views(run) == {}
    assert not other.exception


def test_reset_gives_what_was_selected_at_first(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    first = view(at, run)
    at.select_slider(key="panel_budget").set_value(0.5).run()
    at.multiselect(key="panel_decisions").set_value(["keep"]).run()
    assert count(at) == "0"
    next(b for b in at.sidebar.button if b.label == "Reset").click().run()
    assert view(at, run) == first


def test_the_guide_leads_through_an_example_and_can_be_closed(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    assert not [b for b in at.button if b.key == "guide_close"]
    example = run.workspace.path / "examples"
    example.mkdir()
    run.set_spec(replace(run.spec, data=DataSource(str(example / "digits.zip"))))
    state.load_run.clear()
    at = open_page("scores", run=run.id)
    at.button(key="guide_close").click().run()
    assert not [b for b in at.button if b.key == "guide_close"]
