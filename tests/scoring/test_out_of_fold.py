"""Starters trained without some samples: what each has been given to learn from, and what they say of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import oga_core as oga
from oga_core.data import Dataset, Subset
from oga_core.detectors import of_head
from oga_core.errors import InputError
from oga_core.models import Classifier, TrainedModel, train
from oga_core.scoring import out_of_fold
from oga_core.scoring.out_of_fold import OutOfFold, cross_fit, default_folds

K = 3
NAMES = ["ant", "bee", "cat"]


def blobs(n: int = 60) -> Dataset:
    """Features of three classes; two without a label, two that cannot be read."""
    labels = np.arange(n) % 3
    x = np.random.default_rng(0).normal(size=(n, 4)) + 3 * np.eye(4)[labels]
    labels[[5, 17]] = -1
    x[[8, 30]] = np.nan
    return oga.from_arrays(x, labels, NAMES)


def sentences() -> Dataset:
    texts = [f"{'good fine' if i % 2 else 'bad poor'} number {i}" for i in range(40)]
    texts[7] = "  "
    return oga.from_texts(texts, ["no", "yes"] * 20)


def images() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
    return oga.from_arrays(pixels, np.arange(12) % 2)


def readable(dataset: Dataset) -> list[int]:
    bad = {"features": [5, 17, 8, 30], "text": [7], "image": []}[dataset.kind]
    return [i for i in range(len(dataset)) if i not in bad]


class Watched:
    """`train`, and what it was given and gave."""

    def __init__(self) -> None:
        self.given: list[tuple[Dataset, dict[str, Any]]] = []
        self.fitted: list[Classifier] = []

    def __call__(self, dataset: Dataset, **options: Any) -> TrainedModel:
        self.given.append((dataset, options))
        trained = train(dataset, **options)
        self.fitted.append(trained.classifier)
        return trained


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched()
    monkeypatch.setattr("oga_core.scoring.out_of_fold.train", made)
    return made


def fitted(dataset: Dataset, k: int = K, **options: Any) -> OutOfFold:
    found = cross_fit(dataset, k, epochs=1, **options)
    assert found is not None
    return found


@pytest.mark.parametrize("dataset", [blobs(), sentences(), images()], ids=["features", "text", "image"])
def test_each_readable_sample_is_told_of_once_by_a_model_that_was_trained_on_the_other_parts(
    dataset: Dataset, watched: Watched
) -> None:
    found = fitted(dataset)
    assert found.index.tolist() == readable(dataset)
    assert sorted(set(found.fold)) == list(range(K)) == list(range(len(watched.given)))
    labelled = {dataset.sample_id(i) for i in np.flatnonzero(dataset.labels >= 0).tolist()}
    left_out = []
    for i, (others, options) in enumerate(watched.given):
        seen = {others.sample_id(j) for j in range(len(others))}
        own = {dataset.sample_id(row) for row in found.index[found.fold == i]}
        assert not own & seen
        assert own <= labelled - seen
        assert others.class_names == dataset.class_names
        assert (options["hold_out"], options["epochs"]) == (False, 1)
        left_out += sorted(labelled - seen)
    assert sorted(left_out) == sorted(labelled)  # each in one part


@pytest.mark.parametrize("dataset", [blobs(), sentences()], ids=["features", "text"])
def test_logits_are_those_of_the_model_of_the_fold_from_features_through_its_head(dataset: Dataset, watched: Watched) -> None:
    found = fitted(dataset)
    for at, row in enumerate(found.index):
        model = watched.fitted[found.fold[at]]
        logits = model.logits(model.collate([model.encode(dataset.load(int(row)))]))[0]
        np.testing.assert_allclose(found.logits[at], logits, atol=1e-4)
        head = model.module.get_submodule("head")
        feature = found.features[at].astype(np.float64) * found.feature_norms[at]
        weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
        np.testing.assert_allclose(weight @ feature + bias, logits, atol=5e-2)


def test_parts_are_even_in_every_class_and_drawn_by_the_seed() -> None:
    dataset = blobs()
    first, again, other = (fitted(dataset, seed=s) for s in (1, 1, 2))
    for name in ("fold", "logits", "features"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.fold, other.fold)
    labels = dataset.labels[first.index]
    for label in range(3):
        assert np.ptp(np.bincount(first.fold[labels == label], minlength=K)) <= 2  # of those that can be read


def test_the_gradients_are_of_the_given_labels_in_the_order_asked_for() -> None:
    found = fitted(blobs())
    rows = found.index[[30, 4, 11]]
    targets = np.array([2, 0, 1])
    gradients = found.gradients(rows, targets)
    assert gradients is not None
    kept = found.features.astype(np.float64) * found.feature_norms[:, None]
    wanted = of_head(found.logits[[30, 4, 11]], kept[[30, 4, 11]], targets)
    np.testing.assert_allclose(gradients.l2, wanted.l2, rtol=2e-3)
    np.testing.assert_allclose(gradients.losses, wanted.losses)
    assert gradients.fold is not None
    assert gradients.fold.tolist() == found.fold[[30, 4, 11]].tolist()
    assert gradients.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("missing", [5, 8, 60, -1])
def test_where_a_sample_is_missing_there_are_no_gradients(missing: int) -> None:
    found = fitted(blobs())
    assert found.gradients(np.array([0, 1]), np.array([0, 1])) is not None
    assert found.gradients(np.array([0, missing, 1]), np.array([0, 2, 1])) is None
    without = replace(found, **{name: getattr(found, name)[1:] for name in ("index", "fold", "logits", "features")})
    assert without.gradients(np.array([0, 1]), np.array([0, 1])) is None


def test_where_a_part_leaves_too_little_to_learn_from_there_are_no_models() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    assert cross_fit(oga.from_arrays(x, [0, 0, 0, 0, 0, 1], ["a", "b"]), 3, epochs=1) is None  # without the one of class b
    assert cross_fit(oga.from_arrays(x[:3], [0, 1, 0]), 4, epochs=1) is None  # fewer samples than parts
    x[[1, 3]] = np.nan
    assert cross_fit(oga.from_arrays(x, [0, 1, 0, 1, 0, 1]), 3, epochs=1) is None  # only one of class 1 can be read


def test_a_part_that_cannot_be_read_at_all_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = blobs()
    bad = np.isin(np.arange(60), [8, 30])
    monkeypatch.setattr(out_of_fold, "folds", lambda labels, k, seed: np.where(bad[dataset.labels >= 0], 2, np.arange(58) % 2))
    found = fitted(dataset)
    assert found.index.tolist() == readable(dataset)
    assert set(found.fold) == {0, 1}


@pytest.mark.parametrize("k", [1, 0, -2])
def test_fewer_than_two_parts_are_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"{k} folds: at least two are needed, or 0 for none"):
        cross_fit(blobs(), k)


def test_progress_is_told_as_one_stage_a_model() -> None:
    told: list[tuple[str, int, int]] = []
    fitted(blobs(), progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == [f"out-of-fold model {i} of 3" for i in (1, 2, 3)]
    assert {stage: (done, total) for stage, done, total in told}[stages[2]] == (19, 19)


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    import torch

    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    fitted(blobs())
    assert torch.equal(torch.rand(2), wanted)


def test_texts_and_features_have_such_models_unless_told_otherwise_and_images_not() -> None:
    assert (default_folds(blobs()), default_folds(sentences()), default_folds(images())) == (5, 5, 0)
    assert default_folds(Subset(images(), np.arange(3))) == 0
