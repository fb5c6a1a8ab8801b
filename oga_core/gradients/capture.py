"""Running a model so that every operation on its parameters is seen, and its output's gradient with it.

Operations are caught where they are called (`TorchFunctionMode`), not where a module begins: what a module does through
functions, with bare parameters or with another module's weight is then seen too. The parameters are frozen, so no summed
weight gradient is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from oga_core.gradients.ownership import Layout
from oga_core.gradients.rules import RULES, Rule, Unsupported, Use
from oga_core.gradients.terms import Derived, Outer, Term, Turned, View, summed

OF_SAMPLES, FROM_PARAMETERS = "_oga_of_samples", "_oga_from_parameters"


class ChangedRoad(Exception):
    """The model did other operations than in the probe: its road depends on the data."""


@dataclass(eq=False)
class Source:
    """A parameter in the scope.

    Attributes
    ----------
    plain
        Its values, which operations on samples are given.
    proxy
        The same with a gradient, from which tensors are derived.
    """

    name: str
    plain: Tensor
    proxy: Tensor
    variables: dict[Any, Variable] = field(default_factory=dict)
    pending: int = 0


@dataclass(eq=False)
class Variable:
    """A parameter, a view of one, or a tensor computed from parameters alone, as operations on samples use it."""

    sources: list[Source]
    tensor: Tensor
    view: tuple[tuple[int, ...], tuple[int, ...], int] | None
    terms: list[Term] = field(default_factory=list)
    pending: int = 0


@dataclass
class Plan:
    """What the probe found out about the road through the model.

    Attributes
    ----------
    road
        The operations on parameters, in the order of their calls: name, and parameters.
    shapes
        By call: the output's shape, for the probe's ``n`` samples.
    layouts
        By call: where the samples lie in the output; None for an output that is the same for all samples.
    left_over
        Parameters that no rule reaches, and why.
    """

    n: int = 0
    road: list[tuple[str, ...]] = field(default_factory=list)
    shapes: dict[int, torch.Size] = field(default_factory=dict)
    layouts: dict[int, Layout | None] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)

    def fits(self, index: int, shape: torch.Size, n: int) -> bool:
        """Whether the samples may lie in an output as they lay in that of the probe."""
        layout = self.layouts.get(index)
        if layout is None:
            return True
        probed = self.shapes[index]
        # Where a sample had one row in the probe, it is not known how several would lie.
        return len(shape) == len(probed) and (shape[layout.dim] == n or probed[layout.dim] > self.n)


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
    left_over
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
        self.left_over = dict(plan.left_over)
        self.sources: dict[int, Source] = {}
        for name, parameter in parameters.items():
            if name not in self.left_over:
                plain = parameter.detach()
                simple = plain.is_contiguous() and not plain.storage_offset()
                self.sources[id(parameter)] = Source(
                    name,
                    plain,
                    (plain.detach() if simple else plain.clone(memory_format=torch.contiguous_format)).requires_grad_(),
                )
        self.road: list[tuple[str, ...]] = []
        self.uses: dict[int, Use] = {}
        self.variables: dict[int, list[Variable]] = {}
        self.grads: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self.of_samples: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = _tensors((*args, *kwargs.values()) if kwargs else args)
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
            return self._unruled(func, args, kwargs, mine) if of_samples else self._derive(func, args, kwargs)
        index = len(self.road)
        self.road.append((_name(func), *(source.name for t in mine for source in self._sources(t))))
        if not self.probing and self.plan.road[index : index + 1] != self.road[index:]:
            raise ChangedRoad(f"{_name(func)} is operation {index}, and was not in the probe")
        if not of_samples and self.plan.layouts.get(index, "unknown") is None:
            return self._derive(func, args, kwargs)
        return self._apply(RULES[func], func, args, kwargs, mine, index, of_samples)

    def _apply(
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
        variables = {id(t): self._variable(t) for t in mine}
        given = args, kwargs
        args, kwargs = _replaced(given, {key: variable.tensor for key, variable in variables.items()})
        result = rule.run(*args, **kwargs) if rule.run is not None else func(*args, **kwargs)
        out: Tensor = result[0] if isinstance(result, tuple) else result
        if not of_samples and self.probing and self.n not in out.shape:
            self.plan.layouts[index] = None
            return self._derive(func, *given)
        if not self.probing and not self.plan.fits(index, out.shape, self.n):
            raise ChangedRoad(f"{_name(func)} has another output than in the probe")
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
        out.register_hook(partial(self._arrived, index, scoped))
        _mark(out)
        return (out, *result[1:]) if isinstance(result, tuple) else out

    def _arrived(self, index: int, variables: dict[int, Variable], grad: Tensor) -> None:
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
                    self._leave(variable.sources, f"{self.road[index][0]}: {reason}")
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
            if not source.pending and source.name not in self.left_over:
                self._hand_over(source)

    def _hand_over(self, source: Source) -> None:
        variables = [v for v in source.variables.values() if v.terms]
        self._done(source, variables)
        for variable in variables:
            if len(variable.sources) == 1:
                variable.terms = []  # they hold inputs and gradients
        source.variables = {}

    def _done(self, source: Source, variables: list[Variable]) -> None:
        parts: list[tuple[Term, View]] = []
        for variable in variables:
            if variable.view is None:
                assert isinstance(variable, _Computed)
                back = partial(_gradient_of, variable.graph, source.proxy)
                of = summed([(t, None) for t in variable.terms], variable.tensor)
                parts.append((Derived(of, source.plain, variable.tensor.shape, back), None))
                continue
            parts += [_of_whole(term, variable.view, source.proxy) for term in variable.terms]
        if len(variables) == 1 and parts[0][1] is not None and variables[0].tensor.numel() == source.plain.numel():
            of = summed([(term, None) for term, _ in parts], variables[0].tensor)
            self.done(source.name, Turned(of, source.plain, parts[0][1]))
        elif parts:
            self.done(source.name, summed(parts, source.plain))

    def _variable(self, tensor: Tensor) -> Variable:
        source = self.sources.get(id(tensor))
        if source is not None:
            key = _view_of(source.proxy)
            return source.variables.setdefault(key, Variable([source], source.plain, key))
        sources: list[Source] = getattr(tensor, FROM_PARAMETERS)
        view = None
        if len(sources) == 1 and tensor._is_view() and 0 not in tensor.stride() and tensor._base is not None:
            view = _view_of(tensor) if tensor._base is sources[0].proxy else None
        if view is not None:
            return sources[0].variables.setdefault(view, Variable(sources, tensor.detach(), view))
        held = sources[0].variables.get(id(tensor))
        if held is None:
            held = _Computed(sources, tensor)
            for source in sources:
                source.variables[id(tensor)] = held
        return held

    def _derive(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do an operation on parameters and constants alone, differentiably."""
        found = _tensors((args, kwargs))
        sources = {id(s): s for t in found for s in [self.sources.get(id(t)), *getattr(t, FROM_PARAMETERS, ())] if s is not None}
        proxies = {id(t): self.sources[id(t)].proxy for t in found if id(t) in self.sources}
        args, kwargs = _replaced((args, kwargs), proxies)
        with torch.enable_grad():
            result = func(*args, **kwargs)
        for out in _tensors((result,)):
            if out.requires_grad and not any(out is s.proxy for s in sources.values()):
                setattr(out, FROM_PARAMETERS, list(sources.values()))
        # ``weight.to(dtype)`` may be the weight itself.
        return _replaced(result, {id(proxies[id(t)]): t for t in found if id(t) in proxies})

    def _unruled(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], mine: list[Tensor]) -> Any:
        for tensor in mine:
            self._leave(self._sources(tensor), f"{_name(func)} has no rule")
        values = {id(t): self.sources[id(t)].plain if id(t) in self.sources else t.detach() for t in mine}
        args, kwargs = _replaced((args, kwargs), values)
        return _mark(func(*args, **kwargs))

    def _sources(self, tensor: Tensor) -> list[Source]:
        source = self.sources.get(id(tensor))
        return [source] if source is not None else getattr(tensor, FROM_PARAMETERS)

    def _leave(self, sources: list[Source], reason: str) -> None:
        for source in sources:
            self.left_over.setdefault(source.name, reason)


class _Computed(Variable):
    """A tensor computed from parameters: operations on samples get its values, the graph is kept for the way back."""

    def __init__(self, sources: list[Source], tensor: Tensor) -> None:
        super().__init__(sources, tensor.detach(), None)
        self.graph = tensor


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


def _tensors(items: Iterable[Any]) -> list[Tensor]:
    """The tensors among some arguments, however deep."""
    found: list[Tensor] = []
    for item in items:  # a loop: it is run for every operation of a model
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, (tuple, list)):
            found += _tensors(item)
        elif isinstance(item, dict):
            found += _tensors(item.values())
    return found


def _replaced(tree: Any, values: dict[int, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return values.get(id(tree), tree)
    if isinstance(tree, tuple) and type(tree) is not tuple:  # torch.Size and named tuples hold no parameter
        return tree
    if isinstance(tree, (tuple, list)):
        return type(tree)(_replaced(item, values) for item in tree)
    if isinstance(tree, dict):
        return {key: _replaced(item, values) for key, item in tree.items()}
    return tree


def _mark(result: Any) -> Any:
    for out in _tensors((result,)):
        setattr(out, OF_SAMPLES, True)
    return result


def marked(inputs: Any) -> Any:
    """The inputs as other tensors on the same memory, which are known to depend on the samples."""
    if isinstance(inputs, Tensor):
        return _mark(inputs.detach())
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(marked(item) for item in inputs)
    if isinstance(inputs, dict) or hasattr(inputs, "items"):
        return {key: marked(item) for key, item in inputs.items()}
    return inputs


def _view_of(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def _of_whole(term: Term, view: tuple[tuple[int, ...], tuple[int, ...], int], whole: Tensor) -> tuple[Term, View]:
    """A term of a view of a parameter as one of the whole parameter, else with its view."""
    if view == _view_of(whole):
        return term, None
    if isinstance(term, Outer) and whole.dim() == 2 and view == _view_of(whole.t()):
        return Outer(term.right, term.left), None
    return term, partial(_as_strided, view)


def _as_strided(view: tuple[tuple[int, ...], tuple[int, ...], int], whole: Tensor) -> Tensor:
    """The same view of another tensor with the memory of the parameter."""
    shape, stride, offset = view
    return whole.as_strided(shape, stride, whole.storage_offset() + offset)


def _gradient_of(graph: Tensor, proxy: Tensor, grad: Tensor) -> Tensor:
    with torch.enable_grad():
        found = torch.autograd.grad(graph, proxy, grad, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(proxy) if found is None else found
