"""Exact norms and sketches of every sample's gradient, over any parameters, in one forward and one backward pass.

The backward pass stops at the activations. What each operation adds to the gradient of its parameters is kept as factors
(`terms`), and norms and sketches are taken from these, layer by layer, without the gradient where that is cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from oga_core.errors import InputError
from oga_core.gradients import sketch as sketches
from oga_core.gradients.arguments import return_inputs, select_entries, select_rows, tensor_in
from oga_core.gradients.batch_pass import BatchPass
from oga_core.gradients.context import disable_checkpointing, set_requires_grad
from oga_core.gradients.fallback import Model
from oga_core.gradients.losses import LOSSES, Loss
from oga_core.gradients.plan import Plan
from oga_core.gradients.probe import Probe
from oga_core.gradients.results import GradientBatch, join_batches
from oga_core.gradients.scope import ALL, parameters_in
from oga_core.gradients.totals import Wanted
from oga_core.models.classifier import run

LEAST = 4
"""Fewest samples that are worth a thread of their own."""


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
        in_scope = parameters_in(module, scope, head)
        self.parameters = {name: p.numel() for name, p in in_scope.items()}
        self.notes: list[str] = []
        self.bytes_per_sample = 0
        find = output or tensor_in
        model = Model(
            module,
            lambda inputs: find(run(module, inputs)),
            LOSSES[loss] if isinstance(loss, str) else loss,
            take or (select_entries if collate else select_rows),
            collate or return_inputs,
        )
        self._pass = BatchPass(model, in_scope, module.get_parameter(f"{head}.weight") if head else None)
        self._wanted = Wanted(l1, l2, width, seed, kind)
        self._plan: Plan | None = None

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
        with set_requires_grad(self.module.parameters(), False), disable_checkpointing(self.module):
            assert self._plan is not None
            plan, n = self._plan, len(targets)
            threads = torch.get_num_threads() if targets.device.type == "cpu" else 1
            count = min(threads, n // LEAST)
            if count < 2:
                return self._pass.complete(inputs, targets, self._pass.run_rules(inputs, targets, plan, self._wanted))
            ends = [n * k // count for k in range(count + 1)]
            shares = [list(range(a, b)) for a, b in pairwise(ends)]
            batches = [(self._pass.model.take(inputs, rows), targets[rows]) for rows in shares]
            # Each thread does some samples alone: twice as fast as two threads that share every operation.
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    futures = [pool.submit(self._pass.run_rules, *batch, plan, self._wanted) for batch in batches]
                    partials = [future.result() for future in futures]
            finally:
                torch.set_num_threads(threads)
            # The fallback changes the module's parameters for a while: one after the other.
            return join_batches([self._pass.complete(*batch, partial) for batch, partial in zip(batches, partials)])

    @property
    def ready(self) -> bool:
        """Whether the probe has been done, with the first batch."""
        return self._plan is not None

    def prepare(self, inputs: Any, targets: Tensor) -> None:
        """Probe the model with a few samples; done with the first batch, unless it is done before.

        Raises
        ------
        InputError
            If there are fewer than two samples, samples interact, or the model is random.
        """
        with set_requires_grad(self.module.parameters(), False), disable_checkpointing(self.module):
            probe = Probe(self._pass, l1=self._wanted.l1)
            self._plan = probe.run(inputs, targets)
        self.notes += probe.notes
        self.bytes_per_sample = probe.bytes_per_sample
