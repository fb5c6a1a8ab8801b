"""Losses, one number a sample, against torch's own of one sample at a time; and gradients of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import LOSSES, BinaryCrossEntropy, CrossEntropy, NextToken, PerSampleGradients, SquaredError
from tests.gradients.one_sample import assert_alike, norms_alone

N, CLASSES, LENGTH = 6, 4, 5
D = torch.float64


@dataclass(frozen=True)
class Case:
    """A loss, torch's own (summed over the samples), the shape of a sample's output, and targets."""

    loss: str | Callable[[Tensor, Tensor], Tensor]
    torch: Callable[[Tensor, Tensor], Tensor]
    shape: tuple[int, ...]
    targets: Callable[[], Tensor]


def classes(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(CLASSES, (N, *shape))


def some_ignored(*shape: int, ignored: int = -100) -> Callable[[], Tensor]:
    def make() -> Tensor:
        targets = torch.randint(CLASSES, (N, *shape))
        targets.view(-1)[::3] = ignored
        return targets

    return make


def soft(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.rand(N, CLASSES, *shape, dtype=D).softmax(1)


def yes_or_no(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(2, (N, *shape)).double()


def numbers(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(N, *shape, dtype=D)


def mean_of_next(output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(output[0, :-1], targets[0, 1:])


def sum_of_next(output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(output[0, :-1], targets[0, 1:], reduction="sum")


def focal(output: Tensor, targets: Tensor) -> Tensor:
    """A user's own."""
    p = output.softmax(1).gather(1, targets[:, None])[:, 0]
    return -((1 - p) ** 2) * p.log()


WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1])
CASES = {
    "cross-entropy": Case("cross_entropy", nn.CrossEntropyLoss(reduction="sum"), (CLASSES,), classes()),
    "class weights": Case(
        CrossEntropy(weight=WEIGHT), nn.CrossEntropyLoss(WEIGHT.double(), reduction="sum"), (CLASSES,), classes()
    ),
    "smoothing": Case(
        CrossEntropy(WEIGHT, label_smoothing=0.2),
        nn.CrossEntropyLoss(WEIGHT.double(), label_smoothing=0.2, reduction="sum"),
        (CLASSES,),
        classes(),
    ),
    "soft targets": Case("cross_entropy", nn.CrossEntropyLoss(reduction="sum"), (CLASSES,), soft()),
    "ignored": Case("cross_entropy", nn.CrossEntropyLoss(reduction="sum"), (CLASSES,), some_ignored()),
    "ignored by another number": Case(
        CrossEntropy(ignore_index=2), nn.CrossEntropyLoss(ignore_index=2, reduction="sum"), (CLASSES,), some_ignored(ignored=2)
    ),
    "positions": Case("cross_entropy", nn.CrossEntropyLoss(reduction="sum"), (CLASSES, 2, 3), some_ignored(2, 3)),
    "mean over positions": Case(CrossEntropy(mean=True), nn.CrossEntropyLoss(), (CLASSES, 2, 3), some_ignored(2, 3)),
    "weighted mean over positions": Case(
        CrossEntropy(weight=WEIGHT, mean=True), nn.CrossEntropyLoss(WEIGHT.double()), (CLASSES, LENGTH), some_ignored(LENGTH)
    ),
    "soft mean over positions": Case(CrossEntropy(mean=True), nn.CrossEntropyLoss(), (CLASSES, LENGTH), soft(LENGTH)),
    "binary": Case("binary_cross_entropy", nn.BCEWithLogitsLoss(reduction="sum"), (1,), yes_or_no(1)),
    "multi-label": Case(
        BinaryCrossEntropy(pos_weight=WEIGHT),
        nn.BCEWithLogitsLoss(pos_weight=WEIGHT.double(), reduction="sum"),
        (CLASSES,),
        yes_or_no(CLASSES),
    ),
    "squared error": Case("squared_error", nn.MSELoss(reduction="sum"), (3,), numbers(3)),
    "squared error of pictures": Case(SquaredError(), nn.MSELoss(reduction="sum"), (2, 3), numbers(2, 3)),
    "next token": Case("next_token", mean_of_next, (LENGTH, CLASSES), classes(LENGTH)),
    "next token with padding": Case("next_token", mean_of_next, (LENGTH, CLASSES), some_ignored(LENGTH)),
    "sum over next tokens": Case(NextToken(mean=False), sum_of_next, (LENGTH, CLASSES), some_ignored(LENGTH)),
    "a user's own": Case(focal, lambda o, t: focal(o, t).sum(), (CLASSES,), classes()),
}


@pytest.mark.parametrize("name", list(CASES))
def test_losses_and_their_gradients_are_those_of_torch_for_each_sample_alone(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    targets, width = case.targets(), int(np.prod(case.shape))
    module = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, width), nn.Unflatten(1, case.shape)).double()
    x = torch.randn(N, 3, dtype=D)
    loss = LOSSES[case.loss] if isinstance(case.loss, str) else case.loss
    losses = loss(module(x), targets)
    assert losses.shape == (N,)
    torch.testing.assert_close(losses, torch.stack([case.torch(module(x[i : i + 1]), targets[i : i + 1]) for i in range(N)]))
    true = norms_alone(module, x, targets, case.torch)
    for l1 in (True, False):
        engine = PerSampleGradients(module, loss=case.loss, l1=l1, width=0)
        assert_alike(engine(x, targets), true, engine, 1e-9)
        assert engine.notes == []


def test_a_sample_of_which_all_is_ignored_has_no_gradient() -> None:
    module = nn.Linear(3, CLASSES).double()
    engine = PerSampleGradients(module, loss=CrossEntropy(mean=True))
    found = engine(torch.randn(3, 3, dtype=D), torch.tensor([1, -100, 2]))
    assert found.l1 is not None
    assert found.l2 is not None
    assert found.sketch is not None
    assert found.losses[1] == found.l1[1] == found.l2[1] == 0
    assert not found.sketch[1].any()
    assert found.l2[0] > 0


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "squared_error"])
def test_one_output_a_sample_takes_targets_of_either_shape(loss: str) -> None:
    output, targets = torch.randn(N, 1), torch.randint(2, (N,))
    expected = LOSSES[loss](output, targets[:, None])
    assert torch.equal(LOSSES[loss](output, targets), expected)
    assert torch.equal(LOSSES[loss](output[:, 0], targets[:, None]), expected)


@pytest.mark.parametrize(
    ("loss", "output", "targets"),
    [
        ("cross_entropy", (6, 4), torch.zeros(6, 1, dtype=torch.long)),
        ("cross_entropy", (6,), torch.zeros(6, dtype=torch.long)),
        ("cross_entropy", (6, 4, 5), torch.zeros(6, dtype=torch.long)),
        ("cross_entropy", (6, 4), torch.zeros(6, 3)),
        ("binary_cross_entropy", (6, 4), torch.zeros(4, 6)),
        ("binary_cross_entropy", (6, 4), torch.zeros(6)),
        ("squared_error", (6, 4), torch.zeros(6, 2)),
        ("squared_error", (6, 4), torch.zeros(4, 6)),
        ("next_token", (6, 5, 4), torch.zeros(6, 4, dtype=torch.long)),
        ("next_token", (6, 4), torch.zeros(6, dtype=torch.long)),
    ],
)
def test_targets_of_another_shape_are_refused(loss: str, output: tuple[int, ...], targets: Tensor) -> None:
    with pytest.raises(InputError, match=r"targets of shape \(.*\) do not go with an output of shape \(6,"):
        LOSSES[loss](torch.zeros(output), targets)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [(nn.CrossEntropyLoss(), r"\(\)"), (lambda o, t: o, r"\(5, 4\)"), (lambda o, t: o[:3, 0], r"\(3\)")],
)
def test_a_loss_that_does_not_give_one_number_a_sample_is_refused(loss: Callable[..., Tensor], shape: str) -> None:
    engine = PerSampleGradients(nn.Linear(3, CLASSES), loss=loss)
    with pytest.raises(InputError, match=rf"the loss gives shape {shape} for . samples; one number a sample is needed"):
        engine(torch.randn(6, 3), torch.zeros(6, dtype=torch.long))


def test_an_unknown_loss_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown loss 'hinge'; there are: cross_entropy, binary_cross_entropy, squared_error"):
        PerSampleGradients(nn.Linear(3, 4), loss="hinge")


def test_the_loss_of_a_well_fitted_sample_keeps_its_digits_in_single_precision() -> None:
    module = nn.Linear(2, 3)
    module.weight.data = torch.tensor([[20.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    module.bias.data.zero_()
    x, y = torch.tensor([[1.0, 1.0], [1.5, 0.0]]), torch.tensor([0, 0])
    engine = PerSampleGradients(module, width=0)
    assert_alike(engine(x, y), norms_alone(module.double(), x.double(), y), engine, 1e-5)
