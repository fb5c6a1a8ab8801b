"""The list of architectures: all of torchvision's classifiers, nothing from elsewhere."""

from __future__ import annotations

import pytest
import torch
import torchvision

from oga_core.errors import InputError
from oga_core.models import architectures
from oga_core.models.architectures import STARTERS, build, check_architecture, kind_of
from oga_core.models.inputs import encoder_for, spec_for, torchvision_input


def test_every_classifier_of_torchvision_and_every_starter_is_on_the_list() -> None:
    theirs = torchvision.models.list_models(module=torchvision.models)
    assert len(theirs) > 70
    assert sorted(architectures()) == sorted({*theirs, "small_resnet", "text_ngrams", "feature_mlp"})
    assert all(check_architecture(name) == name for name in architectures())
    assert [kind_of(name) for name in ("small_resnet", "text_ngrams", "feature_mlp", "resnet18")] == [*STARTERS.values(), "image"]


def test_every_architecture_of_torchvision_has_the_input_its_weights_were_trained_with() -> None:
    for name in set(architectures()) - set(STARTERS):
        spec = torchvision_input(name)
        encode, _ = encoder_for(name, spec)
        assert 224 <= spec["size"] <= spec["resize"] <= 600, name
        assert encode is not None
    assert [torchvision_input(name)["size"] for name in ("inception_v3", "vit_b_16", "efficientnet_b7")] == [299, 224, 600]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet51", "did you mean .*resnet50"),
        ("ResNet18", "did you mean resnet18"),
        ("efficientnet-b0", "did you mean efficientnet_b0"),
        ("xyz", "there are small_resnet, text_ngrams, feature_mlp and torchvision's"),
        ("", "there are small_resnet"),
        ("fasterrcnn_resnet50_fpn", "unknown architecture"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        check_architecture(name)
    with pytest.raises(InputError, match=hint):
        build(name, 3, {})


@pytest.mark.parametrize(
    "name", ["hf-hub:timm/resnet50", "google/vit-base", "https://x.org/m.pt", "pytorch/vision:resnet18", "..\\m"]
)
def test_names_of_hubs_and_addresses_are_refused_in_words(name: str) -> None:
    with pytest.raises(InputError, match="never downloaded from a hub or an address"):
        check_architecture(name)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet"])
def test_an_architecture_has_as_many_outputs_as_classes(name: str) -> None:
    with torch.no_grad():
        assert build(name, 7, {"aux_logits": False}).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("small_resnet", {}),
        ("small_resnet", {"size": "32"}),
        ("small_resnet", {"size": 10**9}),
        ("text_ngrams", {"buckets": 1 << 40, "width": 64}),
        ("text_ngrams", {"buckets": 100, "width": 0}),
        ("feature_mlp", {"features": 2.5}),
        ("feature_mlp", {"features": 3, "dropout": "much"}),
        ("feature_mlp", {"features": 3, "dropout": 7}),
    ],
)
def test_arguments_that_build_nothing_are_refused(name: str, spec: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be built with"):
        build(name, 2, spec)


def test_the_input_of_a_name_needs_no_data_for_torchvision() -> None:
    assert spec_for("resnet18", None) == torchvision_input("resnet18")  # type: ignore[arg-type]
