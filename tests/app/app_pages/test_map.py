"""The page with the maps: the first picture at once and UMAP after it, and what is done on them changes the one selection."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app import state
from app.components import map_panel
from app.routes import ROUTES
from oga_core import Run, decide, embedding, worker
from oga_core.maps import JOBS, pictures, run_maps
from oga_core.review import Selection, load_view, select_rows, standing_of
from tests.app.conftest import CLASSES

OpenPage = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were started; they stay as they are, with none of their processes."""
    kinds: list[str] = []

    def start(run: Run, kind: str) -> None:
        kinds.append(kind)
        run.job(kind).entered()

    monkeypatch.setattr(worker, "start", start)
    return kinds


def acted(at: AppTest, run: Run, space: str = "gradients", **action: Any) -> Selection:
    """The selection after an action on a map."""
    at.session_state[f"map_{run.id}_{space}-actions"] = [{"picture": f"{space}-pca", "id": 1} | action]
    at.run()
    assert not at.exception
    return load_view(run, at.query_params[state.VIEW])


def captions(at: AppTest) -> list[str]:
    return [caption.value for caption in at.main.caption]


def watched(at: AppTest) -> list[tuple[str, str, str]]:
    """The jobs whose progress is shown: kind, label and stage."""
    given = [json.loads(e.proto.json) for e in at.get("bidi_component") if e.proto.component_name == "oga_job_progress"]
    return [(one["kind"], one["label"], one["status"]["stage"]) for one in given]


def choose(at: AppTest, key: str, value: str) -> None:
    at.button_group(key=key).set_value(value).run()
    assert not at.exception


def test_the_first_picture_is_there_at_once_and_umap_is_begun(run: Run, open_page: OpenPage, started: list[str]) -> None:
    at = open_page("map", run=run.id)
    assert pictures(run) == ["gradients-pca"]
    assert started == ["map"]
    assert captions(at) == ["**Principal components of the gradients**"]
    assert watched(at) == [("map", "UMAP", "starting")]
    run.job("map").cancel()
    with pytest.raises(KeyboardInterrupt), run.job("map").track(lambda *step: None):
        raise KeyboardInterrupt
    at.run()
    assert captions(at) == ["**Principal components of the gradients**; UMAP cancelled: stopped by the user"]
    at.button(key="map_again_gradients").click().run()
    assert started == ["map", "map"]
    embedding(run)
    at.run()
    assert captions(at)[0].startswith("**UMAP of the gradients**")


def test_the_map_of_the_features_comes_after_that_of_the_gradients(run: Run, open_page: OpenPage, started: list[str]) -> None:
    at = open_page("map", run=run.id)
    choose(at, "map_view", "Both")
    assert pictures(run) == ["gradients-pca", "features-pca"]
    assert started == ["map"]
    assert watched(at) == [
        ("map", "Gradients, UMAP", "starting"),
        ("map", "Features, UMAP after the other map's", "starting"),
    ]
    embedding(run)
    at.run()
    assert started == ["map", JOBS["features"]]


def test_a_workspace_that_cannot_be_written_has_no_umap(run: Run, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding(run, method="pca")
    monkeypatch.setattr(worker, "start", lambda run, kind: None)
    at = open_page("map", run=run.id)
    assert captions(at) == ["**Principal components of the gradients**; no UMAP, for nothing can be saved"]
    assert watched(at) == []


def test_a_lasso_holds_when_umap_comes_and_its_picture_stays_until_the_user_moves_on(run: Run, open_page: OpenPage) -> None:
    at = open_page("map", run=run.id)
    positions = embedding(run, method="pca")
    (left, down), (right, up) = positions.min(0) - 1, positions.mean(0)
    corners = [[float(x), float(y)] for x, y in ((left, down), (right, down), (right, up), (left, up))]
    chosen = acted(at, run, mode="replace", polygon=corners)
    assert chosen.lassos == (("replace", tuple(map(tuple, corners)), "gradients-pca"),)
    inside = np.flatnonzero((positions <= positions.mean(0)).all(1))
    assert 0 < len(inside) < 90
    embedding(run)
    at.run()
    assert captions(at) == ["**Principal components of the gradients**"]
    at.button(key="map_show_gradients").click().run()
    assert captions(at)[0].startswith("**UMAP of the gradients**")
    assert at.subheader[0].value == f"{len(inside)} selected"
    chosen = acted(at, run, mode="replace", picture="gradients-umap", polygon=[[-99, -99], [99, -99], [99, 99], [-99, 99]])
    assert chosen.lassos[0][2] == "gradients-umap"
    assert at.subheader[0].value == "90 selected"


def test_a_click_selects_one_sample_and_the_page_is_on_it(run: Run, open_page: OpenPage) -> None:
    at = open_page("map", run=run.id)
    chosen = acted(at, run, mode="replace", row=17)
    found = select_rows(run, chosen, standing_of(run), {"gradients-pca": embedding(run, method="pca")})
    assert found.tolist() == [17]
    assert at.session_state[state.FOCUS] == run.table["sample_id"].iloc[17]
    assert acted(at, run, mode="clear").lassos == ()


def test_classes_singled_out_in_the_legend_are_a_filter(run: Run, open_page: OpenPage) -> None:
    at = open_page("map", run=run.id)
    assert acted(at, run, mode="isolate", by="given label", codes=[2, 0]).labels == (CLASSES[2], CLASSES[0])
    assert acted(at, run, mode="isolate", by="predicted", codes=[1]).predicted == (CLASSES[1],)
    assert acted(at, run, mode="isolate", by="decision", codes=[0, 2]).decisions == ("undecided", "remove")
    after = acted(at, run, mode="isolate", by="given label", codes=[])
    assert (after.labels, after.predicted) == ((), (CLASSES[1],))
    assert acted(at, run, mode="isolate", by="flag", codes=[1]) == after
    assert acted(at, run, mode="isolate", by="given label", codes=[99]).labels == ()


def test_an_act_on_a_picture_that_is_not_there_is_ignored(run: Run, open_page: OpenPage) -> None:
    at = open_page("map", run=run.id)
    assert acted(at, run, mode="replace", picture="gradients-umap", row=3).lassos == ()
    assert acted(at, run, mode="replace", picture="../etc", row=3).lassos == ()


def test_the_reason_why_there_is_no_map_is_shown_in_its_place(
    run: Run, open_page: OpenPage, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_maps, "SMALLEST", 91)
    at = open_page("map", run=run.id)
    assert "There is no map: a map needs at least 91 scored samples; this run has 90." in [text.value for text in at.main.text]
    assert started == []


def test_the_choice_of_map_and_colour_outlasts_a_visit_elsewhere(run: Run, open_page: OpenPage) -> None:
    at = open_page("map", run=run.id)
    choose(at, "map_by", "score")
    at.switch_page("app_pages/scores.py").run()
    at.switch_page("app_pages/map.py").run()
    assert at.button_group(key="map_by").value == "score"


# ---- colours ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def colours(run: Run) -> Callable[..., Any]:
    def find_colours(by: str, **fields: Any) -> Any:
        usual: dict[str, Any] = {"detector": "l1", "budget": 0.1}
        return map_panel._colours(run, Selection(**usual | fields), by)

    return find_colours


def test_colours_are_places_in_the_names(run: Run, colours: Callable[..., Any]) -> None:
    for by, column in (("given label", "label"), ("predicted", "predicted")):
        found = colours(by, labels=(CLASSES[1],), predicted=(CLASSES[2], CLASSES[0]))
        assert [found.names[code] for code in found.codes] == run.table[column].tolist()
        assert found.isolated == {"given label": [1], "predicted": [2, 0]}[by]
    decide(run, run.table.iloc[[5, 8]], "remove", reviewer="ann")
    found = colours("decision", decisions=("remove",))
    assert np.flatnonzero(found.codes).tolist() == [5, 8]
    assert [found.names[code] for code in (found.codes[5], found.codes[0], *found.isolated)] == ["remove", "undecided", "remove"]


def test_flags_and_ranks_of_the_score_are_coloured(run: Run, colours: Callable[..., Any]) -> None:
    found = colours("flag")
    assert sorted(run.flag("l1", 0.1).index) == np.flatnonzero(found.codes).tolist()
    assert found.isolated is None
    found, score = colours("score"), run.table["l1"].to_numpy()
    order = np.argsort(score, kind="stable")
    assert (np.diff(found.codes[order].astype(int)) >= 0).all()
    assert found.codes[order[0]] == 0
    assert found.codes[order[-1]] == 256 * 89 // 90
    assert found.continuous[:2] == (score.min(), score.max())


def test_a_class_that_only_the_model_has_has_a_colour_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    table = run.table.copy()
    table.loc[table.index[3], "predicted"] = "unicorn"
    run.__dict__["table"] = table
    run.cached.clear()
    found = map_panel._colours(run, Selection("l1"), "predicted")
    assert found.names[found.codes[3]] == "not in the data"


# ---- what the browser fetches ----------------------------------------------------------------------------------------------
def test_positions_and_what_cards_say_are_fetched_as_plain_numbers_that_may_be_kept(run: Run) -> None:
    positions = embedding(run, method="pca")
    expected = {
        "positions/gradients-pca": positions,
        "codes/label": run.codes("label"),
        "codes/predicted": run.codes("predicted"),
        "scores/l1": run.table["l1"].to_numpy(np.float32),
        "indices/all": run.table["index"].to_numpy(np.int32),
    }
    with TestClient(Starlette(routes=ROUTES)) as client:
        for name, values in expected.items():
            answer = client.get(f"/oga/map/{run.id}/{name}")
            assert np.array_equal(np.frombuffer(answer.content, values.dtype), values.ravel())
            assert "immutable" in answer.headers["cache-control"]
        for name in (
            "positions/gradients-umap",
            "positions/x",
            "codes/score",
            "scores/label",
            "indices/label",
            "files/table.parquet",
        ):
            assert client.get(f"/oga/map/{run.id}/{name}").status_code == 404
        assert client.get("/oga/map/gone/codes/label").status_code == 404
