"""The results of the probe of a model: the trace of its operations, and where samples lie in their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from oga_core.gradients.ownership import Layout


class ChangedTrace(Exception):
    """The model did other operations than in the probe: its trace depends on the data."""


@dataclass
class Plan:
    """The results of the probe of one forward pass.

    Attributes
    ----------
    trace
        The operations on parameters, in the order of their calls: name, and parameters.
    shapes
        By call: the output's shape, for the probe's ``n`` samples.
    layouts
        By call: where the samples lie in the output; None for an output that is the same for all samples.
    fallback
        Parameters that no rule reaches, and why.
    """

    n: int = 0
    trace: list[tuple[str, ...]] = field(default_factory=list)
    shapes: dict[int, torch.Size] = field(default_factory=dict)
    layouts: dict[int, Layout | None] = field(default_factory=dict)
    fallback: dict[str, str] = field(default_factory=dict)

    def fits(self, index: int, shape: torch.Size, n: int) -> bool:
        """Whether the samples may lie in an output as they lay in that of the probe."""
        layout = self.layouts.get(index)
        if layout is None:
            return True
        probed = self.shapes[index]
        # Where a sample had one row in the probe, it is not known how several would lie.
        return len(shape) == len(probed) and (shape[layout.dim] == n or probed[layout.dim] > self.n)
