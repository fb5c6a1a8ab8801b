"""Per-sample gradients of the head (scope ``head``), in closed form from one forward pass.

For logits z = W h + b, p = softmax(z) and cross-entropy on the given label y, the gradient of sample i with respect to
the head's weight is the outer product g = (p - e_y) h^T (Chhabra et al., arXiv 2405.03869, section 3; the weight of the
last layer, as in the paper's experiments: the bias is not part of the scope). It is never materialised: its two factors,
the residual r = p - e_y and the feature h, give every norm, inner product and coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.errors import InputError


@dataclass(frozen=True)
class HeadGradients:
    """The gradients of a batch of n samples, as factors, with what falls out on the way.

    Attributes
    ----------
    residuals
        r = p - e_y, float64, shape ``(n, classes)``.
    features
        h, float64, shape ``(n, d)``.
    losses
        Cross-entropy on the given label in nats, float64, shape ``(n,)``.
    """

    residuals: np.ndarray
    features: np.ndarray
    losses: np.ndarray

    @property
    def l1(self) -> np.ndarray:
        """Norm ‖g‖₁ = 2 (1 - p_y) ‖h‖₁, float64, shape ``(n,)``."""
        return np.abs(self.residuals).sum(1) * np.abs(self.features).sum(1)

    @property
    def l2(self) -> np.ndarray:
        """Norm ‖g‖₂ = ‖p - e_y‖₂ ‖h‖₂, float64, shape ``(n,)``."""
        return np.linalg.norm(self.residuals, axis=1) * np.linalg.norm(self.features, axis=1)


def head_gradients(logits: Tensor, features: Tensor, labels: Tensor) -> HeadGradients:
    """Gradients of the head's weight for a batch.

    Parameters
    ----------
    logits
        Output of the head, shape ``(n, classes)``.
    features
        Input of the head, shape ``(n, d)``.
    labels
        Given labels as positions in the logits, int64, shape ``(n,)``.
    """
    z = logits.double()
    given = torch.arange(len(labels), device=labels.device), labels
    others = z.clone()
    others[given] = -torch.inf
    # -log p_y and p_y - 1 would lose all digits where p_y rounds to one, and well fitted samples would tie.
    losses = torch.logaddexp(z.new_zeros(()), others.logsumexp(1) - z[given])
    residuals = torch.softmax(z, 1)
    residuals[given] = torch.expm1(-losses)
    return HeadGradients(*(t.cpu().numpy() for t in (residuals, features.double(), losses)))


def find_head(
    module: nn.Module, logits_of: Callable[[Any], Tensor], inputs: Any, name: str | None = None
) -> tuple[str, nn.Linear]:
    """The Linear layer whose output is the model's logits.

    Parameters
    ----------
    module
        The model in eval mode.
    logits_of
        Callable that runs the model on ``inputs`` and returns its logits, shape ``(n, classes)``.
    inputs
        A few decoded samples.
    name
        Name of the layer (as in ``named_modules``), where it is not to be searched for.

    Raises
    ------
    InputError
        If the named layer is missing or not a Linear, if no Linear's output is the logits, or if its weight is used
        elsewhere too: then the closed form would not be the gradient of the loss.
    """
    linears = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear) and type(m).forward is nn.Linear.forward}
    if name is not None and name not in linears:
        shown = ", ".join(list(linears)[-5:]) or "none"
        raise InputError(f"the model has no Linear layer named {name!r}; its last Linear layers: {shown}")
    outputs: dict[str, list[Tensor]] = {}
    handles = [
        # A copy: what follows may change the output in place.
        linear.register_forward_hook(lambda _m, _i, out, n=n: outputs.setdefault(n, []).append(out.detach().clone()))
        for n, linear in linears.items()
    ]
    try:
        logits = logits_of(inputs)
    finally:
        for handle in handles:
            handle.remove()
    found = [n for n, out in outputs.items() if len(out) == 1 and _same(out[0], logits)]
    if name is not None and name not in found:
        raise InputError(f"the output of layer {name!r} is not the model's logits, so it is not the head")
    if not found:
        last = next(reversed(outputs), None)
        what = f"its last Linear layer is {last!r}" if last else "it runs no Linear layer"
        raise InputError(
            f"scope 'head' needs a model whose logits are the output of one Linear layer, used once; {what}, "
            "and its output is not the logits"
        )
    chosen = name or found[-1]
    head = linears[chosen]
    owners = [n for n, m in module.named_modules() if any(p is head.weight for p in m.parameters(recurse=False))]
    if len(owners) > 1:
        raise InputError(
            f"the weight of the head {chosen!r} is shared by {len(owners)} layers ({', '.join(owners)}): "
            "its gradient is not that of the head alone"
        )
    return chosen, head


def _same(output: Tensor, logits: Tensor) -> bool:
    return output.shape == logits.shape and torch.allclose(output.to(logits.dtype), logits, rtol=0, atol=0, equal_nan=True)


@contextmanager
def capture_features(head: nn.Linear) -> Iterator[list[Tensor]]:
    """While open, every forward pass appends the head's input, shape ``(n, d)``, to the list."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(
        lambda _m, args, keywords: seen.append((*args, *keywords.values())[0].detach()), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()
