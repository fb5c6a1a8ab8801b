"""Scoring whole data sets: the table against autograd, samples that cannot be scored, order, seeds, failures."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import oga_core as oga
from oga_core.data import Dataset
from oga_core.detectors import Recommendation, named, of_head
from oga_core.errors import InputError
from oga_core.models import Classifier, load_model, save_weights, train, wrap
from oga_core.models.inputs import FeatureEncoder, collate_default
from oga_core.progress import Cancelled, Progress
from oga_core.runs import Run, Workspace, recommend
from oga_core.runs.run import FACTORS, RECOMMENDATION, SKETCHES, TABLE
from oga_core.scoring import do_run, estimate, passes, prepare, score
from oga_core.scoring.out_of_fold import OutOfFold, cross_fit
from oga_core.scoring.parts import Parts

COLUMNS = [
    "sample_id",
    "index",
    "source",
    "label",
    "predicted",
    "loss",
    "confidence",
    "recommended",
    "l1",
    "l2",
    "iforest",
    "random",
    "low_confidence",
    "suggested_label",
    "suggested_label_source",
]
"""The loss is a control too, in the one column of that name."""
N, FLIPS, NAMES = 330, 20, ["ant", "bee", "cat"]


def blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, given labels (the first `FLIPS` are wrong) and true labels."""
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    given = true.copy()
    given[:FLIPS] = (true[:FLIPS] + rng.integers(1, 3, FLIPS)) % 3
    return (rng.normal(size=(N, 5)) + 4 * np.eye(5)[true]).astype(np.float32), given, true


X, GIVEN, TRUE = blobs()


def data(rows: np.ndarray | slice = slice(None)) -> Dataset:
    return oga.from_arrays(X[rows], GIVEN[rows], NAMES)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    """An MLP fitted to the given labels."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(GIVEN)).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def run(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The scoring that most tests look at."""
    return score(module, data(), workspace=tmp_path_factory.mktemp("workspace"))


def by_id(run: Run) -> pd.DataFrame:
    return run.table.set_index("sample_id").sort_index()


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
        (gradient,) = torch.autograd.grad(loss, module[2].weight)  # type: ignore[index,union-attr]
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
    assert any(note.startswith(f"scope {scope}: {len(parameters)} parameters") for note in wider.summary.notes)


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
        self.body, self.head = module[:2], nn.Linear(16, 4)
        order = [2, 0, 1]  # cat, ant, bee
        with torch.no_grad():
            self.head.weight[1:], self.head.bias[1:] = module[2].weight[order], module[2].bias[order]
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


@pytest.fixture(scope="module")
def files(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data as ``.npz``, and a starter's weights."""
    folder = tmp_path_factory.mktemp("files")
    np.savez(folder / "data.npz", x=X, y=GIVEN, class_names=NAMES)
    save_weights(train(data(), epochs=3).classifier, folder / "w.safetensors")
    return folder / "data.npz", folder / "w.safetensors"


def test_a_prepared_run_gives_what_score_gives(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, weights = files
    queued = prepare(Workspace(tmp_path), source, weights=weights, seed=3)
    assert queued.status().state == "absent"
    do_run(queued)
    direct = score(load_model(None, weights, data()), oga.open_dataset(source), seed=3, workspace=tmp_path)
    pd.testing.assert_frame_equal(queued.table, direct.table)
    assert queued.summary.model_source == "weights w.safetensors"
    again = Workspace(tmp_path).run(queued.id)
    assert again.open_dataset().sample_id(7) == queued.table["sample_id"][7]
    assert again.status().state == "done"


def test_without_a_model_a_starter_is_trained_and_kept(files: tuple[Path, Path], tmp_path: Path) -> None:
    run = prepare(Workspace(tmp_path), files[0], epochs=2, title="first try", notes=["a note of the page"])
    do_run(run)
    assert (run.title, run.summary.notes[0]) == ("first try", "a note of the page")
    assert "starter model trained here" in run.summary.model_source
    assert 0.3 < run.summary.held_out_accuracy <= 1
    loaded = load_model(None, run.file("model.safetensors"), data())
    again = score(loaded, data(), workspace=tmp_path)
    # What is recommended is by other starters yet.
    pd.testing.assert_frame_equal(again.table.drop(columns="recommended"), run.table.drop(columns="recommended"))


def test_the_recommendation_is_by_starters_that_have_not_seen_the_samples_unless_there_are_to_be_none(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []

    def watched(dataset: Dataset, k: int, *, seed: int, epochs: int, progress: Progress, parts: Parts) -> OutOfFold | None:
        asked.append((k, seed, epochs))
        return cross_fit(dataset, k, seed=seed, epochs=epochs, progress=progress, parts=parts)

    monkeypatch.setattr("oga_core.scoring.scoring.cross_fit", watched)
    runs = []
    for folds in (None, 0, 2):
        runs.append(prepare(Workspace(tmp_path), files[0], epochs=2, seed=3, folds=folds))
        do_run(runs[-1])
    assert asked == [(5, 3, 2), (2, 3, 2)]
    assert [recommend(run).out_of_fold for run in runs] == [True, False, True]
    scores = [run.table["recommended"] for run in runs]
    assert not any(scores[i].equals(scores[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    direct = score(load_model(None, runs[1].file("model.safetensors"), data()), data(), seed=3, workspace=tmp_path)
    pd.testing.assert_frame_equal(direct.table, runs[1].table)


def test_a_recommendation_is_of_the_labels_that_were_flipped(run: Run, module: nn.Module) -> None:
    found = recommend(run)
    assert found.wrong.value == pytest.approx(FLIPS / N, abs=0.03)
    assert found.at_budget is not None
    flags = run.flag("recommended", found.budget)
    assert 3 <= len(flags) <= FLIPS + 5
    assert (flags["index"] < FLIPS).mean() == pytest.approx(found.at_budget.precision.value, abs=0.15)
    truly = pd.Series([(NAMES[t], NAMES[g]) for t, g in zip(TRUE[:FLIPS], GIVEN[:FLIPS])]).value_counts()
    assert found.mistaken[0][:2] in list(truly.index[:3])
    assert {name for pair in found.mistaken for name in pair[:2]} <= set(NAMES)
    assert Recommendation.from_dict(json.loads((run.path / RECOMMENDATION).read_text())) == found
    # By hand: the probability of a wrong label of heads that are fitted again, in the order of the ids.
    by_id = np.argsort(run.table["sample_id"])
    assert isinstance(module, nn.Sequential)
    features = module[:2](torch.from_numpy(X)).detach().numpy()
    gradients = of_head(np.zeros((N, 3)), features[by_id], GIVEN[by_id])
    wanted = named("recommended").fit_score(gradients)
    np.testing.assert_allclose(run.table["recommended"].to_numpy()[by_id], wanted, atol=1e-3)


def test_few_samples_have_no_recommendation_and_a_note_that_says_so(module: nn.Module, tmp_path: Path) -> None:
    few = score(module, data(slice(49)), detectors="recommended,l1", workspace=tmp_path)
    assert few.recommendation is None
    assert list(few.table) == [c for c in COLUMNS if c not in ("recommended", "l2", "iforest")]
    assert [d.name for d in few.detectors] == ["l1", "random", "loss", "low_confidence"]
    reason = "nothing can be recommended for fewer than 50 samples of two classes"
    assert few.summary.no_recommendation.startswith(reason)
    assert few.summary.notes[-1] == f"no recommendation: {few.summary.no_recommendation}"
    assert not (few.path / RECOMMENDATION).exists()
    with pytest.raises(InputError, match=f"has no recommendation: {reason}"):
        recommend(few)
    enough = score(module, data(slice(50)), detectors="l1", workspace=tmp_path)
    assert enough.recommendation is not None
    assert enough.summary.no_recommendation == ""
    assert not any("no recommendation" in note for note in enough.summary.notes)


def test_without_a_head_there_is_no_recommendation_and_a_note_that_says_so(module: nn.Module, tmp_path: Path) -> None:
    headless = score(nn.Sequential(module, nn.Hardtanh()), data(slice(60)), scope="all", workspace=tmp_path)
    assert headless.recommendation is None
    assert any("no recommendation: " in note and "no head to fit again" in note for note in headless.summary.notes)


def test_a_run_that_is_cut_off_before_its_table_is_not_done(
    module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: pd.DataFrame, path: Path, **_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(OSError, match="disk full"):
        score(module, data(slice(60)), workspace=tmp_path)
    (run,) = Workspace(tmp_path).runs()
    assert (run.status().state, run.has_file(TABLE)) == ("failed", False)
    with pytest.raises(InputError, match="no table"):
        _ = run.detectors


@pytest.mark.parametrize(
    "dataset",
    [data(slice(60)), oga.from_texts([f"good text {i}" for i in range(60)], ["x", "y", "z"] * 20)],
    ids=["arrays", "texts"],
)
def test_data_in_memory_are_kept_with_the_run(dataset: Dataset, tmp_path: Path) -> None:
    run = score(train(dataset, epochs=1).classifier, dataset, workspace=tmp_path)
    kept = Workspace(tmp_path).run(run.id).open_dataset()
    assert [kept.sample_id(i) for i in run.table["index"]] == run.table["sample_id"].tolist()


def test_an_estimate_is_positive_and_grows_with_the_data(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # a second for each thing that is timed
    for model in (None, wrap(module, data())):
        few, many = estimate(data(slice(100)), model), estimate(data(), model)
        assert list(few) == ["head", "all"]  # there is no adapter
        for scope in few:
            assert few[scope].seconds > 0
            assert 0 < few[scope].bytes < many[scope].bytes
        assert few["head"].parameters < few["all"].parameters
    once, often = (estimate(data(), scopes=["head"], folds=k)["head"].seconds for k in (0, 20))
    assert often > 3 * once  # 20 models beside the one
    assert (few["head"].parameters, few["all"].parameters) == (16 * 3, 6 * 16 + 17 * 3)
    assert estimate(data(), wrap(module, data()), ["0.*"])["0.*"].parameters == 6 * 16
    with pytest.raises(InputError, match="nor does it match a parameter"):
        estimate(data(), wrap(module, data()), ["1.*"])
    with pytest.raises(InputError, match="can be read"):
        estimate(oga.from_arrays(np.full((10, 5), np.nan), np.arange(10) % 3))


def test_data_that_are_not_there_enter_no_run(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(InputError, match="absent"):
        prepare(workspace, tmp_path / "absent.npz")
    assert not workspace.runs()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"scope": " "}, "no scope is named"), ({"detectors": "l1,l7"}, "unknown detector 'l7'")],
)
def test_wrong_settings_are_refused_before_a_run_is_entered(
    settings: dict[str, str], reason: str, module: nn.Module, files: tuple[Path, Path], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    for start in (
        lambda: score(module, data(), workspace=workspace, **settings),
        lambda: prepare(workspace, files[0], **settings),
    ):
        with pytest.raises(InputError, match=reason):
            start()
    for folds in (1, -1):
        with pytest.raises(InputError, match=f"{folds} folds: at least two are needed, or 0 for none"):
            prepare(workspace, files[0], folds=folds)
    with pytest.raises(InputError, match=r"weights file .* is not there"):
        prepare(workspace, files[0], weights=tmp_path / "absent.pt")
    with pytest.raises(InputError, match="has 4 outputs, and the data have 3 classes"):
        score(nn.Linear(5, 4), data(), workspace=workspace)
    assert workspace.runs() == []


def clamped() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 3), nn.Hardtanh())


def removed(run: oga.Run) -> oga.Run:
    """The run after its data have been taken away."""
    Path(run.spec.data.source).unlink()
    return run


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (lambda w, s: score(clamped(), data(), workspace=w), "scope 'head' needs a model whose logits"),
        (lambda w, s: score(nn.Linear(5, 3), data(), head="fc", workspace=w), "no Linear layer named 'fc'"),
        (
            lambda w, s: score(nn.Linear(5, 2), oga.from_arrays(X[:3] * [[1], [np.nan], [np.nan]], [0, 1, 1]), workspace=w),
            "only 1 of 3 samples could be scored; the first reason: row 1: a feature is not a finite number",
        ),
        (lambda w, s: do_run(removed(prepare(w, shutil.copy(s, s.with_name("gone.npz"))))), "gone.npz is not there"),
        (lambda w, s: do_run(prepare(w, s, model="resnet51")), "did you mean resnet"),
        (lambda w, s: do_run(prepare(w, s, model="resnet18")), "needs a weights file"),
    ],
)
def test_a_failed_run_says_so(
    start: Callable[[Workspace, Path], object], reason: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(InputError, match=reason):
        start(workspace, files[0])
    (run,) = workspace.runs()
    assert run.status().state == "failed"
    assert reason in run.status().message
    with pytest.raises(InputError, match="no table"):
        _ = run.table


def test_an_unexpected_error_is_entered_too(tmp_path: Path) -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            if (x[:, 0] == float(X[300, 0])).any():
                raise ZeroDivisionError("of the owner's model")
            return self.head(x)

    with pytest.raises(ZeroDivisionError):
        score(Fails(), data(), workspace=tmp_path)
    (run,) = Workspace(tmp_path).runs()
    assert (run.status().state, run.status().message) == ("failed", "unexpected ZeroDivisionError: of the owner's model")


def test_a_sample_that_the_owners_transform_cannot_take_is_listed_and_changes_no_other(
    run: Run, module: nn.Module, tmp_path: Path
) -> None:
    def transform(values: np.ndarray) -> Tensor:
        if values[0] == X[300, 0]:
            raise ZeroDivisionError("of the owner's transform")
        return torch.from_numpy(values)

    found = score(module, data(), transform=transform, workspace=tmp_path)
    reason = "cannot be made the input of the model: ZeroDivisionError: of the owner's transform"
    assert found.not_scored.to_dict("records") == [{"index": 300, "source": "row 300", "reason": reason}]
    whole = run.table[run.table["index"] != 300].reset_index(drop=True)
    np.testing.assert_allclose(found.table["l2"], whole["l2"], rtol=1e-5)


@pytest.mark.parametrize("stage", ["scoring", "planting canaries", "estimating wrong labels", "isolation forest", "writing"])
def test_a_run_can_be_cancelled(stage: str, module: nn.Module, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def cancel(at: str, done: int, total: int) -> None:
        if at == stage:
            workspace.runs()[0].job("score").cancel()

    with pytest.raises(Cancelled):
        score(module, data(slice(60)), workspace=workspace, progress=cancel)
    (run,) = workspace.runs()
    assert (run.status().state, run.has_file("table.parquet")) == ("cancelled", False)


def test_progress_tells_every_stage_to_its_end(module: nn.Module, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    score(module, data(), workspace=tmp_path, progress=lambda *step: told.append(step))
    last = {stage: (done, total) for stage, done, total in told}
    assert last == {
        "scoring": (N, N),
        "planting canaries": (6, 6),
        "estimating wrong labels": (20, 20),
        "isolation forest": (100, 100),
        "looking at every sample": (N, N),
        "writing": (1, 1),
    }
    assert [t[1] for t in told if t[0] == "scoring"] == [64, 128, 192, 256, 320, N]
