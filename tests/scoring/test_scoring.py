"""Scoring whole data sets: the table against autograd, flags, order, seeds and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from oga_core.errors import InputError
from oga_core.runs import Run, Workspace
from oga_core.runs.run import FACTORS, SKETCHES
from oga_core.scoring import passes, score
from tests.scoring.blobs import COLUMNS, FLIPS, GIVEN, NAMES, TRUE, N, X, by_id, data, module, run
from tests.scoring.test_scoring_runs import clamped

__all__ = ["module", "run"]


def test_the_columns_are_those_that_are_documented(run: Run) -> None:
    assert list(run.table) == COLUMNS
    numbers = ["loss", "confidence", "recommended", "l1", "l2", "iforest", "random", "low_confidence"]
    assert all(run.table[c].dtype == np.float64 for c in numbers)
    assert np.isfinite(run.table[numbers]).all(axis=None)
    assert run.table["index"].tolist() == list(range(N))
    assert run.table["sample_id"].tolist() == [data().sample_id(i) for i in range(N)]
    assert run.table["source"].tolist()[:2] == ["row 0", "row 1"]


def test_the_numbers_are_those_of_autograd(run: Run, module: nn.Module) -> None:
    for i in (*range(25), N - 1):
        logits = module(torch.from_numpy(X[i : i + 1]))
        loss = F.cross_entropy(logits.double(), torch.from_numpy(GIVEN[i : i + 1]))
        (gradient,) = torch.autograd.grad(loss, module[2].weight)  # type: ignore[index]
        row, p = run.table.loc[i], logits.softmax(1)[0].detach()
        assert row["l1"] == pytest.approx(gradient.abs().sum().item(), rel=1e-4)
        assert row["l2"] == pytest.approx(gradient.norm().item(), rel=1e-4)
        assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert row["confidence"] == pytest.approx(p[GIVEN[i]].item(), rel=1e-4)
        assert (row["label"], row["predicted"]) == (NAMES[GIVEN[i]], NAMES[int(p.argmax())])
        residuals, features = run.factors.block(slice(i, i + 1))
        np.testing.assert_allclose(residuals.T @ features, gradient, atol=2e-3 * gradient.norm().item())


@pytest.mark.parametrize("scope", ["all", "0.*", "*.bias,0.weight"])
def test_norms_over_any_scope_are_those_of_autograd(scope: str, run: Run, module: nn.Module, tmp_path: Path) -> None:
    wider = score(module, data(), scope=scope, workspace=tmp_path)
    parameters = [
        p for name, p in module.named_parameters() if scope == "all" or name[0] == "0" or (name.endswith("bias") and "," in scope)
    ]
    for i in (*range(25), N - 1):
        loss = F.cross_entropy(module(torch.from_numpy(X[i : i + 1])).double(), torch.from_numpy(GIVEN[i : i + 1]))
        flat = torch.cat([g.flatten().double() for g in torch.autograd.grad(loss, parameters)])
        row = wider.table.loc[i]
        assert row["l1"] == pytest.approx(flat.abs().sum().item(), rel=1e-4)
        assert row["l2"] == pytest.approx(flat.norm().item(), rel=1e-4)
        residual, sketch = wider.factors.block(slice(i, i + 1))
        assert np.linalg.norm(residual) * np.linalg.norm(sketch) == pytest.approx(flat.norm().item(), rel=2e-3)
    assert list(wider.table) == COLUMNS
    pd.testing.assert_frame_equal(
        wider.table[["sample_id", "label", "predicted"]], run.table[["sample_id", "label", "predicted"]]
    )
    np.testing.assert_allclose(wider.table["loss"], run.table["loss"], rtol=1e-5)
    assert wider.factors.width == 512
    assert (wider.summary.scope, wider.summary.head) == (scope, "2")
    assert any(note.startswith(f"scope {scope}: {len(parameters)} tensors") for note in wider.summary.notes)


def test_cosines_of_sketches_are_near_those_of_the_gradients(module: nn.Module, tmp_path: Path) -> None:
    sketched = score(module, data(), scope="all", workspace=tmp_path).factors
    gradients = []
    for i in range(N):
        loss = F.cross_entropy(module(torch.from_numpy(X[i : i + 1])), torch.from_numpy(GIVEN[i : i + 1]))
        gradients.append(
            F.normalize(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))]), dim=0)
        )
    true = torch.stack(gradients) @ gradients[7]
    error = sketched.cosines(7) - true.numpy()
    assert np.sqrt((error**2).mean()) < 2 / np.sqrt(512)


def test_a_model_without_a_head_can_be_scored_over_all_parameters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = score(clamped(), data(), scope="all", workspace=tmp_path)
    assert run.status().state == "done"
    assert run.summary.head is None


def test_a_scope_without_parameters_enters_no_run(module: nn.Module, tmp_path: Path) -> None:
    for scope in ("everything", "lora"):
        with pytest.raises(InputError, match=r"adapter|nor does it match a parameter"):
            score(module, data(), scope=scope, workspace=tmp_path)
    assert not Workspace(tmp_path).runs()


def kept(run: Run) -> set[str]:
    """Names of the arrays among the files of a run."""
    return {path.stem for path in run.path.glob("*.npy")}


def test_beyond_the_head_the_sketches_are_kept_beside_the_features_of_the_head(
    run: Run, module: nn.Module, tmp_path: Path
) -> None:
    few = slice(40)
    wider = score(module, data(few), scope="all", workspace=tmp_path)
    assert kept(run) == set(FACTORS)
    assert kept(wider) == {"features", "feature_norms", *SKETCHES}
    for name in ("features", "feature_norms"):
        assert np.array_equal(np.load(wider.file(f"{name}.npy")), np.load(run.file(f"{name}.npy"))[few])
    assert isinstance(module, nn.Sequential)
    clamping = score(nn.Sequential(module, nn.Hardtanh()), data(few), scope="all", workspace=tmp_path)
    assert kept(clamping) == set(SKETCHES)


@pytest.mark.parametrize("name", ["recommended", "l1", "l2", "iforest", "loss", "low_confidence"])
def test_flipped_labels_score_higher(run: Run, name: str) -> None:
    assert roc_auc_score(GIVEN != TRUE, run.table[name]) > 0.9
    assert (run.flag(name, FLIPS)["index"] < FLIPS).mean() > 0.7


def test_a_flag_is_the_top_of_the_table(run: Run) -> None:
    flagged = run.flag("l2", 0.1)
    assert flagged["l2"].tolist() == sorted(run.table["l2"], reverse=True)[:33]
    assert run.flag("recommended", 0.1)["recommended"].tolist() == sorted(run.table["recommended"], reverse=True)[:33]
    assert list(flagged) == COLUMNS
    assert len(run.flag("random", 7)) == 7
    with pytest.raises(InputError, match="no score 'l3'; it has: recommended, l1, l2, iforest, random, loss, low_confidence"):
        run.flag("l3", 7)


def test_the_suggested_label_is_another_one_and_mostly_the_right_one(run: Run) -> None:
    table = run.table
    assert (table["suggested_label"] != table["label"]).all()
    assert set(table["suggested_label"]) <= set(NAMES)
    disagree = table["predicted"] != table["label"]
    assert (table["suggested_label"] == table["predicted"])[disagree].all()
    assert set(table["suggested_label_source"][disagree]) == {"model prediction"}
    assert set(table["suggested_label_source"][~disagree]) == {"model's second choice"}
    flips = table[:FLIPS]
    assert (flips["suggested_label"] == [NAMES[t] for t in TRUE[:FLIPS]]).mean() > 0.8


def test_the_summary_counts_and_names(run: Run, module: nn.Module) -> None:
    summary = run.summary
    assert (summary.samples, summary.scored, summary.not_scored) == (N, N, 0)
    assert summary.agreement == pytest.approx((module(torch.from_numpy(X)).argmax(1).numpy() == GIVEN).mean())
    assert (summary.class_names, summary.head, summary.scope, summary.kind) == (tuple(NAMES), "2", "head", "features")
    assert summary.mapping == (("ant", 0, "ant"), ("bee", 1, "bee"), ("cat", 2, "cat"))
    assert summary.detectors == ("recommended", "l1", "l2", "iforest", "random", "loss", "low_confidence")
    assert Workspace(run.workspace.path).run(run.id).summary == summary
    assert (run.title, run.status().state) == ("Sequential on 330 samples", "done")


def test_the_controls_come_with_any_detector(module: nn.Module, tmp_path: Path) -> None:
    for asked in (["iforest"], ["iforest", "recommended"]):
        run = score(module, data(slice(60)), detectors=asked, workspace=tmp_path)
        assert list(run.table) == [c for c in COLUMNS if c not in ("l1", "l2")]
        assert [d.name for d in run.detectors] == ["recommended", "iforest", "random", "loss", "low_confidence"]


def test_a_seed_gives_the_same_table_and_another_only_another_chance(run: Run, module: nn.Module, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(score(module, data(), workspace=tmp_path, seed=0).table, run.table)
    other = score(module, data(), workspace=tmp_path, seed=1).table
    assert [c for c in COLUMNS if not other[c].equals(run.table[c])] == ["recommended", "iforest", "random"]


def test_the_order_of_the_data_does_not_change_a_score(run: Run, module: nn.Module, tmp_path: Path) -> None:
    turned = score(module, data(np.random.default_rng(1).permutation(N)), workspace=tmp_path)
    ours, theirs = by_id(run), by_id(turned)
    assert turned.table["sample_id"].tolist() != run.table["sample_id"].tolist()
    pd.testing.assert_frame_equal(ours.drop(columns=["index", "source"]), theirs.drop(columns=["index", "source"]), rtol=1e-4)


def test_a_sample_scores_the_same_in_any_batch(
    run: Run, module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "BATCH", 7)
    pd.testing.assert_frame_equal(score(module, data(), workspace=tmp_path).table, run.table, rtol=1e-4)
