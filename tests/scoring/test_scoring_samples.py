"""Scoring: samples that cannot be scored, and models whose classes are others or in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

import oga_core as oga
from oga_core.models import Classifier
from oga_core.models.inputs import FeatureEncoder, collate_default
from oga_core.runs import Run, recommend
from oga_core.scoring import score
from tests.scoring.blobs import GIVEN, NAMES, N, X, data, module, run

__all__ = ["module", "run"]


def folder_of_images(path: Path) -> Path:
    """Six readable images of two classes, and four files that are none."""
    rng = np.random.default_rng(0)
    for name in ("light", "dark"):
        (path / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(150 if name == "light" else 0, 256 if name == "light" else 100, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    whole = (path / "dark" / "0.png").read_bytes()
    (path / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (path / "dark" / "empty.png").write_bytes(b"")
    (path / "light" / "page.png").write_text("<html>not found</html>")
    (path / "light" / "zero.jpg").write_bytes(bytes(500))
    return path


def test_broken_images_are_listed_and_the_totals_add_up(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dataset = oga.open_dataset(folder_of_images(tmp_path / "images"))
    run = score(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), dataset, workspace=tmp_path / "w")
    assert (run.summary.samples, run.summary.scored, run.summary.not_scored) == (10, 6, 4)
    assert sorted([*run.table["index"], *run.not_scored["index"]]) == list(range(10))
    assert list(run.not_scored) == ["index", "source", "reason"]
    reasons = dict(zip(run.not_scored["source"], run.not_scored["reason"]))
    assert sorted(reasons) == ["dark/cut.png", "dark/empty.png", "light/page.png", "light/zero.jpg"]
    assert reasons["dark/empty.png"] == "the file is empty"
    assert "not an image" in reasons["light/page.png"]
    assert all(reasons.values())


class Overflowing(nn.Module):
    """Gives NaN where the first feature is above 100, infinity where it is below -100."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        at = x[:, :1]
        x = torch.where(at > 100, torch.nan, torch.where(at < -100, torch.full_like(x, torch.inf), x))
        out: Tensor = self.module(x)
        return out


def test_samples_whose_output_is_not_finite_are_listed_and_change_no_other(run: Run, module: nn.Module, tmp_path: Path) -> None:
    values = X.copy()
    values[[0, 100], 0], values[329, 0] = 1000, -1000
    bad = score(Overflowing(module), oga.from_arrays(values, GIVEN, NAMES), workspace=tmp_path)
    assert bad.not_scored["index"].tolist() == [0, 100, 329]
    assert set(bad.not_scored["reason"]) == {"the model's output is not finite"}
    same = ["sample_id", "label", "predicted", "l1", "l2", "suggested_label"]
    wanted = run.table.drop(index=[0, 100, 329]).reset_index(drop=True)
    pd.testing.assert_frame_equal(bad.table[same], wanted[same], rtol=1e-4)
    assert len(bad.factors) == N - 3


def test_samples_without_label_or_with_broken_features_are_listed(module: nn.Module, tmp_path: Path) -> None:
    values, labels = X.copy(), GIVEN.copy()
    values[5, 2], labels[9] = np.nan, -1
    run = score(module, oga.from_arrays(values, labels, NAMES), workspace=tmp_path)
    told = dict(zip(run.not_scored["index"], run.not_scored["reason"]))
    assert told == {5: "a feature is not a finite number", 9: "has no label"}
    assert run.summary.scored == len(run.table) == N - 2


class Named(nn.Module):
    """The fitted module with its outputs in another order and one class more."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        assert isinstance(module, nn.Sequential)
        self.body, self.head, last = module[:2], nn.Linear(16, 4), module[2]
        assert isinstance(last, nn.Linear)
        order = [2, 0, 1]  # cat, ant, bee
        with torch.no_grad():
            self.head.weight[1:], self.head.bias[1:] = last.weight[order], last.bias[order]
            self.head.weight[0], self.head.bias[0] = 0, -1e4

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def classifier(module: nn.Module, names: list[str]) -> Classifier:
    return Classifier("named", module.eval(), names, FeatureEncoder(5), collate_default)


def test_classes_are_matched_by_name_and_the_scores_are_the_same(run: Run, module: nn.Module, tmp_path: Path) -> None:
    turned = score(classifier(Named(module), ["dog", "cat", "ant", "bee"]), data(), workspace=tmp_path)
    mistaken = [{pair[:2] for pair in recommend(one).mistaken[:4]} for one in (turned, run)]
    assert len(mistaken[0] & mistaken[1]) >= 3
    assert turned.summary.mapping == (("ant", 2, "ant"), ("bee", 3, "bee"), ("cat", 1, "cat"))
    same = ["sample_id", "label", "predicted", "loss", "confidence", "l1", "l2", "suggested_label"]
    pd.testing.assert_frame_equal(turned.table[same], run.table[same], rtol=1e-4)
    renamed = score(module, oga.from_arrays(X, [NAMES[g] for g in GIVEN], ["cat", "bee", "ant"]), workspace=tmp_path)
    assert not renamed.table["l1"].equals(run.table["l1"])  # without names the outputs are the classes in their order


def test_a_class_that_only_the_model_has_is_never_suggested(module: nn.Module, tmp_path: Path) -> None:
    named = Named(module)
    with torch.no_grad():
        named.head.bias[0] = 1e4
    run = score(classifier(named, ["dog", "cat", "ant", "bee"]), data(), workspace=tmp_path)
    assert set(run.table["predicted"]) == {"dog"}
    assert set(run.table["suggested_label"]) <= set(NAMES)
    assert (run.table["suggested_label"] != run.table["label"]).all()
    assert set(run.table["suggested_label_source"]) == {"model's second choice"}


def test_a_model_is_scored_in_eval_mode(run: Run, module: nn.Module, tmp_path: Path) -> None:
    assert isinstance(module, nn.Sequential)
    dropping = nn.Sequential(*module[:2], nn.Dropout(0.5), module[2])
    for model in (dropping.train(), Classifier("mine", dropping.train(), None, FeatureEncoder(5), collate_default)):
        dropping.train()
        again = score(model, data(), workspace=tmp_path)
        assert not dropping.training
        assert any("eval mode" in note for note in again.summary.notes)
        pd.testing.assert_frame_equal(again.table, run.table, rtol=1e-4)
