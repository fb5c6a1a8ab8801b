"""The architectures that can be asked for by name. Nothing is downloaded; nothing outside the list is built."""

from __future__ import annotations

import difflib
from typing import Any

import torchvision
from torch import nn

from oga_core.errors import InputError
from oga_core.models import starters

STARTERS = {"small_resnet": "image", "text_ngrams": "text", "feature_mlp": "features"}
"""Our own architectures and the kind of data each takes."""

ARCHITECTURES: list[str] = [*STARTERS, *torchvision.models.list_models(module=torchvision.models)]


def known(name: str) -> str:
    """The name itself.

    Raises
    ------
    InputError
        If it is not on the list, with the nearest names.
    """
    if name in ARCHITECTURES:
        return name
    if any(c in name for c in ":/\\@"):
        raise InputError(
            f"architecture {name!r} is not on the list: models are never fetched from a hub or an address; "
            "give one of torchvision's classification models with a weights file"
        )
    near = difflib.get_close_matches(name.lower(), ARCHITECTURES, 3, 0.6)
    there = f"there are {', '.join(STARTERS)} and torchvision's (resnet18, …)"
    hint = f"did you mean {' or '.join(near)}?" if near else there
    raise InputError(f"unknown architecture {name!r}; {hint}")


def kind_of(name: str) -> str:
    """The kind of data an architecture takes: ``image``, ``text`` or ``features``."""
    return STARTERS.get(name, "image")


def build(name: str, num_classes: int, spec: dict[str, Any]) -> nn.Module:
    """The architecture with random weights.

    Parameters
    ----------
    name
        A name of `ARCHITECTURES`.
    num_classes
        Number of outputs.
    spec
        Arguments of a starter architecture. Of torchvision's, GoogLeNet and Inception heed ``aux_logits``; the others are
        built with their defaults.

    Raises
    ------
    InputError
        For an unknown name or arguments that the architecture cannot be built with.
    """
    known(name)
    if name not in STARTERS:
        more = {}
        if name in ("googlenet", "inception_v3"):
            more = {"init_weights": False, "aux_logits": bool(spec.get("aux_logits", True))}
        module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **more)
        return module
    try:
        return starters.build(name, num_classes, spec)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} cannot be built with {spec}: {error}") from error
