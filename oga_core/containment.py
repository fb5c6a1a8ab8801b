"""What a process that opens files from strangers may take of the machine."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

FIRST_TO_GO = "500"
"""Added to what the kernel goes by when it must end a process for its memory: so this one and not the server."""


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        given = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return whole
    return min(whole, int(given)) if given.isdecimal() else whole


def contain(memory: int, *, writes: bool) -> None:
    """Bound this process and those that it starts: its memory, its files, and no core file when it dies.

    Parameters
    ----------
    memory
        Bytes; more is refused to it, which Python sees as a MemoryError. Mapped files do not count.
    writes
        Whether it may write files at all.
    """
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, "ascii")
    _lower(resource.RLIMIT_CORE, 0)
    # Not the address space: torch and pyarrow map far more than they use.
    _lower(resource.RLIMIT_DATA, memory)
    if not writes:
        _lower(resource.RLIMIT_FSIZE, 0)


def allow_seconds(seconds: int) -> None:
    """Let this process use so much more processor time; then it is ended with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _lower(kind: int, most: int) -> None:
    _, there = resource.getrlimit(kind)
    bound = most if there == resource.RLIM_INFINITY else min(most, there)
    resource.setrlimit(kind, (bound, bound))
