"""From what a user names to a classifier that fits the data, and what stops before anything is scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import oga_core as oga
from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.gradients import find_head
from oga_core.models import class_mapping, label_indices, load_model, save_weights, wrap
from oga_core.models.inputs import collate_default
from oga_core.models.starters import FeatureMLP

SMALL = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_0")


def images(classes: int = 3) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (2 * classes, 32, 32, 3), np.uint8)
    return oga.from_arrays(pixels, np.arange(2 * classes) % classes)


def features(names: str = "abc", d: int = 4) -> Dataset:
    values = np.random.default_rng(0).normal(size=(12, d))
    return oga.from_arrays(values, [names[i % len(names)] for i in range(12)], list(names))


def mlp(classes: int = 3, d: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", SMALL)
def test_torchvision_weights_are_loaded(tmp_path: Path, name: str, suffix: str) -> None:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=3).eval()
    (torch.save if suffix == "pt" else save_file)(module.state_dict(), tmp_path / f"w.{suffix}")
    data = images()
    classifier = load_model(name, tmp_path / f"w.{suffix}", data)
    batch = classifier.collate([classifier.encode(data.load(i)) for i in range(2)])
    assert batch.shape == (2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(classifier.logits(batch), module(batch))
    assert (classifier.class_names, classifier.notes) == (None, [])
    if name == "squeezenet1_0":
        message = refusal(lambda: find_head(classifier.module, classifier.logits, batch))
        assert "scope 'head' needs a model whose logits are the output of one Linear layer" in message
    else:
        found, head = find_head(classifier.module, classifier.logits, batch)
        assert (found in ("fc", "classifier.3"), head.out_features) == (True, 3)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_without_the_auxiliary_outputs_are_loaded_too(tmp_path: Path, name: str) -> None:
    module = torchvision.models.get_model(name, weights=None, num_classes=3, init_weights=False, aux_logits=False)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    assert load_model(name, tmp_path / "w.safetensors", images()).name == name


def test_names_that_are_not_on_the_list_are_refused_before_the_weights_are_opened(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pt"
    assert "did you mean resnet" in refusal(lambda: load_model("resnet51", None, images()))
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert "did you mean resnet" in refusal(lambda: load_model("resnet51", tmp_path / "w.safetensors", images()))
    assert "hub" in refusal(lambda: load_model("hf-hub:timm/resnet18", tmp_path / "w.safetensors", images()))
    assert "weights file not found: " in refusal(lambda: load_model("resnet18", absent, images()))
    assert "needs a weights file" in refusal(lambda: load_model("resnet18", None, images()))


def test_another_number_of_classes_stops_in_words(tmp_path: Path) -> None:
    module = torchvision.models.shufflenet_v2_x0_5(num_classes=10)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    message = refusal(lambda: load_model("shufflenet_v2_x0_5", tmp_path / "w.safetensors", images()))
    assert message == "the weights of shufflenet_v2_x0_5 have 10 outputs, the classes are 3; they must be the same"
    assert "has 10 outputs, and the data have 3 classes ('0', '1', '2')" in refusal(lambda: wrap(mlp(10, 4), numbered()))


def numbered() -> Dataset:
    return oga.from_arrays(np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict()
    state["extra.weight"] = state.pop("fc.bias")
    save_file(state, tmp_path / "w.safetensors")
    message = refusal(lambda: load_model("shufflenet_v2_x0_5", tmp_path / "w.safetensors", images()))
    assert "1 missing (fc.bias) and 1 unexpected (extra.weight)" in message
    save_file(mlp().state_dict(), tmp_path / "w.safetensors")
    assert "missing" in refusal(lambda: load_model("resnet18", tmp_path / "w.safetensors", images()))


def test_a_model_for_another_kind_of_data_is_refused(tmp_path: Path) -> None:
    save_file(mlp().state_dict(), tmp_path / "w.safetensors")
    message = refusal(lambda: load_model("resnet18", tmp_path / "w.safetensors", features()))
    assert message == "resnet18 takes image data, and these are features"


def saved(path: Path, names: str | None = "abc", **about: Any) -> Path:
    """A starter's weights with the metadata of `save_weights`, changed where asked."""
    torch.manual_seed(0)
    state = FeatureMLP(3, 4).state_dict()
    told = {"name": "feature_mlp", "class_names": list(names) if names else None, "spec": {"features": 4, "width": 128}}
    save_file(state, path, metadata={"oga": json.dumps(told | about)})
    return path


def test_a_file_of_our_own_says_what_it_is_and_its_classes_are_matched_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    plain = load_model(None, path, features("abc"))
    assert (plain.name, plain.class_names) == ("feature_mlp", ["a", "b", "c"])
    turned = features("cab")
    classifier = load_model(None, path, turned)
    assert label_indices(classifier, turned).tolist() == [2, 0, 1]
    assert class_mapping(classifier, turned) == [("c", 2, "c"), ("a", 0, "a"), ("b", 1, "b")]
    assert label_indices(classifier, features("ba")).tolist() == [1, 0]
    message = refusal(lambda: load_model(None, path, features("axyz")))
    assert message == "3 classes of the data are not among the model's: 'x', 'y', 'z'; it has 'a', 'b', 'c'"


def test_without_names_the_outputs_are_the_classes_in_their_order(tmp_path: Path) -> None:
    classifier = load_model("feature_mlp", saved(tmp_path / "w.safetensors", None), features("cab"))
    assert class_mapping(classifier, features("cab")) == [("c", 0, "c"), ("a", 1, "a"), ("b", 2, "b")]


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"name": "os:system"}, "belongs to 'os:system', which is not built in"),
        ({"name": "mymodel"}, "not built in; name it"),
        ({"name": 3}, "do not describe a model"),
        ({"spec": None}, "do not describe a model"),
        ({"class_names": ["a", "a", "b"]}, "do not describe a model"),
        ({"class_names": ["a"]}, "do not describe a model"),
        ({"class_names": "abc"}, "do not describe a model"),
        ({"class_names": ["a", "b", "c", "d"]}, "have 3 outputs, the classes are 4"),
        ({"spec": {"features": 10**12}}, "cannot be built"),
        ({"spec": {}}, "cannot be built"),
        ({"spec": {"features": 5}}, r"hidden.weight is \(128, 4\), the model has \(128, 5\)|shape"),
    ],
)
def test_forged_metadata_are_refused(tmp_path: Path, about: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_model(None, saved(tmp_path / "w.safetensors", **about), features())


def test_weights_that_do_not_say_their_model_need_a_name(tmp_path: Path) -> None:
    save_file(mlp().state_dict(), tmp_path / "w.safetensors")
    assert "does not say which model" in refusal(lambda: load_model(None, tmp_path / "w.safetensors", features()))
    save_file(mlp().state_dict(), tmp_path / "w.safetensors", metadata={"oga": "{broken"})
    assert "metadata are not readable" in refusal(lambda: load_model(None, tmp_path / "w.safetensors", features()))


def test_weights_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    data = features()
    classifier = load_model(None, saved(tmp_path / "w.safetensors"), data)
    save_weights(classifier, tmp_path / "again.safetensors")
    again = load_model(None, tmp_path / "again.safetensors", data)
    batch = classifier.collate([classifier.encode(data.load(i)) for i in range(12)])
    assert torch.equal(again.logits(batch), classifier.logits(batch))
    assert (again.name, again.class_names, again.spec) == (classifier.name, classifier.class_names, classifier.spec)


FACTORIES = """
import torch
from torch import nn
from oga_core.models import Classifier
from oga_core.models.inputs import FeatureEncoder, collate_default

def sized(num_classes):
    return nn.Sequential(nn.Linear(4, num_classes))

def ready():
    return Classifier("mine", nn.Sequential(nn.Linear(4, 3)), list("cba"), FeatureEncoder(4), collate_default)

def doubled():
    module = nn.Sequential(nn.Linear(8, 3))
    module.transform = lambda values: torch.from_numpy(values).repeat(2)
    return module

def fails():
    raise RuntimeError("no such file")

def junk():
    return {"w": 1}

number = 7
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the owner's, on the path under a name of its own."""
    (tmp_path / "owners_factories.py").write_text(FACTORIES)
    (tmp_path / "owners_broken.py").write_text("raise ValueError('set MY_TOKEN first')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "owners_factories"


def test_a_factory_of_the_owners_makes_the_model(factories: str, tmp_path: Path) -> None:
    data = features()
    made = load_model(f"{factories}:sized", None, data)
    assert (made.name, made.module[0].out_features) == (f"{factories}:sized", 3)  # type: ignore[index]
    ready = load_model(f"{factories}:ready", None, data)
    assert label_indices(ready, data).tolist() == [2, 1, 0]
    doubled = load_model(f"{factories}:doubled", None, data)
    assert doubled.encode(data.load(0)).shape == (8,)
    weights = {"0.weight": torch.ones(3, 4), "0.bias": torch.zeros(3)}
    save_file(weights, tmp_path / "w.safetensors")
    loaded = load_model(f"{factories}:sized", tmp_path / "w.safetensors", data)
    assert torch.equal(loaded.module.state_dict()["0.weight"], weights["0.weight"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("owners_factories:fails", "failed: RuntimeError: no such file"),
        ("owners_factories:junk", "returned a dict"),
        ("owners_factories:number", "is a int, not a function"),
        ("owners_factories:absent", "factory not found"),
        ("owners_absent:build", "No module named 'owners_absent'"),
        ("owners_broken:build", "importing the factory owners_broken:build failed: ValueError: set MY_TOKEN first"),
    ],
)
def test_a_factory_that_makes_no_model_is_said(factories: str, name: str, reason: str) -> None:
    assert reason in refusal(lambda: load_model(name, None, features()))


def test_a_users_module_runs_with_their_transform_in_eval_mode_and_that_is_said() -> None:
    module, data = mlp(3, 8).train(), features()
    classifier = wrap(module, data, lambda values: torch.from_numpy(values).repeat(2))
    assert classifier.name == "Sequential"
    assert not any(m.training for m in module.modules())
    assert classifier.notes == ["the model was put in eval mode (dropout off, batch norm with its stored statistics)"]
    batch = classifier.collate([classifier.encode(data.load(i)) for i in range(12)])
    assert torch.equal(classifier.logits(batch), classifier.logits(batch))
    assert wrap(module, data, lambda values: torch.from_numpy(values).repeat(2)).notes == []


def test_a_frozen_batch_norm_that_is_not_frozen_is_put_in_eval_mode_too() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    module[1].train()
    classifier = wrap(module, features(), torch.from_numpy)
    assert not module[1].training
    assert "eval mode" in classifier.notes[0]


class Pair(nn.Module):
    """Takes two arguments and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"hidden": a, "logits": self.head(a * b)}


def test_a_module_of_two_inputs_that_returns_a_dict_is_run() -> None:
    data = features()
    classifier = wrap(Pair(), data, lambda values: (torch.from_numpy(values), torch.ones(4)))
    assert classifier.logits(collate_default([classifier.encode(data.load(0))])).shape == (1, 3)


@pytest.mark.parametrize(
    ("make", "transform", "reason"),
    [
        (lambda: mlp().requires_grad_(False), torch.from_numpy, "no trainable parameters"),
        (lambda: mlp(3, 5), torch.from_numpy, "cannot take these samples: RuntimeError"),
        (lambda: mlp(1), torch.from_numpy, "one output"),
        (lambda: nn.Identity(), torch.from_numpy, "no trainable parameters"),
        (mlp, lambda values: 1 / 0, "row 11 cannot be made the input of the model: ZeroDivisionError"),
        (lambda: "resnet18", None, "the model is a str; a torch.nn.Module is needed"),
        (lambda: mlp().state_dict(), None, "the model is a OrderedDict"),
    ],
)
def test_a_module_that_does_not_fit_stops_before_scoring(make: Callable[[], Any], transform: Any, reason: str) -> None:
    assert reason in refusal(lambda: wrap(make(), features(), transform))


def test_class_names_and_outputs_must_be_as_many() -> None:
    classifier = wrap(mlp(), features(), torch.from_numpy)
    classifier.class_names = ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="has 3 outputs but 4 class names"):
        oga.score(classifier, features())
