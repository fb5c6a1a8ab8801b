"""Norms and sketches of a batch as they come in, parameter by parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from oga_core.gradients import sketch
from oga_core.gradients.terms import Term


@dataclass
class Wanted:
    """The results wanted of every gradient.

    Attributes
    ----------
    l1, l2
        Whether norms are.
    width
        Of the sketch; 0 for none.
    seed, kind
        Of the sketch.
    """

    l1: bool
    l2: bool
    width: int
    seed: int = 0
    kind: str = "kronecker"
    _projections: dict[tuple[str, torch.Size], sketch.Projection] = field(default_factory=dict, repr=False)

    def projection(self, name: str, like: Tensor) -> sketch.Projection:
        """The projection of a parameter whose gradient has the shape, dtype and device of ``like``."""
        key = name, like.shape
        if key not in self._projections:
            self._projections[key] = sketch.projection(name, like.shape, like, width=self.width, seed=self.seed, kind=self.kind)
        return self._projections[key]


class Totals:
    """Sums over the parameters, a number or a sketch for each of n samples.

    Attributes
    ----------
    scale
        What each sample's gradient was multiplied by before it came, float64, shape ``(n,)``.
    reached
        L2 norms by parameter, where they are wanted.
    """

    def __init__(self, n: int, wanted: Wanted, device: torch.device, *, each: bool = False) -> None:
        self.wanted, self._each = wanted, each
        self.scale = torch.ones(n, dtype=torch.float64, device=device)
        self.reached: dict[str, Tensor] = {}
        self._l1, self._squares = torch.zeros_like(self.scale), torch.zeros_like(self.scale)
        self._sketch: Tensor | None = None

    def add(self, name: str, term: Term, samples: slice | None = None) -> None:
        """The whole gradient of a parameter, for all or some of the samples."""
        rows = slice(0, len(self.scale)) if samples is None else samples
        l1, squares, found = None, None, None
        norms = self.wanted.l1 or self.wanted.l2
        if norms and self.wanted.width:
            l1, squares, found = term.norms_and_sketch(self.wanted.l1, self.wanted.projection(name, term.like))
        elif norms:
            l1, squares = term.norms(self.wanted.l1)
        elif self.wanted.width:
            found = term.sketch(self.wanted.projection(name, term.like))
        if squares is not None:
            self._squares[rows] += squares
        if squares is not None and self._each:
            self.reached.setdefault(name, torch.zeros_like(self._squares))[rows] = squares.sqrt() / self.scale[rows]
        if l1 is not None:
            self._l1[rows] += l1
        if found is not None:
            if self._sketch is None:
                dtype = torch.promote_types(found.dtype, torch.float32)
                self._sketch = found.new_zeros(len(self.scale), self.wanted.width, dtype=dtype)
            self._sketch[rows] += found

    def unscale(self) -> None:
        """Take the samples' scales out again, before what comes unscaled is added."""
        self._l1 /= self.scale
        self._squares /= self.scale**2
        if self._sketch is not None:
            self._sketch /= self.scale[:, None].to(self._sketch.dtype)
        self.scale = torch.ones_like(self.scale)

    @property
    def l1(self) -> np.ndarray | None:
        """float64, shape ``(n,)``, if asked for."""
        return self._l1.cpu().numpy() if self.wanted.l1 else None

    @property
    def l2(self) -> np.ndarray | None:
        """float64, shape ``(n,)``, if asked for."""
        return self._squares.sqrt().cpu().numpy() if self.wanted.l2 else None

    @property
    def sketch(self) -> np.ndarray | None:
        """Shape ``(n, width)``, if asked for."""
        if not self.wanted.width:
            return None
        if self._sketch is None:
            return np.zeros((len(self.scale), self.wanted.width), np.float32)
        return self._sketch.cpu().numpy()


def near_one(grad: Tensor, n: int) -> Tensor:
    """A power of two for each sample that brings its gradient near one, float64 ``(n,)``: small ones keep their digits."""
    low, high = grad.reshape(n, -1).aminmax(dim=1)
    largest = torch.maximum(-low, high).double()
    usable = (largest > 0) & torch.isfinite(largest)
    return torch.exp2(-torch.round(torch.log2(torch.where(usable, largest, 1.0))).clamp(-500, 500))
