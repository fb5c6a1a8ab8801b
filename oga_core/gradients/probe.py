"""The probe: which samples own which rows, which parameters no rule reaches, and whether it all adds up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients.batch_pass import BatchPass
from oga_core.gradients.capture import Capture, mark_inputs
from oga_core.gradients.context import fill_zero_parameters, restore_buffers
from oga_core.gradients.fallback import one_by_one
from oga_core.gradients.ownership import find_owned, follows, possible
from oga_core.gradients.plan import Plan
from oga_core.gradients.terms import Dense
from oga_core.gradients.totals import Totals, Wanted

PROBED = 5
"""Samples of the probe: few, and a number that few dimensions of a model are a multiple of."""
SHOWN = 8
"""Parameters without a rule whose names are shown to the user."""
AGREES = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Relative difference to autograd that the probe allows; 5e-2 in half precision."""
NOISE = 16
"""Rounding errors of the whole gradient that the probe allows: that of an attention key's bias is nothing else."""
OF_LOSS = 48
"""Bytes that each number of the output takes beside, for the loss and its gradient."""


class Probe:
    """A first look at a model with a few samples.

    Parameters
    ----------
    batch_pass
        How batches go through the model; its ``channels_last`` and ``use_vmap`` are cleared where the model cannot do them.
    l1
        Whether L1 norms are wanted.

    Attributes
    ----------
    notes
        What the user should know of how it is done, one line each.
    bytes_per_sample
        Rough memory that a sample takes in a pass.
    """

    def __init__(self, batch_pass: BatchPass, *, l1: bool) -> None:
        self.batch_pass, self.model, self.parameters = batch_pass, batch_pass.model, batch_pass.parameters
        self.notes: list[str] = []
        self.bytes_per_sample = self._logits = 0
        self._compared = Wanted(l1, True, 0)

    def run(self, inputs: Any, targets: Tensor) -> Plan:
        """Probe the model with a few samples of the first batch.

        Raises
        ------
        InputError
            If there are fewer than two samples, samples interact, or the model is random.
        """
        n = min(PROBED, len(targets))
        if n < 2:
            raise InputError("the first batch must have two samples or more, to see whether samples interact")
        rows = list(range(n))
        some = self.model.take(inputs, rows)
        self._check_independence(some, targets[:n])
        with fill_zero_parameters(self.model.module):
            started = time.perf_counter()
            by_autograd = self._compute_norms_alone(some, targets[:n])
            taken = time.perf_counter() - started
            try:
                plan = self._make_plan(some, targets[:n], by_autograd)
            except RuntimeError:
                if not self.batch_pass.channels_last:
                    raise
                self.batch_pass.channels_last = False  # a model that flattens with ``view`` wants its images as they come
                plan = self._make_plan(some, targets[:n], by_autograd)
            self.notes += [f"{name} has no influence on the loss" for name in self.parameters if name not in by_autograd]
            if plan.fallback:
                left = {name: self.parameters[name] for name in plan.fallback}
                started = time.perf_counter()
                slow = Totals(n, self._compared, targets.device, each=True)
                self.batch_pass.add_fallback(left, some, targets[:n], slow)
                self.batch_pass.use_vmap = self.batch_pass.use_vmap and not self._find_disagreements(by_autograd, slow.reached)
                share = (time.perf_counter() - started) / max(taken, 1e-9)
                self.notes.append(_describe_fallback(plan.fallback, self.parameters, self.batch_pass.use_vmap, share))
        return plan

    def _check_independence(self, inputs: Any, targets: Tensor) -> None:
        """InputError if a sample's loss depends on the others or on chance."""
        n = len(targets)
        others = [0, *[1 if i % 2 else 0 for i in range(1, n)]]
        with torch.no_grad(), restore_buffers(self.model.module):
            losses = [
                self.batch_pass.compute_losses(
                    self.model.output(self.model.collate(self.model.take(inputs, rows))), targets[rows]
                ).double()
                for rows in (list(range(n)), list(range(n)), others)
            ]
        same = 1 if n == 2 else 2
        first, second, changed = (x[:same] for x in losses)
        allowed = 1e-3 * first.abs().clamp_min(1e-3)
        if not torch.equal(first, second) and bool(((first - second).abs() > allowed).any()):
            raise InputError(
                "the model gives another loss for the same samples each time (dropout in training mode?); call model.eval() first"
            )
        if bool(((first - changed).abs() > allowed).any()):
            training = [
                name
                for name, m in self.model.module.named_modules()
                if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
            ]
            why = f": {training[0]} is batch norm in training mode; call model.eval() first" if training else ""
            raise InputError(f"a sample's loss depends on the other samples of the batch, so it has no gradient of its own{why}")

    def _compute_norms_alone(self, inputs: Any, targets: Tensor) -> dict[str, Tensor]:
        """L2 norms by autograd of each sample alone, for the parameters that have influence on the loss."""
        totals = Totals(len(targets), self._compared, targets.device, each=True)
        for samples, grads in one_by_one(self.model, self.parameters, inputs, targets):
            for name, values in grads.items():
                totals.add(name, Dense(values), samples)
        return totals.reached

    def _make_plan(self, inputs: Any, targets: Tensor, by_autograd: dict[str, Tensor]) -> Plan:
        """Return the trace; parameters whose norms are not those of the samples alone go to the fallback."""
        fallback: dict[str, str] = {}
        while True:
            plan = self._trace(inputs, targets, fallback)
            quick = Totals(len(targets), self._compared, targets.device, each=True)
            fallback = dict(self.batch_pass.run_capture(inputs, targets, plan, quick)[2].fallback)
            wrong = self._find_disagreements(by_autograd, quick.reached)
            for name in by_autograd:
                if name not in quick.reached:
                    fallback.setdefault(name, "no operation on it was seen")
                elif name in wrong:
                    fallback.setdefault(name, "its rule disagreed with autograd in the probe")
            if len(fallback) == len(plan.fallback):
                return plan

    def _find_disagreements(self, by_autograd: dict[str, Tensor], found: dict[str, Tensor]) -> set[str]:
        """The parameters whose norms are not those by autograd of each sample alone, among those that have influence."""
        if not by_autograd:
            return set()
        # The coarsest: adapters in single precision get what a model in half precision computes.
        dtype = max((p.dtype for p in self.model.module.parameters() if p.is_floating_point()), key=lambda d: torch.finfo(d).eps)
        allowed, noise = AGREES.get(dtype, 5e-2), min(NOISE * torch.finfo(dtype).eps, 1e-2)
        most = noise * torch.stack([*by_autograd.values()]).norm(dim=0)
        both = [(name, norms, found[name]) for name, norms in by_autograd.items() if name in found]
        return {name for name, norms, other in both if not ((norms - other).abs() <= allowed * norms + most).all()}

    def _trace(self, inputs: Any, targets: Tensor, fallback: dict[str, str]) -> Plan:
        """Return the operations on the parameters that have rules, and where samples lie in what they give."""
        n = len(targets)
        plan = Plan(fallback=fallback)
        swapped = self.model.take(inputs, [1, 0, *range(2, n)])
        while True:
            outputs, grads, capture = self._run(inputs, targets, plan)
            with _count_saved(self.model.module) as saved:
                after, _, _ = self._run(swapped, targets, plan, backward=False)
            plan.n, plan.trace, plan.shapes = n, capture.trace, {index: out.shape for index, out in outputs.items()}
            shared = None
            for index in sorted(outputs):
                layouts = find_owned(grads[index], n, possible(outputs[index].shape, n)) if index in grads else []
                if index in capture.of_samples:
                    layouts = follows(outputs[index], after[index], n, layouts or possible(outputs[index].shape, n))
                elif not any(g.any() for g in grads.get(index, [])):
                    layouts = []
                if layouts:
                    plan.layouts[index] = layouts[0]
                elif index not in capture.of_samples:
                    shared = index
                    break
            if shared is not None:
                # The same for all samples: computed from parameters. What follows may now be another trace.
                plan.layouts = {i: layout for i, layout in plan.layouts.items() if i < shared} | {shared: None}
            elif len(capture.fallback) > len(plan.fallback):
                plan = Plan(fallback=capture.fallback)  # without them it is another trace
            else:
                break
        seen = sum(saved.values()) + sum(o.numel() * o.element_size() for o in outputs.values())
        self.bytes_per_sample = (2 * seen + OF_LOSS * self._logits) // n
        return plan

    def _run(
        self, inputs: Any, targets: Tensor, plan: Plan, backward: bool = True
    ) -> tuple[dict[int, Tensor], dict[int, list[Tensor]], Capture]:
        """Every operation's output, and its gradient for the loss of each sample alone."""
        n = len(targets)
        capture = Capture(self.parameters, n, plan, lambda name, term: None, probing=True)
        grads: dict[int, list[Tensor]] = {}
        with torch.enable_grad():
            with capture:
                output = self.model.output(mark_inputs(self.batch_pass.lay_out(self.model.collate(inputs))))
            self._logits = output.numel()
            if backward and output.requires_grad:
                _, grad = self.batch_pass.differentiate_loss(output, targets)
                for i in range(n):
                    single = torch.zeros_like(grad)
                    single[i] = grad[i]
                    capture.grads = {}
                    torch.autograd.backward(output, single.to(output.dtype), retain_graph=True)
                    for index, found in capture.grads.items():
                        grads.setdefault(index, []).append(found)
        capture.forget()
        return capture.outputs, grads, capture


@contextmanager
def _count_saved(module: nn.Module) -> Iterator[dict[int, int]]:
    """While open, the bytes that a forward pass keeps for its backward pass, by where they lie; the parameters' do not count."""
    own = {t.untyped_storage().data_ptr() for t in chain(module.parameters(), module.buffers())}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            found[memory.data_ptr()] = memory.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _describe_fallback(fallback: dict[str, str], parameters: dict[str, nn.Parameter], use_vmap: bool, share: float) -> str:
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    values = sum(sizes[name] for name in fallback)
    names, more = list(fallback)[:SHOWN], len(fallback) - SHOWN
    way = "torch.func.vmap" if use_vmap else "one sample at a time"
    return (
        f"{len(fallback)} of {len(parameters)} parameters ({values:,} of {sum(sizes.values()):,} values) are taken by "
        f"{way}, which costs about {share:.1f} times a pass of every sample alone: {', '.join(names)}"
        f"{f' and {more} more' if more > 0 else ''} ({fallback[names[0]]})"
    )
