"""Limits on what a process that opens untrusted files may take of the machine."""

from __future__ import annotations

import ctypes
import platform
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path

import psutil

from oga_core.errors import InputError
from oga_core.limits import READER_BYTES, READER_SECONDS

with suppress(ImportError):  # Windows has none
    import resource

FIRST_TO_GO = "500"
"""Added to what the kernel goes by when it must end a process for its memory: so this one and not the server."""


@dataclass(frozen=True)
class Bound:
    """A bound of the sandbox: the processes that read untrusted files.

    Attributes
    ----------
    name
        One to three words.
    meaning
        What it keeps such a process from.
    holds
        Whether it holds on this system.
    """

    name: str
    meaning: str
    holds: bool


def list_bounds() -> list[Bound]:
    """Return the bounds of the sandbox, and whether each holds on this system."""
    system = platform.system()
    linux, posix = system == "Linux", system in ("Linux", "Darwin")
    return [
        Bound("separate process", "a crash, or an exit, ends that process only", True),
        Bound("answer time", "the page waits a limited time for it, then ends it", True),
        Bound("ends with oga", "it outlives the process that started it by a second at most", True),
        Bound("processor time", f"it is ended after {READER_SECONDS.name} of processor time", posix),
        Bound("memory", f"it is refused more than {READER_BYTES.name} of memory", linux),
        Bound("no writing", "the sandbox writes no file", posix),
        Bound("no core file", "its memory is not written to disk when it crashes", posix),
        Bound("ended first", "the system ends it before the server when memory runs out", linux),
        Bound("no network", "it opens no socket", can_seclude()),
        Bound("no other memory", "it does not read the memory of other processes", can_seclude()),
    ]


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    whole = psutil.virtual_memory().total
    try:
        given = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return whole
    return min(whole, int(given)) if given.isdecimal() else whole


def contain(memory: int, *, writes: bool) -> None:
    """Bound this process and those that it starts, as far as the system can: its memory, its files, and no core file.

    Parameters
    ----------
    memory
        Bytes; more is refused to it, which Python sees as a MemoryError. Mapped files do not count.
    writes
        Whether it may write files at all.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, "ascii")
    _lower(resource.RLIMIT_CORE, 0)
    # Not the address space: torch and pyarrow map far more than they use.
    _lower(resource.RLIMIT_DATA, memory)
    if not writes:
        _lower(resource.RLIMIT_FSIZE, 0)


def explain_end(ended: signal.Signals, taken: int) -> str:
    """Say why a signal has ended a process that read or scored, which had taken so many bytes of memory."""
    if sys.platform != "win32" and ended == signal.SIGXCPU:
        return f"reading data or model took too long: {READER_SECONDS}"
    reason = f"the process that did this was ended by {ended.name}, having taken {taken:,} of {machine_bytes():,} bytes of memory"
    return f"{reason}, perhaps because it needed more: {READER_BYTES}" if ended == signal.SIGABRT else reason


_limited = False


def limit_reading() -> None:
    """Have `bound_reading` bound what this process reads from now on: in a process of its own, which may be ended for it."""
    global _limited
    _limited = True


@contextmanager
def bound_reading() -> Iterator[None]:
    """Bound what is read inside as the sandbox is bounded: READER_SECONDS, and READER_BYTES of further memory.

    A process that takes longer is ended with SIGXCPU, for code that hangs in a library hears nothing else. Nothing is bounded
    where `limit_reading` was not called, in a notebook for example.

    Raises
    ------
    InputError
        Where memory runs out.
    """
    if not _limited or sys.platform == "win32":
        yield
        return
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)}
    allow_seconds(READER_SECONDS.value)
    _, most = before[resource.RLIMIT_DATA]
    wanted = _data_bytes() + READER_BYTES.value
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    try:
        yield
    except MemoryError as error:
        raise InputError(f"reading this takes more memory than is allowed: {READER_BYTES}") from error
    finally:
        for kind, limits in before.items():
            resource.setrlimit(kind, limits)


def _data_bytes() -> int:
    """Return the bytes of RLIMIT_DATA that this process has taken; 0 where the system does not say."""
    return int(getattr(psutil.Process().memory_info(), "data", 0))


_CALLS = {
    "x86_64": (0xC000003E, 317, (41, 101, 310, 311, 425, 438)),
    "aarch64": (0xC00000B7, 277, (198, 117, 270, 271, 425, 438)),
}
"""Of each kind of processor: what the kernel calls it (AUDIT_ARCH), the number of the call seccomp, and those of the calls by
which a process reaches the network or another process: socket, ptrace, process_vm_readv, process_vm_writev, io_uring_setup,
pidfd_getfd."""
_OTHER_NUMBERS = 0x40000000
"""From here on x86_64 has its calls a second time."""


def can_seclude() -> bool:
    """Return whether `seclude` has an effect on this system."""
    return platform.system() == "Linux" and platform.machine() in _CALLS


def seclude() -> bool:
    """Keep this process, and those that it starts, from the network and from other processes' memory, for good.

    None of its threads opens a socket any more (PermissionError); open sockets still work. By a filter of the kernel's (seccomp),
    on Linux with an x86-64 or ARM64 processor.

    Returns
    -------
    Whether it is so.
    """
    if not can_seclude():
        return False
    architecture, seccomp, calls = _CALLS[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # BPF: LD W ABS, JMP JEQ K, JMP JGE K, RET K
    allowed, refused = 0x7FFF0000, 0x00050000 | EACCES  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
    last = len(calls) + 5  # the step that refuses, to which the others jump by how many lie between
    program = [
        (load, 0, 0, 4),
        (equal, 0, last - 2, architecture),
        (load, 0, 0, 0),
        (at_least, last - 4, 0, _OTHER_NUMBERS),
        *((equal, last - 5 - i, 0, call) for i, call in enumerate(calls)),
        (give, 0, 0, allowed),
        (give, 0, 0, refused),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    filters = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p]
    # PR_SET_NO_NEW_PRIVS, without which only root may; SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC, of all threads.
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(seccomp, 1, 1, filters) == 0


def allow_seconds(seconds: int) -> None:
    """Let this process use so much more processor time; then it is ended with SIGXCPU. Windows has no such bound."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def peak_bytes(maxrss: int) -> int:
    """Return ``ru_maxrss``, the most memory of a process, in bytes: macOS counts bytes, Linux kilobytes."""
    return maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_of_children() -> int:
    """Return the most memory that one of the processes has held which this one has started and which have ended."""
    if sys.platform == "win32":
        return 0
    return peak_bytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _lower(kind: int, most: int) -> None:
    if sys.platform != "win32":
        _, there = resource.getrlimit(kind)
        bound = most if there == resource.RLIM_INFINITY else min(most, there)
        resource.setrlimit(kind, (bound, bound))
