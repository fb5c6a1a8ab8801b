"""Influence: the cosine of a test sample's gradient with each training sample's, against autograd and against a step itself."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from oga_core import InputError, Run, Workspace, from_arrays, influence_of, score
from oga_core.cli import main
from oga_core.influence import against, gradient_of, influence_of_row, towards
from oga_core.review.sample_model import model_of
from oga_core.sandbox import SandboxedModel, open_sandboxed
from oga_core.scoring import do_run, prepare

pytest.importorskip("transformers", reason="transformers is not installed (pip install 'oga-core[hf]')")
pytest.importorskip("peft", reason="peft is not installed (pip install 'oga-core[hf]')")

from tests import language
from tests.language import ROWS, alone, reference
from tests.models import test_hugging_face as texts
from tests.models.test_hugging_face import Save, save

__all__ = ["save"]
PROMPT, ANSWER = "Spell the word lamb.", "l a m b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that knows some of its answers, with an adapter."""
    return language.save(tmp_path_factory.mktemp("model"), steps=60)


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    at = tmp_path_factory.mktemp("run")
    made = prepare(Workspace(at / "workspace"), language.table(at / "t.csv"), weights=folder, scope="lora")
    do_run(made)
    return made


@cache
def adapters(folder: Path) -> tuple[nn.Module, list[nn.Parameter]]:
    """The model by transformers and peft, in double precision, and what the scope has of it."""
    module = reference(folder)
    return module, [p for name, p in module.named_parameters() if "lora_" in name]


def gradient(folder: Path, prompt: str, answer: str) -> np.ndarray:
    """Of the mean loss of an answer's tokens, by autograd on this sample alone."""
    module, low = adapters(folder)
    found = torch.autograd.grad(alone(module, prompt, answer).mean(), low)
    return torch.cat([g.flatten() for g in found]).numpy()


def test_cosines_are_those_of_autograd_up_to_the_error_that_is_stated(run: Run, folder: Path) -> None:
    found = influence_of(run, PROMPT, ANSWER).sort_index()
    own = gradient(folder, PROMPT, ANSWER)
    others = np.stack([gradient(folder, prompt, answer) for prompt, answer, _ in ROWS])
    lengths = np.linalg.norm(others, axis=1)
    cosines = others @ own / lengths / np.linalg.norm(own)
    off = (found["cosine"] - cosines) / found["error"].clip(lower=2e-3)
    assert np.abs(off).max() < 4
    assert 0.3 < np.sqrt((off**2).mean()) < 1.6
    sure = np.abs(cosines) > 0.2
    assert sure.sum() > 5
    assert (np.sign(found["cosine"]) == np.sign(cosines))[sure].all()
    expected = found["cosine"] * lengths * np.linalg.norm(own)
    np.testing.assert_allclose(found["inner_product"], expected, rtol=2e-3)


def test_a_step_on_what_pushes_towards_lowers_the_loss_and_on_what_pushes_against_raises_it(run: Run, folder: Path) -> None:
    found = influence_of(run, PROMPT, ANSWER)
    module, low = adapters(folder)
    before = float(alone(module, PROMPT, ANSWER).mean())
    for rows, sign in ((towards(found, 3), -1), (against(found, 3), 1)):
        for row in rows.to_dict("records"):
            assert abs(row["cosine"]) > 2 * row["error"]
            step = torch.autograd.grad(alone(module, *ROWS[row["index"]][:2]).mean(), low)
            rate = 1e-3 / float(torch.cat([g.flatten() for g in step]).norm())
            with torch.no_grad():
                for parameter, way in zip(low, step, strict=True):
                    parameter.sub_(rate * way)
                after = float(alone(module, PROMPT, ANSWER).mean())
                for parameter, way in zip(low, step, strict=True):
                    parameter.add_(rate * way)
            assert np.sign(after - before) == sign


def test_a_sample_of_the_run_is_the_same_test_sample_when_it_is_typed(run: Run) -> None:
    prompt, answer, _ = ROWS[4]
    typed, chosen = influence_of(run, prompt, answer), influence_of_row(run, 4)
    assert typed.index[0] == 4
    assert typed["cosine"].iloc[0] == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(typed["cosine"].drop(index=4).sort_index(), chosen["cosine"].sort_index(), atol=3e-3)
    assert 4 not in chosen.index
    assert len(chosen) == len(ROWS) - 1


def test_both_lists_begin_with_what_pushes_most_and_never_share_a_sample(run: Run) -> None:
    found = influence_of(run, PROMPT, ANSWER)
    most, least = towards(found, 100), against(found, 100)
    assert most["cosine"].is_monotonic_decreasing
    assert least["cosine"].is_monotonic_increasing
    assert (most["cosine"] > 0).all()
    assert (least["cosine"] < 0).all()
    assert len(most) + len(least) == (found["cosine"] != 0).sum()
    pd.testing.assert_frame_equal(
        run.table.loc[most.index, ["sample_id", "source", "label"]], most[["sample_id", "source", "label"]]
    )


def test_what_the_process_that_reads_says_is_not_believed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.spec.data is not None
    contained = open_sandboxed(run.spec.data.source)
    answers: list[Any] = [
        {},
        [],
        {"residual": [[1]], "feature": [1], "norm": 1, "loss": 1},
        {"residual": [float("nan")], "feature": [], "norm": 1, "loss": 1},
        {"residual": "x", "feature": [], "norm": 1, "loss": 1},
    ]
    for answer in answers:
        monkeypatch.setattr(contained, "ask", lambda *_, answer=answer: answer)
        with pytest.raises(InputError, match="answered what makes no sense"):
            gradient_of(run, PROMPT, ANSWER, SandboxedModel(contained, *model_of(run)))
    other = {"residual": [1], "feature": [1, 0], "norm": 1, "loss": 1}
    monkeypatch.setattr(contained, "ask", lambda *_: other)
    with pytest.raises(InputError, match="its gradients have 1 × 2 numbers, those of the run 1 × 512"):
        gradient_of(run, PROMPT, ANSWER, SandboxedModel(contained, *model_of(run)))


def test_weights_that_have_changed_since_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oga_core.influence.stale", lambda _: "the weights have changed")
    with pytest.raises(InputError, match="the weights have changed"):
        influence_of(run, PROMPT, ANSWER)
    assert len(influence_of_row(run, 0)) == len(ROWS) - 1


# ---- classifiers -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scope", ["head", "lora"])
def test_a_classifier_of_texts_has_it_too(save: Save, tmp_path: Path, scope: str) -> None:
    own = texts.adapted(save(name="both/base"), tmp_path / "both" / "lora").eval()
    pd.DataFrame({"text": texts.TEXTS, "label": texts.LABELS}).to_csv(tmp_path / "t.csv", index=False)
    made = prepare(Workspace(tmp_path / "workspace"), tmp_path / "t.csv", weights=tmp_path / "both", scope=scope)
    do_run(made)
    moved = [
        p
        for name, p in own.named_parameters()
        if ("lora_" in name if scope == "lora" else "classifier.modules_to_save.default.weight" in name)
    ]

    def by_autograd(text: str, label: str) -> np.ndarray:
        logits = own(**texts.tokenizer()(text, return_tensors="pt")).logits
        loss = nn.functional.cross_entropy(logits, torch.tensor([["neg", "pos"].index(label)]))
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, moved)]).double().numpy()

    test = by_autograd("a good one", "neg")
    others = [by_autograd(*row) for row in zip(texts.TEXTS, texts.LABELS, strict=True)]
    cosines = np.array([g @ test / np.linalg.norm(g) / np.linalg.norm(test) for g in others])
    found = influence_of(made, "a good one", "neg").sort_index()
    assert (np.abs(found["cosine"] - cosines) < 4.5 * found["error"] + 3e-3).all()
    assert (found["error"] == 0).all() == (scope == "head")
    with pytest.raises(InputError, match="'other' is not a class of these data; there are: neg, pos"):
        influence_of(made, "a good one", "other")


def test_a_new_sample_is_not_compared_with_the_sketches_of_another_version(run: Run) -> None:
    summary = run.summary
    run.set_summary(replace(summary, sketch_form=None))
    try:
        with pytest.raises(InputError, match=r"sketches of run .* are of another version of OGA"):
            influence_of(run, PROMPT, ANSWER)
        assert len(influence_of_row(run, 0)) == len(run.table) - 1
    finally:
        run.set_summary(summary)


def test_where_it_cannot_be_told_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 100,001 characters; at most 100,000 are taken"):
        influence_of(run, "x" * 100_001, ANSWER)
    with pytest.raises(InputError, match=r"has no row 99; it has 36, from 0"):
        influence_of_row(run, 99)
    features = from_arrays(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2)
    other = score(nn.Linear(3, 2), features, workspace=tmp_path)
    with pytest.raises(InputError, match="is on features data: a test sample must be one of the run's"):
        influence_of(other, PROMPT, ANSWER)
    assert len(influence_of_row(other, 0)) == 11


def test_pairs_of_texts_are_chosen_and_not_typed(save: Save, tmp_path: Path) -> None:
    pd.DataFrame({"text_a": texts.TEXTS, "text_b": texts.TEXTS[::-1], "label": texts.LABELS}).to_csv(
        tmp_path / "t.csv", index=False
    )
    made = prepare(Workspace(tmp_path / "workspace"), tmp_path / "t.csv", weights=save())
    do_run(made)
    with pytest.raises(InputError, match="these data are pairs of texts"):
        influence_of(made, "a good one", "neg")
    assert len(influence_of_row(made, 0)) == 5


# ---- the command line ------------------------------------------------------------------------------------------------------
def test_the_command_line_prints_both_lists(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(run.workspace.path)]
    assert main(["influence", run.id, "--prompt", PROMPT, "--answer", ANSWER, "--top", "3", "--json", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    found = influence_of(run, PROMPT, ANSWER)
    assert [row["sample_id"] for row in told["towards"]] == towards(found, 3)["sample_id"].tolist()
    assert [row["sample_id"] for row in told["against"]] == against(found, 3)["sample_id"].tolist()
    assert main(["influence", run.id, "--row", "4", *place]) == 0
    out = capsys.readouterr().out
    assert "towards: a step of training on these lowers the loss of the test sample" in out
    assert f"{influence_of_row(run, 4)['cosine'].iloc[0]:+.3f} ± " in out
    for wrong in ([], ["--prompt", "x"], ["--row", "1", "--prompt", "x", "--answer", "y"], ["--row", "1", "--top", "0"]):
        assert main(["influence", run.id, *wrong, *place]) == 2
