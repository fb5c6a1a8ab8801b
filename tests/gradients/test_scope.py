"""Which parameters a scope names, and what is said where it names none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oga_core.errors import InputError
from oga_core.gradients import PerSampleGradients, parameters_in
from tests.gradients.one_sample import assert_alike, norms_alone


class Net(nn.Module):
    """Two layers in a row, an adapter, and a head that shares its weight with a table."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(4, 4)
        self.layer2 = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.lora_A = nn.Linear(4, 2, bias=False)
        self.lora_B = nn.Linear(2, 4, bias=False)
        self.head = nn.Linear(4, 3)
        self.again = self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer1(x).tanh()
        x = self.layer2(x) + self.lora_B(self.lora_A(x))
        out: torch.Tensor = self.again(x)
        return out


EVERY = [
    "layer1.weight",
    "layer1.bias",
    "layer2.0.weight",
    "layer2.0.bias",
    "layer2.1.weight",
    "layer2.1.bias",
    "lora_A.weight",
    "lora_B.weight",
    "head.weight",
    "head.bias",
]


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("all", EVERY),
        ("*", EVERY),
        ("lora", ["lora_A.weight", "lora_B.weight"]),
        ("head", ["head.weight"]),
        ("layer2.*", EVERY[2:6]),
        ("*.bias", [n for n in EVERY if n.endswith("bias")]),
        ("layer[12].*", EVERY[:6]),
        ("head.*, layer1.weight", ["layer1.weight", "head.weight", "head.bias"]),
        ("layer1.weight,layer1.*", ["layer1.weight", "layer1.bias"]),
        ("again.weight", ["again.weight"]),
        ("layer1.bias", ["layer1.bias"]),
    ],
)
def test_a_scope_names_parameters_each_once_in_the_models_order_and_their_norms_are_exact(scope: str, names: list[str]) -> None:
    torch.manual_seed(0)
    module = Net().double()
    assert list(parameters_in(module, scope, "head")) == names
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    true = norms_alone(module, x, y)
    if scope == "again.weight":
        true.l1["again.weight"], true.l2["again.weight"] = true.l1["head.weight"], true.l2["head.weight"]
    for l1 in (True, False):
        engine = PerSampleGradients(module, scope, head="head", l1=l1, width=0)
        assert engine.parameters == {name: module.get_parameter(name).numel() for name in names}
        assert_alike(engine(x, y), true, engine, 1e-9)
        assert engine.notes == []


def test_frozen_parameters_are_in_no_scope() -> None:
    module = Net()
    module.layer1.requires_grad_(False)
    module.layer2[0].bias.requires_grad_(False)
    assert list(parameters_in(module, "all")) == [n for n in EVERY if n not in ("layer1.weight", "layer1.bias", "layer2.0.bias")]
    assert list(parameters_in(module, "layer2.0.*")) == ["layer2.0.weight"]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("layer3.*", r"scope 'layer3\.\*' is neither head, all or lora, nor does it match a parameter; .* for example: .*layer"),
        ("Head.weight", r"'Head\.weight' .* nor does it match a parameter; there are, for example: .*head\.weight"),
        ("head.*,nothing", "scope 'nothing' is neither"),
        ("layer1.*", r"scope 'layer1\.\*' names 2 parameters, and none of them is trainable"),
        ("", "scope '' names no parameter"),
        (" , ", "names no parameter"),
        ("lora", r"the model has no trainable LoRA adapter \(parameters named lora_A, lora_B\)"),
        ("head", "the head's weight is not a trainable parameter"),
    ],
)
def test_a_scope_without_parameters_is_refused_with_the_reason(scope: str, message: str) -> None:
    module = Net()
    for layer in (module.layer1, module.lora_A, module.lora_B):
        layer.requires_grad_(False)
    module.head.weight.requires_grad_(False)
    with pytest.raises(InputError, match=message):
        parameters_in(module, scope, "head")


def test_a_model_that_is_frozen_whole_is_refused() -> None:
    module = Net().requires_grad_(False)
    with pytest.raises(InputError, match=r"scope 'all' names 10 parameters, and none of them is trainable"):
        PerSampleGradients(module)


def test_the_scope_head_needs_the_name_of_a_head() -> None:
    with pytest.raises(InputError, match="the head's weight is not a trainable parameter"):
        parameters_in(Net(), "head")
