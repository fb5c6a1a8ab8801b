"""Exact norms and sketches of every sample's gradient, over any parameters, in one forward and one backward pass.

The backward pass stops at the activations. What each operation adds to the gradient of its parameters is kept as factors
(`terms`), and norms and sketches are taken from these, layer by layer, without the gradient where that is cheaper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import sketch as sketches
from oga_core.gradients.arguments import as_it_is, items_of, rows_of, tensor_in
from oga_core.gradients.capture import Capture, ChangedRoad, Plan, marked
from oga_core.gradients.fallback import Gradients, Model, by_vmap, mapped, one_by_one, precise
from oga_core.gradients.losses import LOSSES, Loss
from oga_core.gradients.ownership import follows, owned, possible
from oga_core.gradients.results import GradientBatch, joined
from oga_core.gradients.scope import ALL, parameters_in
from oga_core.gradients.terms import Dense
from oga_core.gradients.totals import Totals, Wanted, near_one
from oga_core.gradients.untouched import informative, keeping_activations, kept, requiring
from oga_core.models.classifier import run

PROBED = 5
"""Samples of the probe: few, and a number that few dimensions of a model are a multiple of."""
NAMED = 8
"""Parameters without a rule that the user is told the names of."""
LEAST = 4
"""Fewest samples that are worth a thread of their own."""
AGREES = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Relative difference to autograd that the probe allows; 5e-2 in half precision."""
NOISE = 16
"""Rounding errors of the whole gradient that the probe allows: that of an attention key's bias is nothing else."""
OF_LOSS = 48
"""Bytes that each number of the output takes beside, for the loss and its gradient."""


class PerSampleGradients:
    """Per-sample gradients of a model.

    Parameters
    ----------
    module
        The model, in eval mode. Its parameters and their flags are as before after each call.
    scope
        ``all``, ``lora``, ``head`` (needs ``head``), or patterns over parameter names; see `parameters_in`.
    loss
        A name of `LOSSES`, or a function ``loss(output, targets)`` that gives one number a sample, shape ``(n,)``.
    l1, l2
        Whether norms are wanted. L1 norms have no short form: every gradient is materialised, a piece at a time.
    width
        Width of the sketch; 0 for none.
    seed
        Of the sketch.
    kind
        ``kronecker``, or ``sign_fold``, the slow reference.
    head
        Name of the layer that gives the logits, for the scope ``head`` and for features.
    take
        Some samples of a batch's inputs, ``take(inputs, rows)``; by default rows of every tensor that has one for each sample.
    collate
        Where a batch is given as a list of samples: what makes the module's input of them. It takes the place of ``take``.
    output
        The tensor that the loss is taken of, in what the module returns; by default the tensor itself, or its ``logits``.

    Attributes
    ----------
    parameters
        Number of values by parameter name, for those in the scope.
    bytes_per_sample
        Rough memory that a sample takes in a pass; known after the first call.
    notes
        What the user should know of how it is done, one line each; complete after the first call.

    Raises
    ------
    InputError
        For a scope without parameters or an unknown loss. When called: if samples interact, or the model is random.
    """

    def __init__(
        self,
        module: nn.Module,
        scope: str = ALL,
        *,
        loss: str | Loss = "cross_entropy",
        l1: bool = True,
        l2: bool = True,
        width: int = sketches.WIDTH,
        seed: int = 0,
        kind: str = "kronecker",
        head: str | None = None,
        take: Callable[[Any, list[int]], Any] | None = None,
        collate: Callable[[Any], Any] | None = None,
        output: Callable[[Any], Tensor] | None = None,
    ) -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise InputError(f"unknown loss {loss!r}; there are: {', '.join(LOSSES)}")
        if kind not in sketches.KINDS:
            raise InputError(f"unknown kind of sketch {kind!r}; there are: {', '.join(sketches.KINDS)}")
        if width < 0:
            raise InputError(f"a sketch cannot have the width {width}")
        self.module = module
        self._in_scope = parameters_in(module, scope, head)
        self.parameters = {name: p.numel() for name, p in self._in_scope.items()}
        self.notes: list[str] = []
        self._loss = LOSSES[loss] if isinstance(loss, str) else loss
        self._wanted = Wanted(l1, l2, width, seed, kind)
        self._compared = Wanted(l1, True, 0)
        self._head = module.get_parameter(f"{head}.weight") if head else None
        self._find = output or tensor_in
        self._model = Model(module, self._output, self._loss, take or (items_of if collate else rows_of), collate or as_it_is)
        self._plan: Plan | None = None
        self._by_vmap = True
        self._channels_last = any(isinstance(m, nn.Conv2d) for m in module.modules())
        self.bytes_per_sample = self._logits = 0

    def __call__(self, inputs: Any, targets: Tensor) -> GradientBatch:
        """Norms and sketches of a batch.

        Parameters
        ----------
        inputs
            The module's input; a tuple is passed as arguments, a dict as keywords.
        targets
            What the loss takes, a row for each of the n samples. The first batch needs two samples or more.
        """
        if self._plan is None:
            self.prepare(inputs, targets)
        with requiring(self.module.parameters(), False), keeping_activations(self.module):
            assert self._plan is not None
            plan, n = self._plan, len(targets)
            threads = torch.get_num_threads() if targets.device.type == "cpu" else 1
            parts = min(threads, n // LEAST)
            if parts < 2:
                return self._completed(inputs, targets, self._quickly(inputs, targets, plan))
            ends = [n * k // parts for k in range(parts + 1)]
            shares = [list(range(a, b)) for a, b in pairwise(ends)]
            batches = [(self._model.take(inputs, rows), targets[rows]) for rows in shares]
            # Each thread does some samples alone: twice as fast as two threads that share every operation.
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    work = [pool.submit(self._quickly, *batch, plan) for batch in batches]
                    quick = [future.result() for future in work]
            finally:
                torch.set_num_threads(threads)
            # The slow ways change the module's parameters for a while: one after the other.
            return joined([self._completed(*batch, found) for batch, found in zip(batches, quick)])

    @property
    def ready(self) -> bool:
        """Whether the probe has been done, with the first batch."""
        return self._plan is not None

    def _output(self, inputs: Any) -> Tensor:
        return self._find(run(self.module, inputs))

    def _laid_out(self, inputs: Any) -> Any:
        """Images channels last, in which convolutions are faster."""
        if not self._channels_last:
            return inputs

        def change(t: Tensor) -> Tensor:
            return t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 and t.device.type == "cpu" else t

        return mapped(inputs, change)

    def _quickly(self, inputs: Any, targets: Tensor, plan: Plan) -> _Quick:
        """What rules give."""
        n = len(targets)
        totals = Totals(n, self._wanted, targets.device)
        try:
            output, losses, capture = self._captured(inputs, targets, plan, totals)
            left = {name: self._in_scope[name] for name in capture.left_over}
        except ChangedRoad:
            capture = Capture({}, n, plan, totals.add, head=self._head)
            with torch.no_grad(), capture:
                output = self._output(self._model.collate(inputs))
                losses = self._losses(output, targets).double()
            totals, left = Totals(n, self._wanted, targets.device), self._in_scope
        return _Quick(totals, losses, output.detach(), capture.features, left)

    def _completed(self, inputs: Any, targets: Tensor, quick: _Quick) -> GradientBatch:
        """With the parameters that no rule reached."""
        if quick.left:
            self._slowly(quick.left, inputs, targets, quick.totals)
        totals = quick.totals
        return GradientBatch(totals.l1, totals.l2, totals.sketch, quick.losses.cpu().numpy(), quick.output, quick.features)

    def _captured(self, inputs: Any, targets: Tensor, plan: Plan, totals: Totals) -> tuple[Tensor, Tensor, Capture]:
        capture = Capture(self._in_scope, len(targets), plan, totals.add, head=self._head)
        try:
            with torch.enable_grad():
                with capture:
                    output = self._output(marked(self._laid_out(self._model.collate(inputs))))
                losses, grad = self._start(output, targets)
                totals.scale = scale = near_one(grad, len(targets))
                if output.requires_grad:
                    by = scale.view(-1, *[1] * (grad.dim() - 1)).to(grad.dtype)
                    torch.autograd.backward(output, (grad * by).to(output.dtype))
                capture.finish()
        finally:
            capture.forget()
        totals.unscale()
        return output, losses, capture

    def _start(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses, and their gradient with respect to the output, in double precision where that is affordable."""
        z = precise(output.detach()).requires_grad_()
        losses = self._losses(z, targets)
        return losses.detach().double(), torch.autograd.grad(losses.sum(), z)[0]

    def _losses(self, output: Tensor, targets: Tensor) -> Tensor:
        losses = self._loss(precise(output), targets)
        if losses.shape != (len(targets),):
            shape = ", ".join(map(str, losses.shape))
            raise InputError(f"the loss gives shape ({shape}) for {len(targets)} samples; one number a sample is needed")
        return losses

    def _slowly(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor, totals: Totals) -> None:
        with torch.no_grad():
            for samples, grads in self._left_over(parameters, inputs, targets):
                for name, values in grads.items():
                    totals.add(name, Dense(values.detach()), samples)

    def _left_over(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor) -> Gradients:
        done = 0
        if self._by_vmap:
            try:
                for samples, grads in by_vmap(self._model, parameters, inputs, targets):
                    yield samples, grads
                    done = samples.stop
                return
            except Exception:  # torch.func raises whatever it likes where it cannot do a model
                self._by_vmap = False
        yield from one_by_one(self._model, parameters, inputs, targets, done)

    # The probe: which samples own which rows, which parameters no rule reaches, and whether it all adds up.

    def prepare(self, inputs: Any, targets: Tensor) -> None:
        """Probe the model with a few samples; done with the first batch, unless it is done before.

        Raises
        ------
        InputError
            If there are fewer than two samples, samples interact, or the model is random.
        """
        with requiring(self.module.parameters(), False), keeping_activations(self.module):
            self._prepare(inputs, targets)

    def _prepare(self, inputs: Any, targets: Tensor) -> None:
        n = min(PROBED, len(targets))
        if n < 2:
            raise InputError("the first batch must have two samples or more, to see whether samples interact")
        rows = list(range(n))
        some = self._model.take(inputs, rows)
        self._alone(some, targets[:n])
        with informative(self.module):
            started = time.perf_counter()
            alone = self._norms_alone(some, targets[:n])
            taken = time.perf_counter() - started
            try:
                plan = self._probe(some, targets[:n], alone)
            except RuntimeError:
                if not self._channels_last:
                    raise
                self._channels_last = False  # a model that flattens with ``view`` wants its images as they come
                plan = self._probe(some, targets[:n], alone)
            self.notes += [f"{name} has no influence on the loss" for name in self._in_scope if name not in alone]
            if plan.left_over:
                left = {name: self._in_scope[name] for name in plan.left_over}
                started = time.perf_counter()
                slow = Totals(n, self._compared, targets.device, each=True)
                self._slowly(left, some, targets[:n], slow)
                self._by_vmap = self._by_vmap and not self._disagreeing(alone, slow.reached)
                share = (time.perf_counter() - started) / max(taken, 1e-9)
                self.notes.append(_told(plan.left_over, self.parameters, self._by_vmap, share))
        self._plan = plan

    def _alone(self, inputs: Any, targets: Tensor) -> None:
        """InputError if a sample's loss depends on the others or on chance."""
        n = len(targets)
        others = [0, *[1 if i % 2 else 0 for i in range(1, n)]]
        with torch.no_grad(), kept(self.module):
            losses = [
                self._losses(self._output(self._model.collate(self._model.take(inputs, rows))), targets[rows]).double()
                for rows in (list(range(n)), list(range(n)), others)
            ]
        same = 1 if n == 2 else 2
        first, again, changed = (x[:same] for x in losses)
        allowed = 1e-3 * first.abs().clamp_min(1e-3)
        if not torch.equal(first, again) and bool(((first - again).abs() > allowed).any()):
            raise InputError(
                "the model gives another loss for the same samples each time (dropout in training mode?); call model.eval() first"
            )
        if bool(((first - changed).abs() > allowed).any()):
            training = [
                name for name, m in self.module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
            ]
            why = f": {training[0]} is batch norm in training mode; call model.eval() first" if training else ""
            raise InputError(f"a sample's loss depends on the other samples of the batch, so it has no gradient of its own{why}")

    def _norms_alone(self, inputs: Any, targets: Tensor) -> dict[str, Tensor]:
        """L2 norms by autograd of each sample alone, for the parameters that have influence on the loss."""
        totals = Totals(len(targets), self._compared, targets.device, each=True)
        for samples, grads in one_by_one(self._model, self._in_scope, inputs, targets):
            for name, values in grads.items():
                totals.add(name, Dense(values), samples)
        return totals.reached

    def _probe(self, inputs: Any, targets: Tensor, alone: dict[str, Tensor]) -> Plan:
        """The road through the model; parameters whose norms are not those of the samples alone are left over."""
        left_over: dict[str, str] = {}
        while True:
            plan = self._road(inputs, targets, left_over)
            quick = Totals(len(targets), self._compared, targets.device, each=True)
            left_over = dict(self._captured(inputs, targets, plan, quick)[2].left_over)
            wrong = self._disagreeing(alone, quick.reached)
            for name in alone:
                if name not in quick.reached:
                    left_over.setdefault(name, "no operation on it was seen")
                elif name in wrong:
                    left_over.setdefault(name, "its rule disagreed with autograd in the probe")
            if len(left_over) == len(plan.left_over):
                return plan

    def _disagreeing(self, alone: dict[str, Tensor], found: dict[str, Tensor]) -> set[str]:
        """The parameters whose norms are not those by autograd of each sample alone, among those that have influence."""
        if not alone:
            return set()
        # The coarsest: adapters in single precision get what a model in half precision computes.
        dtype = max((p.dtype for p in self.module.parameters() if p.is_floating_point()), key=lambda d: torch.finfo(d).eps)
        allowed, noise = AGREES.get(dtype, 5e-2), min(NOISE * torch.finfo(dtype).eps, 1e-2)
        most = noise * torch.stack([*alone.values()]).norm(dim=0)
        both = [(name, norms, found[name]) for name, norms in alone.items() if name in found]
        return {name for name, norms, other in both if not ((norms - other).abs() <= allowed * norms + most).all()}

    def _road(self, inputs: Any, targets: Tensor, left_over: dict[str, str]) -> Plan:
        """The operations on the parameters that are not left over, and where samples lie in what they give."""
        n = len(targets)
        plan = Plan(left_over=left_over)
        swapped = self._model.take(inputs, [1, 0, *range(2, n)])
        while True:
            outputs, grads, capture = self._probed(inputs, targets, plan)
            with _saved(self.module) as kept_back:
                after, _, _ = self._probed(swapped, targets, plan, backward=False)
            plan.n, plan.road, plan.shapes = n, capture.road, {index: out.shape for index, out in outputs.items()}
            shared = None
            for index in sorted(outputs):
                layouts = owned(grads[index], n, possible(outputs[index].shape, n)) if index in grads else []
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
                # The same for all samples: computed from parameters. What follows may now be another road.
                plan.layouts = {i: layout for i, layout in plan.layouts.items() if i < shared} | {shared: None}
            elif len(capture.left_over) > len(plan.left_over):
                plan = Plan(left_over=capture.left_over)  # without them it is another road
            else:
                break
        seen = sum(kept_back.values()) + sum(o.numel() * o.element_size() for o in outputs.values())
        self.bytes_per_sample = (2 * seen + OF_LOSS * self._logits) // n
        return plan

    def _probed(
        self, inputs: Any, targets: Tensor, plan: Plan, backward: bool = True
    ) -> tuple[dict[int, Tensor], dict[int, list[Tensor]], Capture]:
        """Every operation's output, and its gradient for the loss of each sample alone."""
        n = len(targets)
        capture = Capture(self._in_scope, n, plan, lambda name, term: None, probing=True)
        grads: dict[int, list[Tensor]] = {}
        with torch.enable_grad():
            with capture:
                output = self._output(marked(self._laid_out(self._model.collate(inputs))))
            self._logits = output.numel()
            if backward and output.requires_grad:
                _, grad = self._start(output, targets)
                for i in range(n):
                    alone = torch.zeros_like(grad)
                    alone[i] = grad[i]
                    capture.grads = {}
                    torch.autograd.backward(output, alone.to(output.dtype), retain_graph=True)
                    for index, found in capture.grads.items():
                        grads.setdefault(index, []).append(found)
        capture.forget()
        return capture.outputs, grads, capture


@contextmanager
def _saved(module: nn.Module) -> Iterator[dict[int, int]]:
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


def _told(left_over: dict[str, str], parameters: dict[str, int], vmapped: bool, share: float) -> str:
    values = sum(parameters[name] for name in left_over)
    names, more = list(left_over)[:NAMED], len(left_over) - NAMED
    way = "torch.func.vmap" if vmapped else "one sample at a time"
    return (
        f"{len(left_over)} of {len(parameters)} parameters ({values:,} of {sum(parameters.values()):,} values) are taken by "
        f"{way}, which costs about {share:.1f} times a pass of every sample alone: {', '.join(names)}"
        f"{f' and {more} more' if more > 0 else ''} ({left_over[names[0]]})"
    )


@dataclass
class _Quick:
    """A batch so far, and the parameters that are left over."""

    totals: Totals
    losses: Tensor
    output: Tensor
    features: Tensor | None
    left: dict[str, nn.Parameter]
