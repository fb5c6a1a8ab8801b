"""Logits in whatever a model returns, and what is not taken for logits."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.models import Classifier
from oga_core.models.classifier import find_logits
from oga_core.models.inputs import collate_default

LOGITS, HIDDEN = torch.randn(4, 3), torch.randn(4, 5, 8)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, HIDDEN),
        [HIDDEN, LOGITS],
        (torch.arange(4), LOGITS),
        {"loss": torch.tensor(1.0), "logits": LOGITS},
        OrderedDict(hidden=HIDDEN, out=LOGITS),
        {"anything": LOGITS},
        SimpleNamespace(loss=torch.tensor(1.0), logits=LOGITS),
    ],
)
def test_logits_are_found(output: object) -> None:
    assert find_logits(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (HIDDEN, r"shape \(4, 5, 8\) of torch.float32"),
        (torch.randn(4), r"shape \(4\)"),
        (torch.zeros(4, 3, dtype=torch.int64), "torch.int64"),
        (torch.randn(4, 1), "one output; a classifier with one logit a class"),
        ("yes", "returns str; a tensor of logits"),
        (None, "returns NoneType"),
        ((), "returns tuple"),
        ({"label": ["cat"]}, "returns dict"),
    ],
)
def test_what_is_no_logits_is_named(output: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        find_logits(output, "net")


def test_half_precision_becomes_float32_and_double_stays() -> None:
    kinds = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}
    assert all(find_logits(LOGITS.to(given)).dtype == wanted for given, wanted in kinds.items())


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        logits: Tensor = self.head(a + b)
        return logits


def classifier(module: nn.Module) -> Classifier:
    return Classifier("sum", module, None, lambda sample: sample, collate_default)


def test_a_tuple_is_passed_as_arguments_and_a_dict_as_keywords() -> None:
    module = Sum()
    net = classifier(module)
    a, b = torch.ones(5, 3), torch.randn(5, 3)
    wanted = module.head(a + b)
    for batch in ((a, b), [a, b], {"b": b, "a": a}):
        assert torch.equal(net.logits(batch), wanted)
    assert not net.logits((a, b)).requires_grad


@pytest.mark.parametrize(
    "batch", [torch.ones(2, 3), {"a": torch.ones(2, 3), "c": 1}, (torch.ones(2, 4), torch.ones(2, 4)), (None, None)]
)
def test_samples_that_the_model_cannot_take_are_said_in_one_line(batch: Any) -> None:
    with pytest.raises(InputError, match=r"model sum cannot take these samples: [A-Z]") as caught:
        classifier(Sum()).logits(batch)
    assert "\n" not in str(caught.value)


def test_only_trainable_values_count_as_parameters() -> None:
    module = Sum()
    net = classifier(module)
    assert net.parameters == 8
    module.head.bias.requires_grad_(False)
    assert net.parameters == 6
