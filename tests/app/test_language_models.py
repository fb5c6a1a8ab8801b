"""The pages and routes on a run of a causal language model: they offer what there is, and nothing that needs classes."""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app import queues, state
from app.components import start_form
from oga_core import Run, Workspace, decisions
from oga_core.review import Selection, save_view, token_losses, why
from oga_core.review.sample_model import model_of
from oga_core.runs import Weights
from oga_core.scoring import do_run, prepare
from oga_core.scoring.one_sample import OpenedModel
from oga_core.serving import ROOTS
from tests import language
from tests.app.app_pages.test_review import handed
from tests.app.conftest import browser

OpenPage = Callable[..., AppTest]
LONG = "a very long question " * 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("language")
    path = language.table(folder / "t.csv", [(LONG, "cat", "spell"), *language.ROWS])
    run = prepare(Workspace(folder / "workspace"), path, weights=language.save(folder / "model"), scope="lora")
    do_run(run)
    return run


@pytest.fixture
def run(workspace: Workspace, made: Run) -> Run:
    """The same run in a workspace of its own, where nobody has decided anything."""
    shutil.copytree(made.workspace.path, workspace.path, dirs_exist_ok=True)
    return workspace.run(made.id)


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A browser that looks at a page of this server."""
    with browser() as client:
        yield client


def test_the_start_page_tells_of_the_run_without_agreement_or_classes(open_page: OpenPage, run: Run) -> None:
    at = open_page("start", run=run.id)
    labels = {m.label: m.value for m in at.metric}
    assert labels["Scored"] == "37"
    assert float(labels["Mean loss"]) == pytest.approx(run.table["loss"].mean(), rel=1e-2)
    assert "Agreement" not in labels
    assert not any("Classes" in e.label for e in at.expander)
    assert any("1 texts are longer than 48 tokens; the model does not read the beginnings" in t.value for t in at.text)


def test_the_scores_and_the_panel_offer_only_what_there_is(open_page: OpenPage, run: Run) -> None:
    at = open_page("scores", run=run.id)
    assert at.selectbox(key="panel_detector").options == [
        "L1 norm",
        "L2 norm",
        "Isolation forest",
        "Random (control)",
        "Loss (control)",
    ]
    assert {m.label for m in at.multiselect} == {"Group", "Decision"}
    assert at.multiselect(key="panel_decisions").options == ["undecided", "keep", "remove", "unsure"]
    assert "What would be flagged, by group" in [s.value for s in at.subheader]
    save_view(run, Selection("loss", flagged_only=False, predicted=("spell",)))
    at = open_page("scores", run=run.id)
    assert next(m.value for m in at.metric if m.label == "Selected samples") == "37"


def test_the_map_is_that_of_gradients_and_is_not_coloured_by_predictions(
    open_page: OpenPage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oga_core.worker.start", lambda run, kind: run.job(kind).entered())
    at = open_page("map", run=run.id)
    assert at.segmented_control(key="map_view").options == ["Gradients"]
    assert at.segmented_control(key="map_by").options == ["group", "score", "flag", "decision"]


def test_the_review_is_told_that_nothing_is_relabelled(open_page: OpenPage, run: Run) -> None:
    found = handed(open_page("review", run=run.id))
    assert (found["decisions"], found["keyed"]) == (["keep", "remove", "unsure"], {})


def test_the_export_page_shows_prompts_and_answers(open_page: OpenPage, run: Run) -> None:
    at = open_page("export", run=run.id)
    at.selectbox(key="export_what").set_value("cleaned").run()
    assert not at.exception
    assert list(at.dataframe[0].value.columns) == ["prompt", "answer", "kind", "oga_status"]


def test_a_folder_and_a_table_by_path_show_their_scopes_and_costs(
    open_page: OpenPage, made: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(made.spec.model, Weights)
    folder = Path(made.spec.model.path)
    monkeypatch.setenv(ROOTS, str(folder.parent))
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[2]).run()
    at.text_input(key="data_path").set_value(str(folder.parent / "t.csv")).run()
    assert any("no language model is trained here" in e.value for e in at.error)  # no starter is trained for it
    at.segmented_control(key="model").set_value(start_form.OWN).run()
    at.text_input(key="weights_path").set_value(str(folder)).run()
    assert not at.error
    assert at.radio(key="scope").options == ["all", "lora", start_form.PATTERN]
    assert {"37", "3", "prompts"} <= {t.value for t in at.text}
    at.multiselect[0].set_value(["l1", "margin"]).run()
    assert any("margin needs the probabilities of classes" in e.value for e in at.error)


def test_the_queue_has_the_beginnings_of_prompt_and_answer(client: TestClient, run: Run) -> None:
    queue = queues.keep(run, run.ranked("loss"), Selection("loss", flagged_only=False))
    samples = {i["row"]: i for i in client.get(f"/oga/window/{run.id}/{queue.name}?start=0").json()["samples"]}
    prompt, answer, kind = language.ROWS[4]
    sample = samples[5]
    assert (sample["text"], sample["answer"], sample["label"], sample["long"]) == (prompt, answer, kind, False)
    assert sample["loss"] == pytest.approx(run.table["loss"][5])
    assert not {"predicted", "confidence", "suggested"} & set(sample)
    assert (samples[0]["text"], samples[0]["long"]) == (LONG[: queues.SHORT // 2], True)
    assert client.get(f"/oga/text/{run.id}/0").json() == {"text": LONG, "answer": "cat", "characters": len(LONG) + 3}
    found = client.get(f"/oga/why/{run.id}/5?queue={queue.name}").json()
    assert found["near"] == why(run, 5, queue.selection).to_dict()["near"]
    assert client.get(f"/oga/map/{run.id}/codes/predicted").status_code == 404


def test_tokens_come_with_their_losses_from_another_process(client: TestClient, run: Run) -> None:
    found = client.get(f"/oga/tokens/{run.id}/5").json()
    expected = token_losses(run, 5, OpenedModel(run.open_dataset(), *model_of(run)))
    for part in ("prompt", "answer"):
        for (text, loss, own), token in zip(found[part], getattr(expected, part), strict=True):
            assert (text, own) == (token.text, token.own)
            assert loss is None if token.loss is None else math.isclose(loss, token.loss, rel_tol=1e-6)
    assert "".join(text for text, _, own in found["answer"] if own) == language.ROWS[4][1]
    assert client.get(f"/oga/tokens/{run.id}/0").json()["before"]
    assert client.get(f"/oga/tokens/{run.id}/99").status_code == 404


def test_tokens_of_a_model_that_is_gone_are_a_refusal_in_words(client: TestClient, run: Run) -> None:
    run.set_spec(replace(run.spec, model=Weights("/nowhere/model")))
    state.load_run.clear()
    answer = client.get(f"/oga/tokens/{run.id}/5")
    assert answer.status_code == 400
    assert "not found: /nowhere/model" in answer.json()["error"]


def post(client: TestClient, run: Run, action: str, label: str | None) -> Any:
    sent = {"run": run.id, "op": uuid.uuid4().hex, "action": action, "label": label, "samples": [[5, 0]]}
    return client.post("/oga/decide", json=sent)


@pytest.mark.parametrize("label", [None, "twice"])
def test_a_relabelling_is_refused_by_the_route_and_the_rest_is_saved(client: TestClient, run: Run, label: str | None) -> None:
    answer = post(client, run, "relabel", label)
    assert answer.status_code == 400
    assert "no class label" in answer.json()["error"]
    assert post(client, run, "unsure", "").json()["saved"] == 1
    assert [d.action for d in decisions(run).values()] == ["unsure"]
