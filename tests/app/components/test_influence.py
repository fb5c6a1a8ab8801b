"""The page of the influence: a test sample, and the training samples that push towards it and against it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import queues
from app.components import influence
from oga_core import Run, Workspace, influence_of
from oga_core.influence import against, influence_of_row, towards
from oga_core.review import Selection, load_view, save_view, select_rows, standing_of
from oga_core.scoring import do_run, prepare
from tests.app.app_pages.test_review import handed

pytest.importorskip("transformers", reason="transformers is not installed (pip install 'oga-core[hf]')")
pytest.importorskip("peft", reason="peft is not installed (pip install 'oga-core[hf]')")

from tests import language

OpenPage = Callable[..., AppTest]
PROMPT, ANSWER = "Spell the word lamb.", "l a m b"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a small language model on prompts with answers."""
    at = tmp_path_factory.mktemp("answered")
    run = prepare(
        Workspace(at / "workspace"), language.table(at / "t.csv"), weights=language.save(at / "m", steps=60), scope="lora"
    )
    do_run(run)
    return run


@pytest.fixture
def run(workspace: Workspace, answered: Run) -> Run:
    """The same run in a workspace of its own."""
    shutil.copytree(answered.workspace.path, workspace.path, dirs_exist_ok=True)
    return workspace.run(answered.id)


def shown(at: AppTest) -> queues.Queue:
    """The samples that the page hands to the browser."""
    queue = queues.find(handed(at)["queue"])
    assert queue is not None
    return queue


def find(at: AppTest, prompt: str, answer: str) -> AppTest:
    """Write a test sample and have the training samples found."""
    at.text_area(key="influence_prompt").set_value(prompt)
    at.text_area(key="influence_answer").set_value(answer)
    return next(b for b in at.button if b.label == "Find the training samples").click().run()


def test_a_written_test_sample_gets_both_lists_which_become_the_selection_of_the_review(open_page: OpenPage, run: Run) -> None:
    save_view(run, Selection("loss", labels=("spell",)))
    at = find(open_page("influence", run=run.id), "Spell it.", " ")
    (error,) = at.error
    assert "the answer is empty" in error.value
    assert not at.get("bidi_component")
    at = find(at, PROMPT, ANSWER)
    assert not at.error
    found = influence_of(run, PROMPT, ANSWER)
    most, least = towards(found, 12), against(found, 12)
    queue = shown(at)
    np.testing.assert_array_equal(queue.rows, [*most.index, *least.index])
    assert queue.cosines is not None
    np.testing.assert_allclose(queue.cosines, [*most["cosine"], *least["cosine"]], atol=2e-3)
    assert (handed(at)["layout"], handed(at)["own"]) == ("gallery", True)
    assert any(f"{found['error'].max():.2f}" in caption.value for caption in at.caption)

    next(b for b in at.button if b.label.startswith("Review these")).click().run()
    assert not at.exception
    chosen = load_view(run, None)
    assert (chosen.detector, chosen.labels) == ("loss", ())
    assert set(chosen.samples) == set(run.table["sample_id"].iloc[queue.rows])
    assert sorted(select_rows(run, chosen, standing_of(run))) == sorted(queue.rows)
    assert sorted(shown(at).rows) == sorted(queue.rows)
    next(b for b in at.sidebar.button if b.label == f"{len(queue.rows)} picked samples").click().run()
    assert load_view(run, None).samples == ()


def test_a_sample_of_the_run_is_chosen_by_its_position_and_shown(open_page: OpenPage, run: Run) -> None:
    at = open_page("influence", run=run.id)
    at.segmented_control(key="influence_way").set_value(influence.WAYS[1]).run()
    at.number_input(key="influence_index").set_value(4).run()
    assert "\n".join(language.ROWS[4][:2]) in [t.value for t in at.text]
    found = influence_of_row(run, 4)
    np.testing.assert_array_equal(shown(at).rows, [*towards(found, 12).index, *against(found, 12).index])
    at.segmented_control(key="influence_count").set_value(6).run()
    assert len(shown(at).rows) == 12


def test_the_page_is_for_runs_whose_model_takes_words(open_page: OpenPage, scored: Run, run: Run) -> None:
    assert influence.is_offered(run)
    assert not influence.is_offered(scored)
    assert not influence.is_offered(None)


def test_a_classifier_of_texts_is_asked_for_a_class(open_page: OpenPage, workspace: Workspace, tmp_path: Path) -> None:
    rows = [(f"the {word} number {i} was seen", word) for i in range(40) for word in ("cat", "dog")]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    run = prepare(workspace, tmp_path / "t.csv", epochs=2, folds=0)
    do_run(run)
    at = open_page("influence", run=run.id)
    at.text_area(key="influence_prompt").set_value("the dog was seen")
    at.selectbox(key="influence_answer").set_value("dog")
    next(b for b in at.button if b.label == "Find the training samples").click().run()
    found = influence_of(run, "the dog was seen", "dog")
    np.testing.assert_array_equal(shown(at).rows[:12], towards(found, 12).index)
    assert any("the cosines are exact" in caption.value for caption in at.caption)
