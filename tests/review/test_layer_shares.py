"""Where in the model a gradient is long, against the engine that scored it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import oga_core as oga
from oga_core.errors import InputError
from oga_core.review import layer_shares
from oga_core.review.layer_shares import squared_norms
from oga_core.review.sample_model import model_of
from oga_core.runs import Run, Weights, Workspace
from oga_core.scoring import do_run, prepare
from oga_core.scoring.one_sample import OpenedModel

N = 40


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    labels = rng.integers(3, size=N)
    np.savez(path, x=(rng.normal(size=(N, 6)) + np.eye(3, 6)[labels]).astype(np.float32), y=labels)
    return path


def scored(folder: Path, source: Path, scope: str, **options: object) -> Run:
    run = prepare(Workspace(folder), source, scope=scope, detectors="l1,l2", epochs=2, folds=0, **options)  # type: ignore[arg-type]
    do_run(run)
    return run


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored(tmp_path_factory.mktemp("workspace"), source, "all")


def test_the_shares_add_up_to_one_and_the_squares_to_the_norm_that_the_engine_found(run: Run) -> None:
    dataset = run.open_dataset()
    for row in range(N):
        squares = squared_norms(run, row, OpenedModel(dataset, *model_of(run)))
        assert sum(squares.values()) ** 0.5 == pytest.approx(run.table["l2"].iloc[row], rel=1e-4)
        shares = layer_shares(run, row, OpenedModel(dataset, *model_of(run)))
        assert sum(share for _, share in shares) == pytest.approx(1)
        assert all(share >= 0 for _, share in shares)


def test_the_layers_come_in_the_order_of_the_model_with_all_their_parameters_together(run: Run) -> None:
    dataset = run.open_dataset()
    squares = squared_norms(run, 3, OpenedModel(dataset, *model_of(run)))
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in squares))
    shares = layer_shares(run, 3, OpenedModel(dataset, *model_of(run)))
    assert [layer for layer, _ in shares] == layers
    assert len(layers) > 1
    assert len(squares) > len(layers)
    total = sum(squares.values())
    for layer, share in shares:
        assert share == pytest.approx(sum(v for name, v in squares.items() if name.rpartition(".")[0] == layer) / total)


def test_only_the_scope_counts(source: Path, run: Run, tmp_path: Path) -> None:
    name = next(iter(squared_norms(run, 0, OpenedModel(run.open_dataset(), *model_of(run)))))
    some = scored(tmp_path, source, f"{name},{name.rpartition('.')[0]}.bias")
    (only,) = layer_shares(some, 0, OpenedModel(some.open_dataset(), *model_of(some)))
    assert only == (name.rpartition(".")[0], pytest.approx(1))


def test_of_the_head_alone_there_are_none(source: Path, tmp_path: Path) -> None:
    head = scored(tmp_path, source, "head")
    assert layer_shares(head, 0, OpenedModel(head.open_dataset(), *model_of(head))) == []


def test_a_weights_file_is_opened_again(source: Path, run: Run, tmp_path: Path) -> None:
    given = scored(tmp_path, source, "all", weights=run.file("model.safetensors"))
    dataset = given.open_dataset()
    squares = squared_norms(given, 5, OpenedModel(dataset, *model_of(given)))
    assert sum(squares.values()) ** 0.5 == pytest.approx(given.table["l2"].iloc[5], rel=1e-4)
    (tmp_path / "gone.safetensors").write_bytes(b"")
    given.set_spec(replace(given.spec, model=Weights(str(tmp_path / "gone.safetensors"))))
    with pytest.raises(InputError):
        layer_shares(given, 5, OpenedModel(dataset, *model_of(given)))


def test_a_model_that_was_given_from_python_is_not_there_any_more(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    dataset = oga.from_arrays(x, list("abc") * 4)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    made = oga.score(model, dataset, scope="all", detectors="l1", workspace=tmp_path)
    with pytest.raises(InputError, match="given from Python"):
        layer_shares(made, 0, OpenedModel(dataset, *model_of(made)))


def test_a_sample_that_has_changed_is_not_told_of(run: Run) -> None:
    changed = run.open_dataset()
    changed.labels[:] = (changed.labels + 1) % 3
    with pytest.raises(InputError, match="has changed since run"):
        layer_shares(run, 0, OpenedModel(changed, *model_of(run)))
