"""Starter architectures: shapes, size, and that a sample alone gives what it gives in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oga_core.gradients import find_head
from oga_core.models.classifier import run
from oga_core.models.inputs import collate_text
from oga_core.models.starters import FeatureMLP, SmallResNet, TextNgrams

CASES: dict[str, tuple[nn.Module, Any, Callable[[list[Tensor]], Any] | None]] = {
    "small_resnet": (SmallResNet(5, size=28), torch.rand(6, 3, 28, 28), None),
    "large images": (SmallResNet(5, size=64), torch.rand(6, 3, 64, 64), None),
    "text_ngrams": (TextNgrams(5, 100, 16), [torch.randint(100, (n,)).int() for n in (1, 40, 3, 7, 1, 90)], collate_text),
    "feature_mlp": (FeatureMLP(5, 9), torch.randn(6, 9), None),
}


@pytest.mark.parametrize("case", list(CASES))
@torch.no_grad()
def test_a_sample_alone_gives_what_it_gives_in_a_batch(case: str) -> None:
    module, samples, collate = CASES[case]
    batch = collate or torch.stack
    together = run(module.eval(), batch(list(samples)))
    alone = torch.cat([run(module, batch([sample])) for sample in samples])
    assert together.shape == (6, 5)
    assert together.std() > 0
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", list(CASES))
def test_the_head_is_the_layer_called_head(case: str) -> None:
    module, samples, collate = CASES[case]
    batch = (collate or torch.stack)(list(samples))
    assert find_head(module.eval(), lambda b: run(module, b), batch)[0] == "head"


def test_the_image_starter_is_small_and_halves_large_images() -> None:
    assert 250_000 < sum(p.numel() for p in SmallResNet(10, 32).parameters()) < 350_000
    assert [SmallResNet(2, size).stem.stride for size in (40, 41)] == [(1, 1), (2, 2)]


@torch.no_grad()
def test_a_text_counts_by_the_root_of_its_length() -> None:
    torch.manual_seed(0)
    module = TextNgrams(3, 50, 64).eval()
    short, long = (run(module, collate_text([torch.tensor([7] * n)])) - module.head.bias for n in (1, 400))
    torch.testing.assert_close(long, 20 * short)


@torch.no_grad()
def test_features_are_standardised_and_bounded() -> None:
    module = FeatureMLP(3, 2).eval()
    module.mean.copy_(torch.tensor([100.0, -5.0]))
    module.std.copy_(torch.tensor([10.0, 0.5]))
    plain = FeatureMLP(3, 2).eval()
    plain.load_state_dict({**module.state_dict(), "mean": torch.zeros(2), "std": torch.ones(2)})
    x = torch.tensor([[120.0, -5.5], [1e30, -5.0]])
    torch.testing.assert_close(module(x), plain(torch.tensor([[2.0, -1.0], [20.0, 0.0]])))
