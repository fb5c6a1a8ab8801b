"""The architectures that can be asked for by name. Nothing is downloaded; nothing outside the list is built."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any

from oga_core.errors import InputError, raise_as

if TYPE_CHECKING:
    from torch import nn

STARTERS = {"small_resnet": "image", "text_ngrams": "text", "feature_mlp": "features"}
"""Our own architectures and the kind of data each takes."""


@functools.cache
def architectures() -> tuple[str, ...]:
    """The names: ours, and torchvision's classification models."""
    from torchvision import models  # seconds, which those who need none of them should not wait

    return (*STARTERS, *models.list_models(module=models))


def check_architecture(name: str) -> str:
    """The name itself.

    Raises
    ------
    InputError
        If it is not on the list, with the nearest names.
    """
    if name in STARTERS or name in architectures():
        return name
    if any(c in name for c in ":/\\@"):
        raise InputError(
            f"architecture {name!r} is not on the list: models are never downloaded from a hub or an address; "
            "give one of torchvision's classification models with a weights file"
        )
    near = difflib.get_close_matches(name.lower(), architectures(), 3, 0.6)
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
        One of `architectures`.
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
    check_architecture(name)
    if name not in STARTERS:
        from torchvision import models

        more = {}
        if name in ("googlenet", "inception_v3"):
            more = {"init_weights": False, "aux_logits": bool(spec.get("aux_logits", True))}
        module: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **more)
        return module
    from oga_core.models import starters

    with raise_as(InputError, f"{name} cannot be built with {str(spec)[:200]}"):
        return starters.build(name, num_classes, spec)
