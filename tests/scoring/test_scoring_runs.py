"""Scoring: prepared runs, recommendations, estimates, refusals, failures and progress."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import oga_core as oga
from oga_core.data import Dataset
from oga_core.detectors import Recommendation, make_detector, of_head
from oga_core.errors import InputError
from oga_core.models import load_model, save_weights, train, wrap
from oga_core.progress import Cancelled, Progress
from oga_core.runs import Run, Workspace, recommend
from oga_core.runs.run import RECOMMENDATION, TABLE
from oga_core.scoring import do_run, estimate, prepare, score
from oga_core.scoring.out_of_fold import OutOfFold, cross_fit
from oga_core.scoring.saved_state import SavedState
from tests.scoring.blobs import COLUMNS, FLIPS, GIVEN, NAMES, TRUE, N, X, data, module, run

__all__ = ["module", "run"]


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
    assert run.summary.held_out_accuracy is not None
    assert 0.3 < run.summary.held_out_accuracy <= 1
    loaded = load_model(None, run.file("model.safetensors"), data())
    again = score(loaded, data(), workspace=tmp_path)
    # What is recommended is by other starters yet.
    pd.testing.assert_frame_equal(again.table.drop(columns="recommended"), run.table.drop(columns="recommended"))


def test_the_recommendation_is_by_starters_that_have_not_seen_the_samples_unless_there_are_to_be_none(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []

    def watched(dataset: Dataset, k: int, *, seed: int, epochs: int, progress: Progress, saved: SavedState) -> OutOfFold | None:
        asked.append((k, seed, epochs))
        return cross_fit(dataset, k, seed=seed, epochs=epochs, progress=progress, saved=saved)

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
    wanted = make_detector("recommended").fit_score(gradients)
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
    settings: dict[str, Any], reason: str, module: nn.Module, files: tuple[Path, Path], tmp_path: Path
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
    with pytest.raises(InputError, match=r"weights file not found: "):
        prepare(workspace, files[0], weights=tmp_path / "absent.pt")
    with pytest.raises(InputError, match="has 4 outputs, and the data have 3 classes"):
        score(nn.Linear(5, 4), data(), workspace=workspace)
    assert workspace.runs() == []


def clamped() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 3), nn.Hardtanh())


def removed(run: oga.Run) -> oga.Run:
    """The run after its data have been taken away."""
    assert run.spec.data is not None
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
        (lambda w, s: do_run(removed(prepare(w, shutil.copy(s, s.with_name("gone.npz"))))), "gone.npz"),
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
