"""Running a model so that every operation on its parameters is seen, and its output's gradient with it.

Operations are caught where they are called (`TorchFunctionMode`), not where a module begins: what a module does through
functions, with bare parameters or with another module's weight is then seen too. The parameters are frozen, so no summed
weight gradient is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from oga_core.gradients.plan import ChangedTrace, Plan
from oga_core.gradients.rules import RULES, Rule, Unsupported, Use
from oga_core.gradients.tensor_tree import find_tensors, replace_tensors
from oga_core.gradients.terms import Term
from oga_core.gradients.variables import FROM_PARAMETERS, Source, Variable, find_variable, sum_gradient

OF_SAMPLES = "_oga_of_samples"
"""Attribute of a tensor that depends on the samples."""


class Capture(TorchFunctionMode):
    """One forward pass and its backward pass.

    Parameters
    ----------
    parameters
        The parameters in the scope by name.
    n
        Samples in the batch.
    plan
        What the probe found; filled in further where ``probing``.
    done
        Given each parameter's name and its whole gradient (as a term) as soon as the backward pass has it.
    head
        Weight of the layer that gives the logits: its input is kept as ``features``.
    probing
        Keep every output and its gradient, and apply no rule.

    Attributes
    ----------
    fallback
        Parameters that no rule reached, those of the plan among them, and why.
    features
        Input of the layer that gives the logits.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        n: int,
        plan: Plan,
        done: Callable[[str, Term], None],
        *,
        head: nn.Parameter | None = None,
        probing: bool = False,
    ) -> None:
        super().__init__()
        self.n, self.plan, self.done, self.head, self.probing = n, plan, done, head, probing
        self.features: Tensor | None = None
        self.fallback = dict(plan.fallback)
        self.sources: dict[int, Source] = {}
        for name, parameter in parameters.items():
            if name not in self.fallback:
                plain = parameter.detach()
                simple = plain.is_contiguous() and not plain.storage_offset()
                self.sources[id(parameter)] = Source(
                    name,
                    plain,
                    (plain.detach() if simple else plain.clone(memory_format=torch.contiguous_format)).requires_grad_(),
                )
        self.trace: list[tuple[str, ...]] = []
        self.uses: dict[int, Use] = {}
        self.variables: dict[int, list[Variable]] = {}
        self.grads: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self.of_samples: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = find_tensors((*args, *kwargs.values()) if kwargs else args)
        of_samples = any(getattr(t, OF_SAMPLES, False) for t in found)
        if self.head is not None and func is F.linear and any(t is self.head for t in found):
            self.features = found[0].detach()
        mine = [t for t in found if id(t) in self.sources or hasattr(t, FROM_PARAMETERS)]
        if not mine:
            rule = RULES.get(func)
            if rule is not None and rule.run is not None and torch.is_grad_enabled() and of_samples:
                out = rule.run(*args, **kwargs)
            else:
                out = func(*args, **kwargs)
            return _mark(out) if of_samples else out
        if not torch.is_grad_enabled():
            return _mark(func(*args, **kwargs)) if of_samples else func(*args, **kwargs)
        if func not in RULES and isinstance(func, FunctionType) and func.__module__ == F.__name__:
            with self:  # written in Python: what it does inside is what counts
                return _body(func)(*args, **kwargs)
        if func not in RULES:
            return self._run_without_rule(func, args, kwargs, mine) if of_samples else self._derive(func, args, kwargs)
        index = len(self.trace)
        self.trace.append((_name(func), *(source.name for t in mine for source in self._sources(t))))
        if not self.probing and self.plan.trace[index : index + 1] != self.trace[index:]:
            raise ChangedTrace(f"{_name(func)} is operation {index}, and was not in the probe")
        if not of_samples and self.plan.layouts.get(index, "unknown") is None:
            return self._derive(func, args, kwargs)
        return self._run_rule(RULES[func], func, args, kwargs, mine, index, of_samples)

    def _run_rule(
        self,
        rule: Rule,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        mine: list[Tensor],
        index: int,
        of_samples: bool,
    ) -> Any:
        """Do an operation that there is a rule for, and wait for its output's gradient."""
        variables = {id(t): find_variable(self.sources.get(id(t)), t) for t in mine}
        given = args, kwargs
        args, kwargs = replace_tensors(given, {key: variable.tensor for key, variable in variables.items()})
        result = rule.run(*args, **kwargs) if rule.run is not None else func(*args, **kwargs)
        out: Tensor = result[0] if isinstance(result, tuple) else result
        if not of_samples and self.probing and self.n not in out.shape:
            self.plan.layouts[index] = None
            return self._derive(func, *given)
        if not self.probing and not self.plan.fits(index, out.shape, self.n):
            raise ChangedTrace(f"{_name(func)} has another output than in the probe")
        if not out.requires_grad:
            apart = out.clone() if out._is_view() and not any(out is given for given in args[:1]) else out
            out = _Start.apply(apart, torch.empty(0, requires_grad=True))
        if self.probing:
            self.outputs[index] = out.detach().clone()
            if of_samples:
                self.of_samples.add(index)
        scoped = {id(variable.tensor): variable for variable in variables.values()}
        use = Use(rule, args, kwargs, set(scoped), self.n, self.plan.layouts.get(index))
        self.uses[index] = use
        self.variables[index] = list(scoped.values())
        for variable in scoped.values():
            self._await(variable)
        out.register_hook(partial(self._collect, index, scoped))
        _mark(out)
        return (out, *result[1:]) if isinstance(result, tuple) else out

    def _collect(self, index: int, variables: dict[int, Variable], grad: Tensor) -> None:
        if self.probing:
            self.grads[index] = grad.detach().clone()
            return
        use = self.uses.pop(index)
        with torch.no_grad():
            try:
                for tensor, term in use.terms(grad.detach()):
                    if term.n != self.n:
                        raise Unsupported("its output is not arranged by sample")
                    variables[id(tensor)].terms.append(term)
            except Unsupported as reason:
                for variable in variables.values():
                    self._leave(variable.sources, f"{self.trace[index][0]}: {reason}")
                return
            for variable in variables.values():
                self._settle(variable)

    def finish(self) -> None:
        """After the backward pass: hand over the parameters some of whose uses had no influence on the loss."""
        for index in list(self.uses):
            del self.uses[index]
            for variable in self.variables[index]:
                self._settle(variable)

    def forget(self) -> None:
        """Let go of the batch: uses and hooks hold each other, and would wait for the garbage collector."""
        self.uses.clear()
        self.variables.clear()
        self.sources.clear()

    def _await(self, variable: Variable) -> None:
        if not variable.pending:
            for source in variable.sources:
                source.pending += 1
        variable.pending += 1

    def _settle(self, variable: Variable) -> None:
        variable.pending -= 1
        if variable.pending:
            return
        for source in variable.sources:
            source.pending -= 1
            if not source.pending and source.name not in self.fallback:
                self._hand_over(source)

    def _hand_over(self, source: Source) -> None:
        variables = [v for v in source.variables.values() if v.terms]
        if (gradient := sum_gradient(source, variables)) is not None:
            self.done(source.name, gradient)
        for variable in variables:
            if len(variable.sources) == 1:
                variable.terms = []  # they hold inputs and gradients
        source.variables = {}

    def _derive(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do an operation on parameters and constants alone, differentiably."""
        found = find_tensors((args, kwargs))
        sources = {id(s): s for t in found for s in [self.sources.get(id(t)), *getattr(t, FROM_PARAMETERS, ())] if s is not None}
        proxies = {id(t): self.sources[id(t)].proxy for t in found if id(t) in self.sources}
        args, kwargs = replace_tensors((args, kwargs), proxies)
        with torch.enable_grad():
            result = func(*args, **kwargs)
        for out in find_tensors((result,)):
            if out.requires_grad and not any(out is s.proxy for s in sources.values()):
                setattr(out, FROM_PARAMETERS, list(sources.values()))
        # ``weight.to(dtype)`` may be the weight itself.
        return replace_tensors(result, {id(proxies[id(t)]): t for t in found if id(t) in proxies})

    def _run_without_rule(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], mine: list[Tensor]
    ) -> Any:
        for tensor in mine:
            self._leave(self._sources(tensor), f"{_name(func)} has no rule")
        values = {id(t): self.sources[id(t)].plain if id(t) in self.sources else t.detach() for t in mine}
        args, kwargs = replace_tensors((args, kwargs), values)
        return _mark(func(*args, **kwargs))

    def _sources(self, tensor: Tensor) -> list[Source]:
        source = self.sources.get(id(tensor))
        return [source] if source is not None else getattr(tensor, FROM_PARAMETERS)

    def _leave(self, sources: list[Source], reason: str) -> None:
        for source in sources:
            self.fallback.setdefault(source.name, reason)


class _Start(torch.autograd.Function):
    """Begins the graph at an operation's output: what lies before it needs no gradient."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        return None, None


@cache
def _body(func: FunctionType) -> Callable[..., Any]:
    """A function of torch.nn.functional that always runs its own body, in which every step is seen."""
    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    own = {**func.__globals__, **dict.fromkeys(checks, lambda *_: False)}
    body = FunctionType(func.__code__, own, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", func))


def _mark(result: Any) -> Any:
    for out in find_tensors((result,)):
        setattr(out, OF_SAMPLES, True)
    return result


def mark_inputs(inputs: Any) -> Any:
    """Return the inputs as other tensors on the same memory, which are known to depend on the samples."""
    if isinstance(inputs, Tensor):
        return _mark(inputs.detach())
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(mark_inputs(value) for value in inputs)
    if isinstance(inputs, Mapping):
        return {key: mark_inputs(value) for key, value in inputs.items()}
    return inputs
