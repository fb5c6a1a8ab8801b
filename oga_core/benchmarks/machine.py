"""On what a benchmark was run, and how good its floor is there."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from oga_core.benchmarks.models import Case, Measured

SIDE, SIDE_CUDA, TIMES = 1536, 8192, 5
PEAKS = {
    ("H100", torch.bfloat16): 989e12,
    ("H200", torch.bfloat16): 989e12,
    ("H100", torch.float32): 67e12,
    ("H200", torch.float32): 67e12,
}
"""Operations a second by the maker's data sheet (SXM): dense, float32 without TF32."""


def describe_machine(case: Case, floor: Measured) -> str:
    """The plain pass's speed against a matrix product's, threads, machine, version and allocator settings in one line."""
    device, dtype = case.inputs.device, next(case.module.parameters()).dtype
    operations = count_flops(floor)
    case.module.zero_grad(set_to_none=True)
    side = SIDE if device.type == "cpu" else SIDE_CUDA
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    took, took_product = _time_fastest(device, floor, lambda: torch.mm(a, b))
    case.module.zero_grad(set_to_none=True)
    speed, best = operations / took / 1e9, 2 * side**3 / took_product / 1e9
    where = f"threads {torch.get_num_threads()}, {cpu()}" if device.type == "cpu" else torch.cuda.get_device_name(device)
    allocator = ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(("MALLOC_", "LD_PRELOAD")))
    return (
        f"{speed:,.0f} GFLOP/s where a matrix product reaches {best:,.0f} ({speed / best:.2f}); batch {len(case.targets)}, "
        f"{str(dtype).removeprefix('torch.')}, {where}, torch {torch.__version__}, allocator: {allocator or 'as it comes'}"
    )


def count_flops(compute: Measured) -> float:
    """Floating point operations of its matrix products, convolutions and attention."""
    with FlopCounterMode(display=False, custom_mapping=COUNTS) as counter:
        compute()
    return counter.get_total_flops()


def _products(x: Sequence[int], y: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of batched matrix products, also with an output dtype, which torch's own count does not accept."""
    return 2 * prod(x) * y[2]


def _forward(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Of attention, from shapes ``(n, heads, length, d)``; keys and values may have fewer heads, which torch does not count."""
    return 2 * prod(query[:3]) * key[2] * (query[3] + value[3])


def _backward(_: Any, query: Sequence[int], key: Sequence[int], value: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * prod(query[:3]) * key[2] * (3 * query[3] + 2 * value[3])


COUNTS = {torch.ops.aten.bmm: _products} | {
    getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention{suffix}"): count
    for kernel in ("flash", "efficient", "cudnn")
    for suffix, count in (("", _forward), ("_backward", _backward))
}
"""Operations that torch counts wrongly, or not at all."""


def peak_of(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second that a chip reaches at most; None where it is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for (chip, of), peak in PEAKS.items() if chip in name and of == dtype), None)


def wait_for_device(device: torch.device) -> None:
    """Until all that was begun on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time_fastest(device: torch.device, *functions: Callable[[], object]) -> list[float]:
    """Seconds of each, which take turns."""
    seconds = []
    for _ in range(TIMES):
        for do in functions:
            wait_for_device(device)
            started = time.perf_counter()
            do()
            wait_for_device(device)
            seconds.append(time.perf_counter() - started)
    return [min(seconds[k :: len(functions)]) for k in range(len(functions))]


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text("utf-8").splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
