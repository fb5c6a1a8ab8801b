"""From what a user names (architecture, factory, weights file, module) to a `Classifier` that fits the data."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.data.dataset import Dataset, SampleError
from oga_core.errors import InputError, raise_as
from oga_core.limits import CLASSES
from oga_core.models import inputs
from oga_core.models.architectures import architectures, build, check_architecture, kind_of
from oga_core.models.classifier import Classifier
from oga_core.models.hugging_face import load_folder
from oga_core.models.model_folder import is_folder
from oga_core.models.weights import load_strict, read_state_dict

SMALL = 100_000_000
"""A model of so many values is built to see what does not fit, also where its weights have far fewer."""
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_model(name: str | None, weights: Path | None, dataset: Dataset) -> Classifier:
    """Load a model and check it against the data before anything else runs.

    Parameters
    ----------
    name
        An architecture, a factory ``package.module:function``, or None to take it from the metadata of ``weights``.
    weights
        Safetensors, PyTorch state dict, or a Hugging Face folder, or zip of one, which is the whole model. A factory may do
        without.
    dataset
        The data it will be run on.

    Raises
    ------
    InputError
        If name, weights or data do not fit one another.

    Examples
    --------
    >>> oga.save_weights(oga.train(dataset, epochs=1).classifier, "model.safetensors")
    >>> oga.load_model(None, "model.safetensors", dataset).class_names
    ['ant', 'bee', 'cat']
    """
    if weights is not None and is_folder(Path(weights)):
        if name is not None:
            raise InputError(f"{Path(weights).name} is a whole model; it needs no {name} (--model)")
        return check_model(load_folder(Path(weights), dataset), dataset)
    factory = name is not None and FACTORY.fullmatch(name) is not None
    if weights is None and not factory:
        check_architecture(name) if name else None
        raise InputError(f"model {name or ''} needs a weights file (--weights); without both, a starter is trained")
    state: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {"notes": []}
    if weights is not None:
        state, metadata = read_state_dict(Path(weights))
    about = _read_metadata(metadata)
    if name is None:
        if "name" not in about:
            raise InputError(f"{Path(str(weights)).name} does not say which model it belongs to; name it (--model)")
        name = about["name"]
        if name not in architectures():  # a file must not choose the code that is run
            raise InputError(f"{Path(str(weights)).name} belongs to {name!r}, which is not built in; name it (--model)")
    if factory:
        classifier = _from_factory(name, len(about.get("class_names") or dataset.class_names), dataset)
    else:
        classifier = _build_known(check_architecture(name), state, about, dataset)
    if weights is not None:
        load_strict(classifier.module, state)
    if classifier.class_names is None:
        classifier.class_names = about.get("class_names")
    classifier.notes += metadata["notes"]
    return check_model(classifier, dataset)


def wrap(module: nn.Module, dataset: Dataset, transform: Callable[[Any], Any] | None = None) -> Classifier:
    """A user's own module as a `Classifier`.

    Parameters
    ----------
    module
        Returns logits; it is put in eval mode.
    dataset
        The data it will be run on.
    transform
        Decoded sample (RGB image, text or features) to the module's input, without the batch dimension.

    Raises
    ------
    InputError
        If it cannot be run on these samples or does not have their classes.
    """
    return check_model(_wrap(module, dataset, transform), dataset)


def _wrap(module: nn.Module, dataset: Dataset, transform: Callable[[Any], Any] | None) -> Classifier:
    if not isinstance(module, nn.Module):
        raise InputError(f"the model is a {type(module).__name__}; a torch.nn.Module is needed")
    notes = []
    if transform is None:
        transform, note = inputs.usual_input(dataset)
        notes.append(note)
    return Classifier(type(module).__name__, module.cpu(), None, transform, inputs.collate_default, notes=notes)


def _read_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata that `save_weights` wrote, checked: the file may be untrusted."""
    try:
        about = json.loads(metadata["oga"]) if "oga" in metadata else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"the weights' metadata are not readable: {error}") from error
    names = about.get("class_names") if isinstance(about, dict) else None
    strings = isinstance(names, list) and all(isinstance(n, str) for n in names)
    fine = isinstance(about, dict) and (not about or _types(about) == {"name": str, "spec": dict})
    if not fine or (names is not None and not (strings and 2 <= len(set(names)) == len(names) <= CLASSES.value)):
        raise InputError("the weights' metadata do not describe a model; name it yourself (--model)")
    return dict(about)


def _types(about: dict[str, Any]) -> dict[str, type]:
    return {key: type(about.get(key)) for key in ("name", "spec")}


def _build_known(name: str, state: dict[str, Tensor], about: dict[str, Any], dataset: Dataset) -> Classifier:
    kind = kind_of(name)
    if kind != dataset.kind:
        raise InputError(f"{name} takes {kind} data, and these are {dataset.kind}")
    own = about.get("name") == name
    spec = about["spec"] if own else inputs.spec_for(name, dataset)
    names = about.get("class_names") if own else None
    outputs = len(names) if names else len(dataset.class_names)
    if name in ("googlenet", "inception_v3") and not any(k.lower().startswith("aux") for k in state):
        spec = spec | {"aux_logits": False}
    with torch.device("meta"):  # which costs no memory: the spec may be untrusted
        declared = sum(parameter.numel() for parameter in build(name, outputs, spec).parameters())
    stored = sum(tensor.numel() for tensor in state.values())
    if declared > 2 * stored + SMALL:
        raise InputError(f"{name} has {declared:,} values with these arguments, the weights only {stored:,}; they must fit")
    module = build(name, outputs, spec).eval()
    _check_outputs(name, module, state, outputs)
    encode, collate = inputs.encoder_for(name, spec)
    return Classifier(name, module, names, encode, collate, spec=spec)


def _check_outputs(name: str, module: nn.Module, state: dict[str, Tensor], outputs: int) -> None:
    """Refuse weights of the right architecture with another number of classes, in words that say so."""
    own = module.state_dict()
    differ = [k for k in own if k in state and state[k].shape != own[k].shape]
    heads = [k for k in differ if own[k].ndim and own[k].shape[0] == outputs and state[k].shape[1:] == own[k].shape[1:]]
    if differ and differ == heads and own.keys() == state.keys():
        there = state[heads[-1]].shape[0]
        raise InputError(f"the weights of {name} have {there} outputs, the classes are {outputs}; they must be the same")


def _from_factory(name: str, classes: int, dataset: Dataset) -> Classifier:
    package, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the owner's file beside which they work, as with python -m
    with raise_as(InputError, f"importing the factory {name} failed"):
        try:
            factory = getattr(importlib.import_module(package), attribute)
        except (ImportError, AttributeError, SyntaxError) as error:
            raise InputError(f"factory not found: {name} ({error}); it is written package.module:function") from error
    if not callable(factory):
        raise InputError(f"{name} is a {type(factory).__name__}, not a function that makes a model")
    try:
        accepts = "num_classes" in inspect.signature(factory).parameters
    except (ValueError, TypeError):
        accepts = False
    with raise_as(InputError, f"the factory {name} failed"):
        made = factory(num_classes=classes) if accepts else factory()
    if isinstance(made, Classifier):
        return made
    if not isinstance(made, nn.Module):
        raise InputError(f"{name} returned a {type(made).__name__}; a torch.nn.Module or a Classifier is needed")
    classifier = _wrap(made, dataset, getattr(made, "transform", None))
    classifier.name = name
    return classifier


def check_model(classifier: Classifier, dataset: Dataset) -> Classifier:
    """The classifier in eval mode, after it has run one sample and its outputs were matched with the classes.

    Raises
    ------
    InputError
        If nothing in it can be trained, it cannot run the sample, or its outputs are not the data's classes (of a language model:
        if the data are no prompts with answers).
    """
    if classifier.task is not dataset.task:
        raise InputError(f"model {classifier.name} takes {classifier.task.samples}, and these are {dataset.kind}")
    if not classifier.parameters:
        raise InputError(f"model {classifier.name} has no trainable parameters, so there are no gradients to look at")
    if any(m.training for m in classifier.module.modules()):
        classifier.notes.append("the model was put in eval mode (dropout off, batch norm with its stored statistics)")
    classifier.module.eval()
    outputs = _outputs(classifier, dataset)
    if not classifier.task.class_probabilities:  # outputs and classes need not match
        return classifier
    names = classifier.class_names
    if names is not None and len(names) != outputs:
        raise InputError(f"model {classifier.name} has {outputs} outputs but {len(names)} class names")
    if names is None and outputs != len(dataset.class_names):
        raise InputError(
            f"model {classifier.name} has {outputs} outputs, and the data have {len(dataset.class_names)} classes "
            f"({_show(dataset.class_names)}); they must be the same classes"
        )
    label_indices(classifier, dataset)
    return classifier


def _outputs(classifier: Classifier, dataset: Dataset) -> int:
    """Number of outputs, from running the first sample that can be read."""
    reason = "there are none"
    for index in range(len(dataset)):
        try:
            encoded = classifier.encoded(dataset.load(index))
        except SampleError as error:
            reason = f"{dataset.sources[index]} {error}"
            continue
        return int(classifier.logits(classifier.collate([encoded])).shape[-1])
    raise InputError(f"no sample can be read by model {classifier.name}: {reason}")


def label_indices(classifier: Classifier, dataset: Dataset) -> np.ndarray:
    """Position in the model's output of each class of the data, int64, shape ``(len(dataset.class_names),)``.

    By name where the model's class names are known; otherwise the outputs are the classes in their order.

    Raises
    ------
    InputError
        If a class of the data is not among the model's.
    """
    names = classifier.class_names
    if names is None:
        return np.arange(len(dataset.class_names), dtype=np.int64)
    position = {name: i for i, name in enumerate(names)}
    missing = [name for name in dataset.class_names if name not in position]
    if missing:
        raise InputError(f"{len(missing)} classes of the data are not among the model's: {_show(missing)}; it has {_show(names)}")
    return np.array([position[name] for name in dataset.class_names], dtype=np.int64)


def class_mapping(classifier: Classifier, dataset: Dataset) -> list[tuple[str, int, str]]:
    """Return for each class of the data: its name, the position in the model's output, and the model's name for it.

    Empty where the outputs are not classes.
    """
    if not classifier.task.class_probabilities:
        return []
    positions = label_indices(classifier, dataset)
    names = classifier.class_names or dataset.class_names
    return [(name, int(i), names[i]) for name, i in zip(dataset.class_names, positions)]


def _show(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
