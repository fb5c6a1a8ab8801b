"""Cost of per-sample gradients, in passes: one pass is a plain forward and backward over the same batch, summed loss.

Plain passes and methods take turns in one process, A B A C A D …, and each method's time is divided by the mean of the two
plain ones around it. So a machine that is busy for a while slows both.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from oga_core.benchmarks.machine import count_flops, describe_machine, peak_of, wait_for_device
from oga_core.benchmarks.memory import LONG, peak_memory, peak_on
from oga_core.benchmarks.methods import LIMITS, NAIVE, OURS, PLAIN, plain
from oga_core.benchmarks.models import DTYPES, MODELS, Case, Measured, Method, Norms
from oga_core.benchmarks.others import OTHERS
from oga_core.errors import InputError
from oga_core.gradients import HEAD
from oga_core.progress import Progress, silent

COMPARED = 4
"""Samples whose norms are compared with those by double precision autograd of each sample alone."""
SLOW = 15
"""Another library that takes so many plain passes, and long, is measured once, and its memory not."""
FEW = 5
"""Below so many measurements their spread is from the smallest to the largest, else from the 10th percentile to the 90th."""
Seconds = tuple[float, float]
"""Of wall time, and of CPU time over all threads."""


@dataclass
class _Measured:
    """A method while it is measured: seconds, and seconds of wall and CPU time over those of the plain passes around."""

    method: Method
    case: Case
    chunk: int = 0
    compute: Measured | None = None
    cold: bool = False
    error: float | None = None
    reason: str = ""
    ratios: list[tuple[float, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def measure(self, before: Seconds, seconds: Seconds, after: Seconds) -> None:
        self.ratios.append(_ratio(seconds, before, after))
        self.seconds.append(seconds[0])


def compare(
    models: Sequence[str],
    scope: str | None = None,
    against: str = "all",
    *,
    batch: int = 64,
    repeats: int = 9,
    threads: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Measure on this machine; one row for each model and method, as ``oga bench gradients --json`` prints them.

    Parameters
    ----------
    models
        Names of `MODELS`.
    scope
        As `parameters_in` takes it; by default ``lora`` where the model has adapters, else ``all``.
    against
        Names of `OTHERS` joined by commas, ``all`` or ``none``.
    batch, repeats, threads
        Samples, measurements of each method, and threads of torch.
    device, dtype
        Where, ``cpu`` or ``cuda``, and in which of `DTYPES`.

    Raises
    ------
    InputError
        For an unknown name, a scope without parameters, a number that is too small, or a device that is missing.
    """
    if unknown := [name for name in models if name not in MODELS]:
        raise InputError(f"unknown model {unknown[0]!r}; there are: {', '.join(MODELS)}")
    for name, value, least in (("batch", batch, 2), ("repeats", repeats, 1), ("threads", threads, 1)):
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: {least} or more is needed")
    if dtype not in DTYPES:
        raise InputError(f"unknown --dtype {dtype!r}; there are: {', '.join(DTYPES)}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {device}: there is none here")
    methods = [*LIMITS, *OURS, *NAIVE, *find_methods(against)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    rows = []
    try:
        for model in models:
            case = Case.of(model, batch, scope or MODELS[model].scope, device, dtype)
            _ = case.parameters  # the scope is right before anything is measured
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other libraries warn of what is meant
                rows += _compare(model, case, [m for m in methods if case.classifies or m.scope != HEAD], repeats, progress)
    finally:
        torch.set_num_threads(before)
    return rows


def find_methods(against: str) -> list[Method]:
    """The other libraries' methods of these names."""
    names = [n.strip() for n in against.split(",") if n.strip()]
    chosen = list(OTHERS) if names == ["all"] else [] if names == ["none"] else names
    if unknown := [n for n in chosen if n not in OTHERS]:
        raise InputError(f"unknown method {unknown[0]!r}; there are: {', '.join(OTHERS)}, or all or none")
    return [OTHERS[name] for name in chosen]


def _compare(model: str, case: Case, methods: Sequence[Method], repeats: int, progress: Progress) -> list[dict[str, Any]]:
    floor, device, dtype = plain(case), case.inputs.device, next(case.module.parameters()).dtype
    floor()
    measured = [_Measured(m, replace(case, scope=m.scope or case.scope)) for m in methods]
    total = len(measured) * (repeats + 2)
    true: dict[str, list[dict[str, float]]] = {}
    for i, one in enumerate(measured):
        progress(f"{model}: trying {one.method.name}", i, total)
        norms = _try(one, floor)
        if norms:
            scope = one.case.scope
            true[scope] = true.get(scope) or _exact(one.case)
            one.error = max(
                abs(float(values[i]) / norm[name] - 1) for name, values in norms.items() for i, norm in enumerate(true[scope])
            )
    # A plain pass over plain passes shows how much of a spread is the machine's.
    measured.insert(0, _Measured(PLAIN, case, len(case.targets), floor))
    before, _ = _time_method(floor, device)
    for k in range(repeats):
        for i, one in enumerate(measured):
            progress(f"{model}: measuring", len(methods) * (k + 1) + i, total)
            if one.compute and not one.cold:
                seconds, _ = _time_method(one.compute, device)
                after, _ = _time_method(floor, device)
                one.measure(before, seconds, after)
                before = after
    threads = torch.get_num_threads()
    rows: list[dict[str, Any]] = []
    for i, one in enumerate(measured):
        progress(f"{model}: memory", len(methods) * (repeats + 1) + i, total)
        done, speed, peak = one.ratios and not one.cold, None, None
        if one.compute and done and device.type == "cuda":
            case.module.zero_grad(set_to_none=True)
            peak, speed = peak_on(device, one.compute), _speed(one)
        one.compute = None
        if done and device.type == "cpu":
            of = model, len(case.targets), one.case.scope, "cpu", str(dtype).removeprefix("torch.")
            peak = peak_memory(one.method, one.chunk, of, threads)
        rows.append(_row(model, one, peak, rows[0]["peak_memory"] if rows else peak, speed, peak_of(device, dtype)))
    progress(f"{model}: memory", total, total)
    rows[0]["note"] = describe_machine(case, floor)
    return rows


def _speed(one: _Measured) -> float | None:
    """Floating point operations a second; None where they cannot be counted."""
    assert one.compute is not None
    try:
        return count_flops(one.compute) / float(np.median(one.seconds))
    except Exception:  # a counter watches modules, and not every method leaves that alone
        return None


def _try(one: _Measured, floor: Measured) -> Norms:
    """Choose the fastest number of samples at a time; the norms that it gives."""
    if one.method.package and importlib.util.find_spec(one.method.package) is None:
        one.reason = "not installed"
        return {}
    n, best, device, found = len(one.case.targets), np.inf, one.case.inputs.device, Norms()
    chunks = sorted({min(chunk or n, n) for chunk in one.method.chunks})
    for chunk in chunks:
        try:
            compute = one.method.prepare(one.case, chunk)
            before, _ = _time_method(floor, device)
            seconds, norms = _time_method(compute, device)
            if (len(chunks) > 1 or device.type == "cuda") and seconds[0] < LONG:
                seconds, norms = _time_method(compute, device)  # the first call is slower
            after, _ = _time_method(floor, device)
        except Exception as error:  # another library may raise anything
            if best == np.inf:
                kind = "" if isinstance(error, InputError) else f"raises {type(error).__name__}: "
                one.reason = f"{kind}{' '.join(str(error).split())[:150]}"
            continue
        if seconds[0] < best:
            best, one.compute, one.chunk, found = seconds[0], compute, chunk, norms
            one.reason = f"{chunk} samples at a time" if chunk < n else ""
            ratio = _ratio(seconds, before, after)
            one.cold = one.method.package is not None and ratio[0] >= SLOW and seconds[0] >= LONG
            one.ratios, one.seconds = ([ratio], [seconds[0]]) if one.cold else ([], [])
            if ratio[0] >= SLOW and not one.cold:  # the probe, and what a sketch draws once
                one.reason = f"first batch {seconds[0]:.1f} s"
    return found


def _time_method(compute: Measured, device: torch.device) -> tuple[Seconds, Norms]:
    wait_for_device(device)
    wall, cpu = time.perf_counter(), time.process_time()
    norms = compute()
    wait_for_device(device)
    return (time.perf_counter() - wall, time.process_time() - cpu), norms


def _ratio(seconds: Seconds, before: Seconds, after: Seconds) -> tuple[float, float]:
    wall, cpu = (2 * s / max(a + b, 1e-9) for s, a, b in zip(seconds, before, after))
    return wall, cpu


def _exact(case: Case) -> list[dict[str, float]]:
    """Norms of the first samples by double precision autograd of each alone."""
    exact = case.first(COMPARED).double()
    parameters, norms = list(exact.parameters.values()), []
    for i in range(len(exact.targets)):
        loss = exact.summed(exact.module(exact.inputs[i : i + 1]), exact.targets[i : i + 1])
        grads = torch.autograd.grad(loss, parameters)
        norms.append({"l1": sum(float(g.abs().sum()) for g in grads), "l2": sum(float(g.square().sum()) for g in grads) ** 0.5})
    return norms


def _row(
    model: str, one: _Measured, peak: int | None, floor: int | None, speed: float | None, most: float | None
) -> dict[str, Any]:
    wall, cpu = np.array(one.ratios or [(np.nan, np.nan)]).T
    spread = [wall.min(), wall.max()] if len(wall) < FEW else np.percentile(wall, [10, 90])
    notes = [one.reason, one.method.note if one.ratios else "", "slow, so measured once and without memory" if one.cold else ""]
    return {
        "model": model,
        "scope": one.case.scope,
        "method": one.method.name,
        "samples_per_second": len(one.case.targets) / float(np.median(one.seconds)) if one.seconds else None,
        "tflops": speed / 1e12 if speed else None,
        "share_of_peak": speed / most if speed and most else None,
        "peak_memory": peak,
        "ratio": float(np.median(wall)) if one.ratios else None,
        "ratio_cpu": float(np.median(cpu)) if one.ratios else None,
        "peak_memory_ratio": peak / floor if peak is not None and floor else None,
        "spread": [float(x) for x in spread] if one.ratios else None,
        "error": one.error,
        "note": "; ".join(filter(None, notes)),
    }
