"""Head gradients in closed form against torch.autograd one sample at a time, and the search for the head."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import HeadGradients, capture_features, find_head, head_gradients


def closed_form(module: nn.Module, head: nn.Linear, inputs: Tensor, labels: Tensor) -> HeadGradients:
    """Sample by sample, so that the logits are bitwise those that autograd sees."""
    with torch.no_grad(), capture_features(head) as seen:
        logits = torch.cat([module(sample[None]) for sample in inputs])
    return head_gradients(logits, torch.cat(seen), labels)


def autograd(module: nn.Module, head: nn.Linear, inputs: Tensor, labels: Tensor) -> np.ndarray:
    """Gradients of the head's weight, float64, shape ``(n, classes × d)``; the loss in float64 as the closed form has it."""
    gradients = []
    for sample, label in zip(inputs, labels):
        loss = F.cross_entropy(module(sample[None]).double(), label[None])
        gradients.append(torch.autograd.grad(loss, head.weight)[0].flatten().double().numpy())
    return np.stack(gradients)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 6),
    inputs=st.integers(1, 9),
    d=st.integers(1, 40),
    classes=st.integers(2, 12),
    bias=st.booleans(),
    double=st.booleans(),
    scale=st.floats(0.01, 3.0),
    seed=st.integers(0, 2**31),
)
def test_norms_and_inner_products_are_those_of_autograd(
    n: int, inputs: int, d: int, classes: int, bias: bool, double: bool, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    head = nn.Linear(d, classes, bias=bias)
    head.weight.data *= scale
    module = nn.Sequential(nn.Linear(inputs, d), nn.Tanh(), head).to(torch.float64 if double else torch.float32)
    x, y = torch.randn(n, inputs, dtype=head.weight.dtype), torch.randint(classes, (n,))
    mine, true = closed_form(module, head, x, y), autograd(module, head, x, y)
    tolerance = 1e-10 if double else 1e-5
    l2 = np.linalg.norm(true, axis=1)
    np.testing.assert_allclose(mine.l1, np.abs(true).sum(1), rtol=tolerance)
    np.testing.assert_allclose(mine.l2, l2, rtol=tolerance)
    products = (mine.residuals @ mine.residuals.T) * (mine.features @ mine.features.T)
    assert (np.abs(products - true @ true.T) <= tolerance * np.outer(l2, l2)).all()
    losses = F.cross_entropy(module(x).double(), y, reduction="none").detach().numpy()
    np.testing.assert_allclose(mine.losses, losses, rtol=1e-4)


def test_a_real_network_gives_the_norms_of_autograd() -> None:
    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=7).eval()
    x, y = torch.randn(4, 3, 40, 40), torch.tensor([0, 3, 6, 3])
    mine, true = closed_form(module, module.fc, x, y), autograd(module, module.fc, x, y)
    np.testing.assert_allclose(mine.l1, np.abs(true).sum(1), rtol=1e-5)
    np.testing.assert_allclose(mine.l2, np.linalg.norm(true, axis=1), rtol=1e-5)


@pytest.mark.parametrize("margin", [0, 5, 17, 36, 50, 100, 700])
def test_a_nearly_zero_loss_keeps_its_digits(margin: int) -> None:
    with localcontext(prec=400):
        others = Decimal(-margin).exp() + Decimal(-margin - 1).exp()
        loss, wrong = (1 + others).ln(), others / (1 + others)
        each = [Decimal(-margin).exp() / (1 + others), Decimal(-margin - 1).exp() / (1 + others)]
    g = head_gradients(torch.tensor([[0.0, margin, -1.0]]).double(), torch.tensor([[3.0, -4.0]]), torch.tensor([1]))
    np.testing.assert_allclose(g.losses, float(loss), rtol=1e-12)
    np.testing.assert_allclose(g.residuals, [[float(each[0]), -float(wrong), float(each[1])]], rtol=1e-12)
    np.testing.assert_allclose(g.l1, 2 * float(wrong) * 7, rtol=1e-12)


def test_a_huge_loss_is_the_margin() -> None:
    g = head_gradients(torch.tensor([[0.0, 3e38]]), torch.ones(1, 2), torch.tensor([0]))
    assert g.losses.tolist() == [torch.tensor(3e38).double().item()]
    assert g.residuals.tolist() == [[-1.0, 1.0]]


def small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: torchvision.models.resnet18(num_classes=4), "fc"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=4), "classifier.3"),
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=4), "fc"),
        (small_vit, "heads.head"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.ReLU(), nn.Linear(4, 4), nn.Dropout(0.9)), "3"),
    ],
)
def test_the_head_is_found(make: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(0)
    module = make().eval()
    found, head = find_head(module, module, torch.randn(3, 3, 32, 32))
    assert found == name
    assert head is dict(module.named_modules())[name]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.layer(x))
        return out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)
        self.head.weight = self.body.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class Cosine(nn.Linear):
    """A Linear by its type alone."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight)) * 5


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU()), "its last Linear layer is '0', and its output is not the logits"),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)), "output is not the logits"),
        (nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(1)), "output is not the logits"),
        (nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1), nn.Flatten()), "it runs no Linear layer"),
        (nn.Sequential(nn.Linear(3, 3), Cosine(3, 2)), "output is not the logits"),
        (Reused(), "used once"),
        (Tied(), r"'head' is shared by 2 layers \(body, head\)"),
    ],
)
def test_a_model_whose_head_has_no_closed_form_is_refused(module: nn.Module, reason: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=reason):
        find_head(module.eval(), module, torch.randn(16, 3))
    assert not any(m._forward_hooks for m in module.modules())


def test_a_head_that_is_used_again_after_the_logits_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 2))

    def logits_of(x: Tensor) -> Tensor:
        logits: Tensor = module(x)
        module(2 * x)
        return logits

    with pytest.raises(InputError, match="used once"):
        find_head(module, logits_of, torch.randn(4, 3))


def test_a_head_can_be_named_and_a_wrong_name_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    x = torch.randn(4, 3)
    assert find_head(module, module, x, "1") == ("1", module[1])
    with pytest.raises(InputError, match=r"no Linear layer named 'fc'; its last Linear layers: 0, 1"):
        find_head(module, module, x, "fc")
    with pytest.raises(InputError, match="output of layer '0' is not the model's logits"):
        find_head(module, module, x, "0")


def test_the_head_is_found_where_a_sample_overflows_and_in_half_precision() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    assert find_head(module, module, torch.full((2, 3), torch.nan))[0] == "1"
    half = module.bfloat16()
    assert find_head(half, lambda x: half(x).float(), torch.randn(2, 3).bfloat16())[0] == "1"


def test_hooks_are_gone_after_an_error() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        find_head(module, module, torch.randn(2, 4))
    first = module[0]
    assert isinstance(first, nn.Linear)
    with pytest.raises(RuntimeError), capture_features(first):
        module(torch.randn(2, 4))
    assert not first._forward_hooks
    assert not module[0]._forward_pre_hooks


def test_features_are_captured_also_when_given_by_keyword() -> None:
    head, h = nn.Linear(3, 2), torch.randn(5, 3)
    with capture_features(head) as seen:
        head(h)
        head(input=h)
    head(h)
    assert [torch.equal(f, h) for f in seen] == [True, True]


def test_a_head_in_bfloat16_has_the_gradient_of_autograd_to_its_digits() -> None:
    torch.manual_seed(0)
    head, features, labels = nn.Linear(30, 5).bfloat16(), torch.randn(20, 30).bfloat16(), torch.arange(20) % 5
    logits = torch.cat([head(f[None]).detach() for f in features])
    found = head_gradients(logits, features, labels)
    for i in range(20):
        loss = nn.functional.cross_entropy(head(features[i : i + 1]).double(), labels[i : i + 1])
        (own,) = torch.autograd.grad(loss, head.weight)
        assert found.losses[i] == pytest.approx(float(loss.detach()), rel=1e-9)
        assert found.l1[i] == pytest.approx(float(own.double().abs().sum()), rel=0.01)
        assert found.l2[i] == pytest.approx(float(own.double().norm()), rel=0.01)
