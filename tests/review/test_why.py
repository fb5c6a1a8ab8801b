"""Every number that is told of a sample, against the model itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import oga_core as oga
from oga_core.detectors import make_detector
from oga_core.models import Classifier
from oga_core.models.inputs import collate_default
from oga_core.review import Number, Selection, Why, select_rows, standing_of, why
from oga_core.runs import Run

N, CLASSES = 90, 4
DETECTORS = "l1,l2,iforest,el2n,margin"


def encoded(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=N)
    return (rng.normal(size=(N, 6)) + 2 * np.eye(CLASSES, 6)[labels]).astype(np.float32), labels


@pytest.fixture(scope="module")
def module(data: tuple[np.ndarray, np.ndarray]) -> nn.Sequential:
    """With one output more than the data have classes."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES + 1))
    optimizer = torch.optim.Adam(made.parameters(), 0.02)
    x, y = torch.from_numpy(data[0]), torch.from_numpy(data[1])
    y = torch.where(torch.arange(N) % 9 == 0, CLASSES, y)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return made


@pytest.fixture(scope="module")
def run(data: tuple[np.ndarray, np.ndarray], module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Run:
    names = ["a", "b", "c", "d", "only the model's"]
    classifier = Classifier("small", module, names, encoded, collate_default)
    dataset = oga.from_arrays(data[0], np.array(names)[data[1]])
    return oga.score(classifier, dataset, detectors=DETECTORS, workspace=tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def head(run: Run, data: tuple[np.ndarray, np.ndarray], module: nn.Sequential) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, residuals and features of each row of the run's table, float64."""
    index = run.table["index"].to_numpy()
    with torch.no_grad():
        features = module[:2](torch.from_numpy(data[0][index]))
        logits = module[2](features)
    p = torch.softmax(logits.double(), 1).numpy()
    return p, p - np.eye(CLASSES + 1)[data[1][index]], features.double().numpy()


def found(numbers: list[Number]) -> dict[str, float]:
    return {number.name: number.value for number in numbers}


def percentile(values: np.ndarray, row: int, labels: np.ndarray) -> float:
    same = values[labels == labels[row]]
    return 100 * sum(v <= values[row] for v in same) / len(same)


ROWS = [0, 17, 44, N - 1]
CHOSEN = Selection("l1", 0.2)


@pytest.mark.parametrize("row", ROWS)
def test_the_place_and_what_each_score_says(run: Run, row: int) -> None:
    told = why(run, row, CHOSEN)
    entry = run.table.iloc[row]
    assert (told.row, told.sample_id, told.label, told.predicted) == (row, entry["sample_id"], entry["label"], entry["predicted"])
    order = run.table["l1"].sort_values(ascending=False, kind="stable").index.tolist()
    assert found(told.place) == {"rank": order.index(row) + 1, "samples": N, "flags": 18}
    assert told.flagged == (row in order[:18])
    labels = run.table["label"].to_numpy()
    assert [n.name for n in told.scores] == [d.name for d in run.detectors]
    for number in told.scores:
        values = run.table[number.name].to_numpy()
        assert number.value == values[row]
        assert number.percentile == pytest.approx(percentile(values, row, labels))
        assert number.flagged == (row in run.flag(number.name, 0.2).index)
        assert (number.title, number.meaning) == (make_detector(number.name).title, make_detector(number.name).meaning)


@pytest.mark.parametrize("row", ROWS)
def test_the_gradients_length_and_its_two_factors(run: Run, row: int, head: tuple[np.ndarray, ...]) -> None:
    _, r, h = head
    labels = run.table["label"].to_numpy()
    told = {number.name: number for number in why(run, row, CHOSEN).gradient}
    lengths = {"residual_norm": np.linalg.norm(r, axis=1), "feature_norm": np.linalg.norm(h, axis=1)}
    lengths["norm"] = np.linalg.norm(np.einsum("nc,nd->ncd", r, h).reshape(N, -1), axis=1)
    assert told.keys() == lengths.keys()
    for name, values in lengths.items():
        assert told[name].value == pytest.approx(values[row], rel=1e-6)
        assert told[name].percentile == pytest.approx(percentile(values, row, labels))
    assert told["norm"].value == pytest.approx(run.table["l2"].iloc[row], rel=1e-6)


@pytest.mark.parametrize("row", range(N))
def test_probabilities_are_those_of_the_model_to_three_digits_and_that_of_the_given_label_exact(
    run: Run, row: int, head: tuple[np.ndarray, ...], data: tuple[np.ndarray, np.ndarray]
) -> None:
    p = head[0][row]
    told = why(run, row, CHOSEN).probabilities
    names = [*run.class_names, "output 4"]
    if p.argmax() == CLASSES:
        names[CLASSES] = "only the model's"
    assert len(told) == CLASSES + 1
    assert [t.name for t in told] == [names[i] for i in np.argsort(-p)]
    for one in told:
        value = p[names.index(one.name)]
        assert one.value == pytest.approx(value, rel=1e-6 if one.given else 1e-3, abs=1e-9 if one.given else 1e-7)
        assert one.given == (one.name == run.table["label"].iloc[row])
        assert one.predicted == (one.name == run.table["predicted"].iloc[row])
    assert sum(t.given for t in told) == 1
    assert sum(t.predicted for t in told) == 1


def test_only_the_likeliest_classes_are_told_but_always_the_given_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = [f"c{i:02}" for i in range(20)]
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    made = oga.score(nn.Linear(5, 20), oga.from_arrays(x, names * 2), detectors="l1", workspace=tmp_path)
    for row in range(40):
        told = why(made, row, CHOSEN).probabilities
        assert 5 <= len(told) <= 6
        assert [t.given for t in told].count(True) == 1
        assert [t.value for t in told[:5]] == sorted((t.value for t in told[:5]), reverse=True)


@pytest.mark.parametrize("row", ROWS)
def test_the_nearest_are_those_with_the_largest_cosine_of_all_and_of_the_given_label(
    run: Run, row: int, head: tuple[np.ndarray, ...]
) -> None:
    gradients = np.einsum("nc,nd->ncd", *head[1:]).reshape(N, -1)
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    cosines = units @ units[row]
    labels = run.table["label"].to_numpy()
    told = why(run, row, CHOSEN)
    for near, among in ((told.near, np.arange(N)), (told.near_label, np.flatnonzero(labels == labels[row]))):
        expected = sorted((r for r in among if r != row), key=lambda r: -cosines[r])[:8]
        assert [n.row for n in near] == expected
        assert [n.cosine for n in near] == pytest.approx([float(cosines[r]) for r in expected], abs=2e-3)
        assert [(n.sample_id, n.label) for n in near] == [
            (s, label) for s, label in zip(run.table["sample_id"].to_numpy()[expected], labels[expected])
        ]


def flags(run: Run, detector: str, values: np.ndarray, count: int) -> set[int]:
    return set(np.argsort(-values, kind="stable")[:count].tolist())


@pytest.mark.parametrize("detector", ["l1", "l2", "el2n", "loss", "low_confidence", "iforest", "margin"])
@pytest.mark.parametrize("place", [0, 5, 17, 18, 30, N - 1])
def test_what_it_would_take_to_lose_the_flag_or_get_it(run: Run, detector: str, place: int, head: tuple[np.ndarray, ...]) -> None:
    chosen = Selection(detector, 0.2)
    row = int(run.ranked(detector)[place])
    told = why(run, row, chosen)
    needed = found(told.threshold)
    assert told.flagged == (place < 18)
    for budget, flagged in ((needed["budget"] * (1 - 1e-9), False), (needed["budget"] * (1 + 1e-9), True)):
        assert (row in select_rows(run, replace(chosen, budget=budget), standing_of(run))) == flagged
    values = run.table[detector].to_numpy().copy()
    nudge = 1e-9 * np.abs(values).max()
    for value, flagged in ((needed["score"] - nudge, False), (needed["score"] + nudge, True)):
        values[row] = value
        assert (row in flags(run, detector, values, 18)) == flagged
    assert needed["gap"] == pytest.approx(run.table[detector].iloc[row] - needed["score"])
    if detector in ("iforest", "margin"):
        assert "given_probability" not in needed
        return
    p, h = head[0][row].copy(), head[2][row]
    label = run.class_names.index(run.table["label"].iloc[row])
    if "given_probability" not in needed:  # no probability would be low enough
        p[:] = p / (1 - p[label])
        p[label] = 0
        assert not told.flagged
        assert of(detector, p, h, label) < needed["score"]
        return
    others = np.arange(CLASSES + 1) != label
    p[others] *= (1 - needed["given_probability"]) / p[others].sum()
    p[label] = needed["given_probability"]
    assert of(detector, p, h, label) == pytest.approx(needed["score"], rel=1e-6)


def of(detector: str, p: np.ndarray, h: np.ndarray, label: int) -> float:
    """The score of a sample with these probabilities and features, from the gradient itself."""
    gradient = np.outer(p - np.eye(CLASSES + 1)[label], h)
    return {
        "l1": np.abs(gradient).sum(),
        "l2": np.linalg.norm(gradient),
        "el2n": np.linalg.norm(p - np.eye(CLASSES + 1)[label]),
        "loss": -np.log(max(p[label], 1e-300)),
        "low_confidence": 1 - p[label],
    }[detector]


def test_where_all_or_none_are_flagged_only_the_budget_is_told(run: Run) -> None:
    assert found(why(run, 3, replace(CHOSEN, budget=0.999)).threshold).keys() == {"budget"}
    assert found(why(run, 3, replace(CHOSEN, budget=0.001)).threshold).keys() == {"budget"}


@pytest.mark.parametrize("row", ROWS)
def test_it_is_json_and_every_number_says_what_it_is_in_one_sentence(run: Run, row: int) -> None:
    told = why(run, row, CHOSEN)
    text = json.dumps(told.to_dict(), allow_nan=False)
    assert json.loads(text)["near"][0]["row"] == told.near[0].row
    numbers = [*told.place, *told.scores, *told.gradient, *told.threshold]
    for sentence in [*(n.meaning for n in numbers), *told.meanings.values()]:
        assert sentence.endswith(".")
        assert "\n" not in sentence
    assert {n.form for n in numbers} == {"number", "share", "count"}


def test_twins_of_one_content_and_label_are_each_others_nearest(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    x[8] = x[2]
    made = oga.score(nn.Linear(5, 3), oga.from_arrays(x, list("abc") * 4), detectors="l1", workspace=tmp_path)
    for row, twin in ((2, 8), (8, 2)):
        told = why(made, row, CHOSEN)
        assert told.near[0].row == told.near_label[0].row == twin
        assert told.near[0].cosine == pytest.approx(1, abs=2e-3)


@pytest.fixture(scope="module")
def deep(data: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    dataset = oga.from_arrays(data[0], [str(label) for label in data[1]])
    return oga.score(model, dataset, scope="all", detectors="l1,l2", workspace=tmp_path_factory.mktemp("deep"))


@pytest.mark.parametrize("row", ROWS)
def test_beyond_the_head_the_length_is_that_of_the_whole_gradient_and_only_the_given_probability_is_known(
    deep: Run, row: int
) -> None:
    told = why(deep, row, CHOSEN)
    assert [n.name for n in told.gradient] == ["norm"]
    assert told.gradient[0].value == pytest.approx(deep.table["l2"].iloc[row], rel=1e-6)
    assert "scope all" in told.gradient[0].meaning
    (only,) = told.probabilities
    assert (only.name, only.value) == (told.label, deep.table["confidence"].iloc[row])
    assert only.predicted == (told.label == told.predicted)
    assert "given_probability" not in found(told.threshold)
    assert "given_probability" in found(why(deep, row, Selection("loss", 0.2)).threshold)
    json.dumps(told.to_dict(), allow_nan=False)


def test_a_sample_alone_in_its_class_has_no_neighbour_there(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    made = oga.score(nn.Linear(5, 2), oga.from_arrays(x, list("abbbbb")), detectors="l1", workspace=tmp_path)
    told: Why = why(made, 0, CHOSEN)
    assert told.near_label == []
    assert len(told.near) == 5
