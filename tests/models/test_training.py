"""Starter models learn in seconds, the same for the same seed, and are judged on what they were not shown."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import oga_core as oga
from oga_core import threads
from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.models import Classifier, TrainedModel, load_model, save_weights, starter_for, train, training as training_module
from oga_core.progress import Cancelled


def blobs(n: int = 300, noise: bool = False) -> Dataset:
    """Three clusters of features; with ``noise`` the labels have nothing to do with them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    values = rng.normal(size=(n, 6)) + 4 * np.eye(6)[labels]
    return oga.from_arrays(values, rng.integers(0, 3, n) if noise else labels)


def bars(n: int = 200) -> Dataset:
    """Noisy pictures of a horizontal or a vertical bar."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 80, (n, 12, 12), np.uint8), np.arange(n) % 2
    for picture, label, at in zip(pixels, labels, rng.integers(2, 10, n)):
        (picture if label else picture.T)[at] = 220
    return oga.from_arrays(pixels, labels, ["lying", "standing"])


def sentences(n: int = 300) -> Dataset:
    rng = np.random.default_rng(0)
    topics = ["goal match team ball league", "bank market price share loan", "film actor scene music song"]
    common = ["the", "a", "of", "and", "was", "this", "very"]
    labels = rng.integers(0, 3, n)
    texts = [" ".join([*rng.choice(topics[i].split(), 3), *rng.choice(common, 6)]) for i in labels]
    return oga.from_texts(texts, [("sport", "money", "art")[i] for i in labels])


def predicted(trained: TrainedModel, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """The model's answers, one sample at a time."""
    classifier = trained.classifier
    return np.array([int(classifier.logits(classifier.collate([classifier.encode(data.load(int(i)))])).argmax()) for i in rows])


@pytest.mark.parametrize(("data", "name"), [(blobs(), "feature_mlp"), (bars(), "small_resnet"), (sentences(), "text_ngrams")])
def test_each_starter_beats_chance_and_is_saved_and_loaded(data: Dataset, name: str, tmp_path: Path) -> None:
    trained = train(data, seed=0, epochs=8 if name == "small_resnet" else None)
    assert starter_for(data) == trained.classifier.name == name
    assert trained.accuracy is not None
    assert trained.accuracy > 0.8
    assert not trained.classifier.module.training
    save_weights(trained.classifier, tmp_path / "w.safetensors")
    loaded = load_model(None, tmp_path / "w.safetensors", data)
    batch = loaded.collate([loaded.encode(data.load(i)) for i in range(20)])
    assert torch.equal(loaded.logits(batch), trained.classifier.logits(batch))
    assert (loaded.name, loaded.class_names, loaded.notes) == (name, data.class_names, [])


@pytest.mark.parametrize("data", [blobs(100), bars(60), sentences(100)], ids=["features", "image", "text"])
def test_a_seed_gives_the_same_weights_and_another_others(data: Dataset) -> None:
    first, again, other = (train(data, seed=s, epochs=2) for s in (3, 3, 4))
    weights = [t.classifier.module.state_dict() for t in (first, again, other)]
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])
    assert np.array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.held_out, other.held_out)


def test_accuracy_is_that_of_the_held_out_samples_alone() -> None:
    data = blobs(300, noise=True)
    trained = train(data, seed=0, epochs=200)
    held = trained.held_out
    seen = np.setdiff1d(np.arange(300), held)
    assert len(held) == 30
    right = {
        part: (predicted(trained, data, rows) == data.labels[rows]).mean() for part, rows in (("held", held), ("seen", seen))
    }
    assert trained.accuracy == pytest.approx(right["held"])
    assert right["seen"] > right["held"] + 0.1  # learnt by heart, what it was shown


def test_one_sample_in_ten_is_held_out_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [500, 100, 20])
    data = oga.from_arrays(np.random.default_rng(0).normal(size=(620, 3)), labels)
    held = train(data, epochs=1).held_out
    assert np.bincount(labels[held]).tolist() == [50, 10, 2]
    assert np.array_equal(held, np.unique(held))


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    train(bars(40), seed=0, epochs=1)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_user_in_another_random_state_gets_the_same_model() -> None:
    torch.manual_seed(1)
    first = train(sentences(60), seed=0, epochs=1)
    torch.manual_seed(2)
    second = train(sentences(60), seed=0, epochs=1)
    assert torch.equal(first.classifier.module.state_dict()["head.weight"], second.classifier.module.state_dict()["head.weight"])


def test_progress_is_told_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "REPORT_SECONDS", 0)
    told: list[tuple[str, int, int]] = []
    train(blobs(100), epochs=3, progress=lambda *step: told.append(step))
    assert [t for t in told if t[0] == "reading samples"] == [("reading samples", i + 1, 100) for i in range(100)]
    steps = [t for t in told if t[0] != "reading samples"]
    assert [t[0] for t in steps] == sorted(t[0] for t in steps)
    assert {t[0] for t in steps} == {f"training epoch {e} of 3" for e in (1, 2, 3)}
    assert [t[1] for t in steps] == list(range(steps[-1][2] + 1))
    assert all(t[2] == steps[-1][2] for t in steps)


@pytest.mark.parametrize(("small", "used"), [(threads.SMALL, 1), (1, 3)])
def test_a_small_model_is_trained_by_one_thread_and_a_large_one_by_all(
    monkeypatch: pytest.MonkeyPatch, small: int, used: int
) -> None:
    monkeypatch.setattr(training_module, "REPORT_SECONDS", 0)
    monkeypatch.setattr(threads, "SMALL", small)
    before, seen = torch.get_num_threads(), set[int]()

    def look(stage: str, done: int, total: int) -> None:
        if "epoch" in stage and done < total:
            seen.add(torch.get_num_threads())

    torch.set_num_threads(3)
    try:
        train(bars(60), epochs=2, progress=look)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {used}


def test_the_largest_product_of_a_network_is_counted_by_hand() -> None:
    layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 5 * 5, 3))
    classifier = Classifier("", layers.train(), ["a", "b", "c"], lambda x: x, torch.stack)
    assert training_module._largest_product(classifier, torch.zeros(7, 2, 5, 5)) == 7 * (4 * 5 * 5) * (2 * 3 * 3)
    assert layers.training


@pytest.mark.parametrize("data", [blobs(100), bars(60), sentences(100)], ids=["features", "image", "text"])
def test_looking_after_each_epoch_changes_nothing(data: Dataset) -> None:
    plain = train(data, seed=0, epochs=3).classifier.module.state_dict()
    seen: list[tuple[int, bool, torch.Tensor]] = []

    def look(epoch: int, classifier: Classifier) -> None:
        some = classifier.collate([classifier.encode(data.load(i)) for i in range(5)])
        torch.rand(7)
        seen.append((epoch, classifier.module.training, classifier.logits(some)))

    looked = train(data, seed=0, epochs=3, after_epoch=look).classifier
    assert [(epoch, training) for epoch, training, _ in seen] == [(1, False), (2, False), (3, False)]
    assert all(torch.equal(v, plain[k]) for k, v in looked.module.state_dict().items())
    last = looked.logits(looked.collate([looked.encode(data.load(i)) for i in range(5)]))
    torch.testing.assert_close(seen[2][2], last)
    assert not torch.equal(seen[0][2], last)


def test_none_is_held_out_where_that_is_asked_for() -> None:
    data = blobs(300, noise=True)
    trained = train(data, seed=0, epochs=200, hold_out=False)
    assert (trained.accuracy, trained.held_out.tolist()) == (None, [])
    held = train(data, seed=0, epochs=200).held_out
    agrees = [(predicted(t, data, held) == data.labels[held]).mean() for t in (trained, train(data, seed=0, epochs=200))]
    assert agrees[0] > agrees[1] + 0.1  # learnt by heart, with the others


@pytest.mark.parametrize("stage", ["reading samples", "training epoch 2 of 50"])
def test_training_stops_when_it_is_cancelled(stage: str) -> None:
    def cancel(at: str, done: int, total: int) -> None:
        if at == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(bars(400), epochs=50, progress=cancel)


def test_samples_without_label_or_content_are_skipped_and_listed() -> None:
    values, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    values[7, 1], labels[20] = np.nan, -1
    trained = train(oga.from_arrays(values, labels), epochs=1)
    assert [(s.index, s.source, s.reason) for s in trained.skipped] == [
        (7, "row 7", "a feature is not a finite number"),
        (20, "row 20", "has no label"),
    ]
    assert not {7, 20} & set(trained.held_out.tolist())


def test_a_constant_feature_does_no_harm() -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:, 1] = 1e9
    trained = train(oga.from_arrays(values, (values[:, 0] > 0).astype(int)), epochs=30)
    assert all(torch.isfinite(v).all() for v in trained.classifier.module.state_dict().values())
    assert trained.accuracy is not None
    assert trained.accuracy > 0.6


def test_what_does_not_fit_in_memory_is_read_again_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (blobs(80), sentences(80)):
        kept = train(data, seed=0, epochs=2).classifier.module.state_dict()
        monkeypatch.setattr(training_module, "CACHE_BYTES", 1000)
        read = train(data, seed=0, epochs=2).classifier.module.state_dict()
        monkeypatch.undo()
        assert all(torch.equal(v, read[k]) for k, v in kept.items())


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5])
def test_any_number_of_epochs_can_be_asked_for(epochs: int) -> None:
    assert train(blobs(30), epochs=epochs).epochs == epochs


def test_a_handful_of_samples_hold_none_out() -> None:
    trained = train(oga.from_arrays(np.eye(4), [0, 1, 0, 1]), epochs=1)
    assert (trained.accuracy, trained.held_out.tolist()) == (None, [])


def test_a_torchvision_architecture_can_be_trained() -> None:
    trained = train(bars(24), "shufflenet_v2_x0_5", epochs=1)
    assert (trained.classifier.name, trained.classifier.class_names) == ("shufflenet_v2_x0_5", ["lying", "standing"])
    assert trained.epochs == 1


@pytest.mark.parametrize(
    ("arch", "epochs", "reason"),
    [("resnet51", 1, "did you mean"), ("text_ngrams", 1, "takes text data, and these are features"), (None, 0, "at least one")],
)
def test_settings_that_do_not_fit_are_refused(arch: str | None, epochs: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        train(blobs(20), arch, epochs=epochs)


def test_data_of_which_one_class_can_be_read_are_refused() -> None:
    values = np.zeros((20, 2))
    values[1::2] = np.nan
    with pytest.raises(InputError, match="10 samples can be read, of 1 class; two are needed"):
        train(oga.from_arrays(values, np.arange(20) % 2))
