"""On what a benchmark was run, and how good its floor is there."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from oga_core.benchmarks.models import Case, Work

SIDE, TIMES = 1536, 5


def described(case: Case, floor: Work) -> str:
    """The plain pass's GFLOP/s against a matrix product's, threads, CPU, version and allocator settings in one line."""
    with FlopCounterMode(display=False) as counter:
        floor()
    case.module.zero_grad(set_to_none=True)
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    took, took_product = _fastest(floor, lambda: torch.mm(a, b))
    speed, best = counter.get_total_flops() / took / 1e9, 2 * SIDE**3 / took_product / 1e9
    allocator = ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(("MALLOC_", "LD_PRELOAD")))
    return (
        f"{speed:.0f} GFLOP/s where a matrix product reaches {best:.0f} ({speed / best:.2f}); batch {len(case.targets)}, "
        f"threads {torch.get_num_threads()}, {cpu()}, torch {torch.__version__}, allocator: {allocator or 'as it comes'}"
    )


def _fastest(*work: Callable[[], object]) -> list[float]:
    """Seconds of each, which take turns."""
    seconds = []
    for _ in range(TIMES):
        for do in work:
            started = time.perf_counter()
            do()
            seconds.append(time.perf_counter() - started)
    return [min(seconds[k :: len(work)]) for k in range(len(work))]


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text("utf-8").splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
