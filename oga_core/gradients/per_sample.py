"""Exact norms and sketches of every sample's gradient, over any parameters, in one forward and one backward pass.

The backward pass stops at the activations. What each operation adds to the gradient of its parameters is kept as factors
(`terms`), and norms and sketches are taken from these, layer by layer, without the gradient where that is cheaper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import sketch as sketches
from oga_core.gradients.capture import Capture, ChangedRoad, Plan, marked
from oga_core.gradients.fallback import Gradients, Model, by_vmap, mapped, one_by_one, precise
from oga_core.gradients.losses import LOSSES, Loss
from oga_core.gradients.ownership import follows, owned, possible
from oga_core.gradients.scope import ALL, parameters_in
from oga_core.gradients.terms import Dense, Term
from oga_core.models.classifier import run

PROBED = 5
"""Samples of the probe: few, and a number that few dimensions of a model are a multiple of."""
LEAST = 4
"""Fewest samples that are worth a thread of their own."""
AGREES = {torch.float64: 1e-7, torch.float32: 2e-3}
"""Relative difference to autograd that the probe allows; 5e-2 in half precision."""


@dataclass(frozen=True)
class GradientBatch:
    """What is known of n samples after one pass.

    Attributes
    ----------
    l1, l2
        Norms of the gradient over the scope, float64, shape ``(n,)``; None if not asked for.
    sketch
        Random projection of the gradient, float32 (float64 for a model in it), shape ``(n, width)``; None likewise.
    losses
        float64, shape ``(n,)``.
    output
        The model's output, as a tensor.
    features
        Input of the layer that gives the logits, shape ``(n, d)``, where that layer was named.
    """

    l1: np.ndarray | None
    l2: np.ndarray | None
    sketch: np.ndarray | None
    losses: np.ndarray
    output: Tensor
    features: Tensor | None


def joined(batches: list[GradientBatch]) -> GradientBatch:
    """Several batches as one, in their order."""

    def whole(name: str) -> Any:
        parts = [getattr(batch, name) for batch in batches]
        if any(part is None for part in parts):
            return None
        return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)

    return GradientBatch(*(whole(field.name) for field in fields(GradientBatch)))


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
        self, module: nn.Module, scope: str = ALL, *, loss: str | Loss = "cross_entropy", l1: bool = True, l2: bool = True,
        width: int = sketches.WIDTH, seed: int = 0, kind: str = "kronecker", head: str | None = None,
        take: Callable[[Any, list[int]], Any] | None = None, output: Callable[[Any], Tensor] | None = None,
    ) -> None:  # fmt: skip
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
        self._l1, self._l2, self._width, self._seed, self._kind = l1, l2, width, seed, kind
        self._head = module.get_parameter(f"{head}.weight") if head else None
        self._find = output or tensor_in
        self._model = Model(module, self._output, self._loss, take or rows_of)
        self._plan: Plan | None = None
        self._by_vmap = True
        self._channels_last = any(isinstance(m, nn.Conv2d) for m in module.modules())
        self._projections: dict[tuple[str, torch.Size], sketches.Projection] = {}
        self.bytes_per_sample = 0

    def __call__(self, inputs: Any, targets: Tensor) -> GradientBatch:
        """Norms and sketches of a batch.

        Parameters
        ----------
        inputs
            The module's input; a tuple is passed as arguments, a dict as keywords.
        targets
            What the loss takes, a row for each of the n samples. The first batch needs two samples or more.
        """
        with _frozen(self.module):
            if self._plan is None:
                self._prepare(inputs, targets)
            assert self._plan is not None
            plan, n = self._plan, len(targets)
            threads = torch.get_num_threads() if targets.device.type == "cpu" else 1
            parts = min(threads, n // LEAST)
            if parts < 2:
                return self._pass(inputs, targets, plan)
            ends = [n * k // parts for k in range(parts + 1)]
            shares = [list(range(a, b)) for a, b in pairwise(ends)]
            # Each thread does some samples alone: twice as fast as two threads that share every operation.
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    work = [pool.submit(self._pass, self._model.take(inputs, rows), targets[rows], plan) for rows in shares]
                    return joined([future.result() for future in work])
            finally:
                torch.set_num_threads(threads)

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

    def _pass(self, inputs: Any, targets: Tensor, plan: Plan) -> GradientBatch:
        n = len(targets)
        sums = _Totals(n, self, targets.device)
        features = None
        try:
            output, losses, features = self._captured(inputs, targets, plan, sums)
            left = {name: self._in_scope[name] for name in plan.left_over}
        except ChangedRoad:
            with torch.no_grad():
                output = self._output(inputs)
                losses = self._loss(precise(output), targets).double()
            sums, left = _Totals(n, self, targets.device), self._in_scope
        if left:
            sums.scale = torch.ones(n, dtype=torch.float64, device=targets.device)
            self._slowly(left, inputs, targets, sums)
        return sums.batch(losses, output.detach(), features)

    def _captured(self, inputs: Any, targets: Tensor, plan: Plan, sums: _Totals) -> tuple[Tensor, Tensor, Tensor | None]:
        capture = Capture(self._in_scope, len(targets), plan, sums.add, head=self._head)
        with torch.enable_grad():
            with capture:
                output = self._output(marked(self._laid_out(inputs)))
            losses, grad = self._start(output, targets)
            scale = _scale(grad, len(targets))
            sums.scale = scale
            if output.requires_grad:
                shape = (-1, *[1] * (grad.dim() - 1))
                torch.autograd.backward(output, (grad * scale.view(shape).to(grad.dtype)).to(output.dtype))
            capture.finish()
        sums.close()
        return output, losses, capture.features

    def _start(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses, and their gradient with respect to the output, in double precision where that is affordable."""
        z = precise(output.detach()).requires_grad_()
        losses = self._loss(z, targets)
        if losses.shape != (len(targets),):
            shape = ", ".join(map(str, losses.shape))
            raise InputError(f"the loss gives shape ({shape}) for {len(targets)} samples; one number a sample is needed")
        return losses.detach().double(), torch.autograd.grad(losses.sum(), z)[0]

    def _slowly(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor, sums: _Totals) -> None:
        with torch.no_grad():
            for samples, grads in self._left_over(parameters, inputs, targets):
                for name, values in grads.items():
                    sums.add(name, Dense(values.detach()), samples)

    def _left_over(self, parameters: dict[str, nn.Parameter], inputs: Any, targets: Tensor) -> Gradients:
        if self._by_vmap:
            try:
                yield from by_vmap(self._model, parameters, inputs, targets)
                return
            except Exception:  # torch.func raises whatever it likes where it cannot do a model
                self._by_vmap = False
        yield from one_by_one(self._model, parameters, inputs, targets)

    def projection(self, name: str, like: Tensor) -> sketches.Projection:
        """The projection of a parameter whose gradient has the shape, dtype and device of ``like``."""
        key = name, like.shape
        if key not in self._projections:
            self._projections[key] = sketches.projection(
                name, like.shape, like, width=self._width, seed=self._seed, kind=self._kind
            )
        return self._projections[key]

    # The probe: which samples own which rows, which parameters no rule reaches, and whether it all adds up.

    def _prepare(self, inputs: Any, targets: Tensor) -> None:
        n = min(PROBED, len(targets))
        if n < 2:
            raise InputError("the first batch must have two samples or more, to see whether samples interact")
        rows = list(range(n))
        some = self._model.take(inputs, rows)
        self._alone(some, targets[:n])
        try:
            plan = self._probe(some, targets[:n])
        except RuntimeError:
            if not self._channels_last:
                raise
            self._channels_last = False  # a model that flattens with ``view`` wants its images as they come
            plan = self._probe(some, targets[:n])
        self._check(some, targets[:n], plan)
        self._plan = plan

    def _alone(self, inputs: Any, targets: Tensor) -> None:
        """InputError if a sample's loss depends on the others or on chance."""
        n = len(targets)
        others = [0, *[1 if i % 2 else 0 for i in range(1, n)]]
        with torch.no_grad():
            losses = [
                self._loss(precise(self._output(self._model.take(inputs, rows))), targets[rows]).double()
                for rows in (list(range(n)), list(range(n)), others)
            ]
        same = 1 if n == 2 else 2
        first, again, changed = (x[:same] for x in losses)
        allowed = 1e-3 * first.abs().clamp_min(1e-3)
        if not torch.equal(first, again) and bool(((first - again).abs() > allowed).any()):
            raise InputError("the model gives another loss for the same samples each time (dropout in training mode?); "
                             "call model.eval() first")  # fmt: skip
        if bool(((first - changed).abs() > allowed).any()):
            training = [
                name for name, m in self.module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
            ]
            why = f": {training[0]} is batch norm in training mode; call model.eval() first" if training else ""
            raise InputError(f"a sample's loss depends on the other samples of the batch, so it has no gradient of its own{why}")

    def _probe(self, inputs: Any, targets: Tensor) -> Plan:
        n = len(targets)
        plan = Plan()
        swapped = self._model.take(inputs, [1, 0, *range(2, n)])
        while True:
            outputs, grads, capture = self._probed(inputs, targets, plan)
            after, _, _ = self._probed(swapped, targets, plan, backward=False)
            plan.road = capture.road
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
            if shared is None:
                break
            # The same for all samples: computed from parameters. What follows may now be another road.
            plan.layouts = {i: layout for i, layout in plan.layouts.items() if i < shared} | {shared: None}
        self.bytes_per_sample = 4 * sum(o.numel() * o.element_size() for o in outputs.values()) // n
        while True:
            before = len(plan.left_over)
            sums = _Totals(n, self, targets.device, probing=True)
            self._captured(inputs, targets, plan, sums)
            if len(plan.left_over) == before:
                break
        for name in self._in_scope:
            if name not in sums.reached:
                plan.left_over.setdefault(name, "no operation on it was seen")
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
                output = self._output(marked(self._laid_out(inputs)))
            if backward and output.requires_grad:
                _, grad = self._start(output, targets)
                for i in range(n):
                    alone = torch.zeros_like(grad)
                    alone[i] = grad[i]
                    capture.grads = {}
                    torch.autograd.backward(output, alone.to(output.dtype), retain_graph=True)
                    for index, found in capture.grads.items():
                        grads.setdefault(index, []).append(found)
        return capture.outputs, grads, capture

    def _check(self, inputs: Any, targets: Tensor, plan: Plan) -> None:
        """Compare with autograd of each sample alone, and tell the user what takes longer."""
        device = targets.device
        exact = _Totals(len(targets), self, device, probing=True)
        started = time.perf_counter()
        influential: set[str] = set()
        for samples, grads in one_by_one(self._model, self._in_scope, inputs, targets):
            influential.update(grads)
            for name, values in grads.items():
                exact.add(name, Dense(values), samples)
        alone = time.perf_counter() - started
        for name in [n for n in plan.left_over if n not in influential]:
            del plan.left_over[name]
            self.notes.append(f"{name} has no influence on the loss")
        quick = _Totals(len(targets), self, device, probing=True)
        self._captured(inputs, targets, plan, quick)
        dtype = next(iter(self._in_scope.values())).dtype
        allowed = AGREES.get(dtype, 5e-2)
        wrong = [name for name, found in exact.reached.items() if name not in plan.left_over
                 and not _alike(found, quick.reached.get(name), allowed)]  # fmt: skip
        plan.left_over |= dict.fromkeys(wrong, "its rule disagreed with autograd in the probe")
        if plan.left_over:
            started = time.perf_counter()
            self._slowly(
                {n: self._in_scope[n] for n in plan.left_over}, inputs, targets, _Totals(len(targets), self, device, probing=True)
            )
            taken = (time.perf_counter() - started) / max(alone, 1e-9)
            self.notes.append(_told(plan.left_over, self.parameters, self._by_vmap, taken))


def _told(left_over: dict[str, str], parameters: dict[str, int], vmapped: bool, share: float) -> str:
    values = sum(parameters[name] for name in left_over)
    first = next(iter(left_over))
    way = "torch.func.vmap" if vmapped else "one sample at a time"
    return (
        f"{len(left_over)} of {len(parameters)} parameters ({values:,} of {sum(parameters.values()):,} values) are taken by "
        f"{way}, which costs about {share:.1f} times a pass of every sample alone: {first}"
        f"{' and others' if len(left_over) > 1 else ''} ({left_over[first]})"
    )


def _alike(a: Tensor, b: Tensor | None, allowed: float) -> bool:
    if b is None:
        return not bool(a.any())
    return bool(((a - b).abs() <= allowed * a.abs() + 1e-6 * a.abs().max()).all())


class _Totals:
    """Norms and sketches of a batch as they come in, parameter by parameter."""

    def __init__(self, n: int, engine: PerSampleGradients, device: torch.device, *, probing: bool = False) -> None:
        self.n, self.engine, self.device = n, engine, device
        self.norms, self.sketched = engine._l1 or engine._l2 or probing, bool(engine._width) and not probing
        self.l1 = torch.zeros(n, dtype=torch.float64, device=device)
        self.squares = torch.zeros(n, dtype=torch.float64, device=device)
        self.sketch: Tensor | None = None
        self.scale = torch.ones(n, dtype=torch.float64, device=device)
        self.reached: dict[str, Tensor] = {}

    def add(self, name: str, term: Term, samples: slice | None = None) -> None:
        """The whole gradient of a parameter, for all or some of the samples."""
        rows = slice(0, self.n) if samples is None else samples
        l1, squares, sketch = None, None, None
        if self.norms and self.sketched:
            projection = self.engine.projection(name, term.like)
            l1, squares, sketch = term.norms_and_sketch(self.engine._l1, projection)
        elif self.norms:
            l1, squares = term.norms(self.engine._l1)
        else:
            sketch = term.sketch(self.engine.projection(name, term.like))
        if squares is not None:
            self.squares[rows] += squares
            self.reached.setdefault(name, torch.zeros_like(self.squares))[rows] = squares.sqrt() / self.scale[rows]
        if l1 is not None:
            self.l1[rows] += l1
        if sketch is not None:
            if self.sketch is None:
                self.sketch = sketch.new_zeros(self.n, self.engine._width)
            self.sketch[rows] += sketch

    def close(self) -> None:
        """Take the samples' scales out again, before what comes unscaled is added."""
        self.l1 /= self.scale
        self.squares /= self.scale**2
        if self.sketch is not None:
            self.sketch /= self.scale[:, None].to(self.sketch.dtype)

    def batch(self, losses: Tensor, output: Tensor, features: Tensor | None) -> GradientBatch:
        width = self.engine._width
        sketch = self.sketch if self.sketch is not None else torch.zeros(self.n, width)
        return GradientBatch(
            self.l1.cpu().numpy() if self.engine._l1 else None,
            self.squares.sqrt().cpu().numpy() if self.engine._l2 else None,
            sketch.cpu().numpy() if width else None, losses.cpu().numpy(), output.cpu(),
            None if features is None else features.cpu(),
        )  # fmt: skip


def _scale(grad: Tensor, n: int) -> Tensor:
    """A power of two for each sample that brings its gradient near one, float64 ``(n,)``: small ones keep their digits."""
    largest = grad.reshape(n, -1).abs().amax(1).double()
    usable = (largest > 0) & torch.isfinite(largest)
    return torch.exp2(-torch.round(torch.log2(torch.where(usable, largest, 1.0))).clamp(-500, 500))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """A module whose parameters want no gradient for a while."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


def rows_of(inputs: Any, rows: list[int]) -> Any:
    """Rows of every tensor in a batch's inputs that has as many as the longest of them."""
    sizes: list[int] = []
    mapped(inputs, lambda t: sizes.append(len(t)) if t.dim() else None)
    n = max(sizes, default=0)
    return mapped(inputs, lambda t: t[rows] if t.dim() and len(t) == n else t)


def tensor_in(output: Any) -> Tensor:
    """The tensor that a loss is taken of: the output itself, its ``logits``, or the first of several."""
    found = output
    if not isinstance(found, Tensor):
        found = getattr(found, "logits", None) if hasattr(found, "logits") else next(iter(
            found.values() if hasattr(found, "values") else found), None)  # fmt: skip
    if not isinstance(found, Tensor):
        raise InputError(f"the model returns {type(output).__name__}, in which no tensor to take a loss of is found")
    return found
