"""A model together with what turns samples into its input and its output into logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from oga_core.data.dataset import SampleError
from oga_core.errors import InputError, raise_as
from oga_core.task import CLASSIFICATION, Task


@dataclass
class Classifier:
    """A classifier ready to be run.

    Attributes
    ----------
    name
        Name of the architecture, the factory, or the user's class.
    module
        In eval mode, on the CPU.
    class_names
        Names of the outputs in their order, where they are known.
    encode
        Decoded sample (image, text or features) to what `collate` takes.
    collate
        A list of encoded samples to the input of the module: a tuple is passed as arguments, a dict as keywords.
    head
        Name of the layer that gives the logits, where it need not be searched for.
    spec
        Arguments of the architecture, JSON.
    notes
        What was noticed on loading and the user should know, one line each.
    length
        Of an encoded sample, where `collate` pads the samples of a batch to the longest: samples of similar length share a
        batch.
    """

    name: str
    module: nn.Module
    class_names: list[str] | None
    encode: Callable[[Any], Any]
    collate: Callable[[list[Any]], Any]
    head: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    length: Callable[[Any], int] | None = None
    task: ClassVar[Task] = CLASSIFICATION

    @property
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def encoded(self, sample: Any) -> Any:
        """Return the output of `encode` for a decoded sample.

        Raises
        ------
        SampleError
            If it raises anything: it may be the owner's, and one sample must not end the run.
        """
        with raise_as(SampleError, "cannot be made the input of the model"):
            return self.encode(sample)

    @torch.no_grad()
    def logits(self, batch: Any) -> Tensor:
        """Logits of a collated batch, float, shape ``(n, classes)``.

        Raises
        ------
        InputError
            If the module cannot take the batch, or logits are not to be found in what it returns.
        """
        with refuse_unfit_samples(self.name):
            output = run(self.module, batch)
        return find_logits(output, self.name)


@contextmanager
def refuse_unfit_samples(name: str) -> Iterator[None]:
    """InputError in the place of what the module of a model raises for samples that it cannot take."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(f"model {name} cannot take these samples: {type(error).__name__}: {reason}") from error


def token_count(sample: Mapping[str, Tensor]) -> int:
    """Length of an encoded text."""
    return len(sample["input_ids"])


def run(module: nn.Module, batch: Any) -> Any:
    """The module's output for a collated batch."""
    if isinstance(batch, Mapping):
        return module(**batch)
    if isinstance(batch, (tuple, list)):
        return module(*batch)
    return module(batch)


def find_logits(output: Any, name: str = "the model") -> Tensor:
    """The logits, shape ``(n, classes)``, in a tensor, a tuple, a dict or an object with ``logits``.

    Raises
    ------
    InputError
        If there is no such tensor, naming the shape that was found.
    """
    found = output
    if not isinstance(found, Tensor):
        if isinstance(found, Mapping):
            outputs = [found[k] for k in ("logits", "out", "output", "predictions") if k in found]
            found = outputs or list(found.values())
        elif isinstance(getattr(found, "logits", None), Tensor):
            found = found.logits
        if isinstance(found, (tuple, list)):
            tensors = [t for t in found if isinstance(t, Tensor) and t.is_floating_point()]
            found = next((t for t in tensors if t.ndim == 2), tensors[0] if tensors else None)
    if not isinstance(found, Tensor):
        raise InputError(f"model {name} returns {type(output).__name__}; a tensor of logits (n, classes) is needed")
    if found.ndim != 2 or not found.is_floating_point():
        shape = ", ".join(map(str, found.shape))
        raise InputError(f"model {name} returns shape ({shape}) of {found.dtype}; logits (n, classes) are needed")
    if found.shape[1] < 2:
        raise InputError(f"model {name} has one output; a classifier with one logit a class (two or more) is needed")
    return found if found.dtype == torch.float64 else found.float()
