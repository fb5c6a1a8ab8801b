"""A process that is bounded gets no more, and knows what the machine has."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oga_core.containment import machine_bytes


def bounded(
    code: str, *, memory: int = 400 << 20, writes: bool = False, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A process that bounds itself, then does something."""
    start = f"from oga_core.containment import allow_seconds, contain; contain({memory}, writes={writes}); "
    environment = os.environ | (environment or {})
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False, env=environment)


def test_this_machine_has_as_much_memory_as_the_kernel_says() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    assert 0 < machine_bytes() <= total


@pytest.mark.parametrize(("count", "ends"), [(300 << 20, 0), (500 << 20, 1)])
def test_memory_above_the_bound_is_refused(count: int, ends: int) -> None:
    done = bounded(f"x = bytearray({count})")
    assert done.returncode == ends
    assert ("MemoryError" in done.stderr) == bool(ends)


@pytest.mark.parametrize("writes", [False, True])
def test_files_are_written_only_where_that_is_allowed(tmp_path: Path, writes: bool) -> None:
    path = tmp_path / "file"
    done = bounded(f"import pathlib; pathlib.Path({str(path)!r}).write_bytes(b'a')", writes=writes)
    assert (done.returncode == 0) == writes
    assert (path.read_bytes() == b"a") == writes


def test_a_process_that_crashes_leaves_no_core_file_and_cannot_raise_its_bounds() -> None:
    done = bounded("import resource; print(*resource.getrlimit(resource.RLIMIT_CORE), *resource.getrlimit(resource.RLIMIT_DATA))")
    assert done.stdout.split() == ["0", "0", str(400 << 20), str(400 << 20)]


def test_a_process_that_takes_more_seconds_than_it_may_is_ended() -> None:
    forever = "import itertools; print(1, flush=True); [0 for _ in itertools.count() if False]"
    done = bounded(f"allow_seconds(1); {forever}")
    assert (done.returncode, done.stdout) == (-signal.SIGXCPU, "1\n")


LINUX = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="a filter of Linux's kernel"
)
SECLUDED = "from oga_core.containment import seclude; assert seclude(); "
PEEK = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); {}; assert ctypes.get_errno() != 13, 'Permission denied'"


@LINUX
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', {port}), 5)", "PermissionError"),
        ("import socket; socket.socket(socket.AF_UNIX)", "PermissionError"),
        ("import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", "PermissionError"),
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], check=True)",
            "PermissionError",
        ),
        ("import threading; threading.Thread(target=lambda: __import__('socket').socket()).start()", "PermissionError"),
        (PEEK.format("libc.ptrace(0, 0, 0, 0)"), "Permission denied"),
        (PEEK.format("libc.syscall(425, 1, 0)"), "Permission denied"),
    ],
    ids=["tcp", "unix", "udp", "child", "thread", "ptrace", "io_uring"],
)
def test_a_secluded_process_reaches_neither_the_network_nor_another_process(code: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = code.replace("{port}", str(server.getsockname()[1]))
        done = subprocess.run([sys.executable, "-c", SECLUDED + code], capture_output=True, text=True, check=False)
        assert told in done.stderr
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@LINUX
def test_a_secluded_process_goes_on_with_the_sockets_and_files_that_it_has() -> None:
    code = "import os, socket; s = socket.socket(fileno=os.dup(0)); s.sendall(s.recv(9)); a, _ = socket.socketpair()"
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", SECLUDED + code], stdin=theirs.fileno()) as child:
        ours.sendall(b"again")
        assert ours.recv(9) == b"again"
        assert child.wait() == 0


# ---- what is read on the command line ----------------------------------------------------------------------------------------
LIMITED = (
    "from oga_core.containment import bound_reading, limit_reading; from oga_core.errors import InputError; limit_reading(); "
)


def test_reading_that_takes_too_long_ends_the_process_and_what_comes_after_may_take_as_long_as_it_likes() -> None:
    slow = "import time, re; "
    hangs = "re.match(r'(a+)+$', 'a' * 60 + 'b')"  # in C, where no signal handler of Python is heard
    done = bounded(f"{LIMITED}{slow}\nwith bound_reading():\n    {hangs}", environment={"OGA_LIMIT_READER_SECONDS": "1"})
    assert done.returncode == -signal.SIGXCPU
    after = f"{LIMITED}{slow}\nwith bound_reading():\n    pass\nend = time.process_time() + 4\nwhile time.process_time() < end:\n    pass"
    assert bounded(after, environment={"OGA_LIMIT_READER_SECONDS": "1"}).returncode == 0


def test_reading_that_takes_too_much_memory_is_refused_and_what_comes_after_may_take_more() -> None:
    taking = "try:\n    with bound_reading():\n        x = bytearray(200 << 20)\nexcept InputError as error:\n    print(error)"
    after = "y = bytearray(200 << 20)"
    done = bounded(f"{LIMITED}\n{taking}\n{after}", environment={"OGA_LIMIT_READER_BYTES": str(100 << 20)})
    assert done.returncode == 0
    assert done.stdout.startswith("reading this takes more memory than is allowed: the limit reader_bytes is 104,857,600")


def test_where_nobody_has_asked_for_bounds_there_are_none() -> None:
    free = LIMITED.replace("limit_reading(); ", "")
    taking = "with bound_reading():\n    x = bytearray(200 << 20)"
    assert bounded(f"{free}\n{taking}", environment={"OGA_LIMIT_READER_BYTES": str(100 << 20)}).returncode == 0
