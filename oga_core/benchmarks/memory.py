"""Peak memory of a method, on the CPU in a process of its own.

Linux forgets a process's peak when asked to (``/proc/self/clear_refs``) and then counts every page from there
(``VmHWM``), so nothing is missed between two looks. Elsewhere it is how much the peak of the whole process
(``ru_maxrss``) grows, which misses what stays below an earlier peak.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from oga_core.benchmarks.models import Case, Measured, Method

LONG = 20.0
"""Seconds above which a second pass is not waited for."""
FORGET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_memory(method: Method, chunk: int, case: tuple[str, int, str, str, str], threads: int) -> int | None:
    """Bytes at the peak of two passes over those before, None where it cannot be found. A first pass is not counted."""
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    if "forkserver" in ways:
        context.set_forkserver_preload([__name__])  # torch is imported once, not once a method
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_peak, method, chunk, case, threads).result()
        except BrokenProcessPool:  # out of memory
            return None


def _peak(method: Method, chunk: int, of: tuple[str, int, str, str, str], threads: int) -> int | None:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    case = Case.of(*of)
    some = case.first(2)
    some.summed(some.module(some.inputs), some.targets).backward()  # loads what torch loads late
    case.module.zero_grad(set_to_none=True)
    compute = method.prepare(case, chunk)
    started = time.perf_counter()
    compute()  # the first pass probes the model and loads code
    long = time.perf_counter() - started > LONG
    _trim()
    before = _begin()
    compute()
    if not long:
        compute()
    after = _find_highest()
    return None if before is None or after is None else max(0, after - before)


def peak_on(device: torch.device, compute: Measured) -> int:
    """Bytes at the peak of a pass on a GPU over those before."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    compute()
    torch.cuda.synchronize(device)
    return max(0, torch.cuda.max_memory_allocated(device) - before)


def _trim() -> None:
    """Give free memory back, so that its use counts."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _begin() -> int | None:
    """Memory now; the peak counts from here."""
    try:
        FORGET.write_text("5", "ascii")
    except OSError:
        return _find_highest()
    return _status("VmRSS")


def _find_highest() -> int | None:
    if STATUS.exists():
        return _status("VmHWM")
    if sys.platform == "win32":
        return None
    import resource

    from oga_core.containment import peak_bytes

    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _status(name: str) -> int | None:
    for line in STATUS.read_text("ascii", "replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
