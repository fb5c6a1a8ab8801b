"""One batch through a model: by rules, and by the fallback for the parameters that no rule reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients.capture import Capture, mark_inputs
from oga_core.gradients.fallback import Gradients, Model, by_vmap, one_by_one, precise
from oga_core.gradients.plan import ChangedTrace, Plan
from oga_core.gradients.results import GradientBatch
from oga_core.gradients.tensor_tree import map_tensors
from oga_core.gradients.terms import Dense
from oga_core.gradients.totals import Totals, Wanted, near_one


@dataclass
class Partial:
    """The results of the rules for a batch, and the parameters that remain for the fallback."""

    totals: Totals
    losses: Tensor
    output: Tensor
    features: Tensor | None
    left: dict[str, nn.Parameter]


class BatchPass:
    """How batches go through a model.

    Parameters
    ----------
    model
        The model with its loss.
    parameters
        Those in the scope by name.
    head
        Weight of the layer that gives the logits, for features.

    Attributes
    ----------
    channels_last
        Whether images are laid out so.
    use_vmap
        Whether the fallback still tries ``torch.func.vmap``.
    """

    def __init__(self, model: Model, parameters: dict[str, nn.Parameter], head: nn.Parameter | None) -> None:
        self.model, self.parameters, self.head = model, parameters, head
        self.channels_last = any(isinstance(m, nn.Conv2d) for m in model.module.modules())
        self.use_vmap = True

    def lay_out(self, inputs: Any) -> Any:
        """Return the inputs with images channels last, in which convolutions are faster."""
        if not self.channels_last:
            return inputs

        def change(t: Tensor) -> Tensor:
            return t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 and t.device.type == "cpu" else t

        return map_tensors(inputs, change)

    def run_rules(self, inputs: Any, targets: Tensor, plan: Plan, wanted: Wanted) -> Partial:
        """Return what rules give for a batch."""
        n = len(targets)
        totals = Totals(n, wanted, targets.device)
        try:
            output, losses, capture = self.run_capture(inputs, targets, plan, totals)
            left = {name: self.parameters[name] for name in capture.fallback}
        except ChangedTrace:
            capture = Capture({}, n, plan, totals.add, head=self.head)
            with torch.no_grad(), capture:
                output = self.model.output(self.model.collate(inputs))
                losses = self.compute_losses(output, targets).double()
            totals, left = Totals(n, wanted, targets.device), self.parameters
        return Partial(totals, losses, output.detach(), capture.features, left)

    def complete(self, inputs: Any, targets: Tensor, partial: Partial) -> GradientBatch:
        """Return the whole result, with the parameters that no rule reached."""
        if partial.left:
            self.add_fallback(partial.left, inputs, targets, partial.totals)
        totals = partial.totals
        return GradientBatch(totals.l1, totals.l2, totals.sketch, partial.losses.cpu().numpy(), partial.output, partial.features)

    def run_capture(self, inputs: Any, targets: Tensor, plan: Plan, totals: Totals) -> tuple[Tensor, Tensor, Capture]:
        """Run forward and backward pass, and add each parameter's gradient to the totals: output, losses, capture."""
        capture = Capture(self.parameters, len(targets), plan, totals.add, head=self.head)
        try:
            with torch.enable_grad():
                with capture:
                    output = self.model.output(mark_inputs(self.lay_out(self.model.collate(inputs))))
                losses, grad = self.differentiate_loss(output, targets)
                totals.scale = scale = near_one(grad, len(targets))
                if output.requires_grad:
                    by = scale.view(-1, *[1] * (grad.dim() - 1)).to(grad.dtype)
                    torch.autograd.backward(output, (grad * by).to(output.dtype))
                capture.finish()
        finally:
            capture.forget()
        totals.unscale()
        return output, losses, capture

    def differentiate_loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses, and their gradient with respect to the output, in double precision where that is affordable."""
        z = precise(output.detach()).requires_grad_()
        losses = self.compute_losses(z, targets)
        return losses.detach().double(), torch.autograd.grad(losses.sum(), z)[0]

    def compute_losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each sample, shape ``(n,)``; InputError where the loss gives another shape."""
        losses = self.model.loss(precise(output), targets)
        if losses.shape != (len(targets),):
            shape = ", ".join(map(str, losses.shape))
            raise InputError(f"the loss gives shape ({shape}) for {len(targets)} samples; one number a sample is needed")
        return losses

    def add_fallback(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor, totals: Totals) -> None:
        """Add the gradients of parameters to the totals, by vmap or one sample at a time."""
        with torch.no_grad():
            for samples, grads in self._iterate_fallback(parameters, inputs, targets):
                for name, values in grads.items():
                    totals.add(name, Dense(values.detach()), samples)

    def _iterate_fallback(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor) -> Gradients:
        done = 0
        if self.use_vmap:
            try:
                for samples, grads in by_vmap(self.model, parameters, inputs, targets):
                    yield samples, grads
                    done = samples.stop
                return
            except Exception:  # torch.func may raise anything for a model that it does not support
                self.use_vmap = False
        yield from one_by_one(self.model, parameters, inputs, targets, done)
