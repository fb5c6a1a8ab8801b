"""A process that is bounded gets no more, and knows what the machine has."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oga_core.containment import machine_bytes


def bounded(code: str, *, memory: int = 400 << 20, writes: bool = False) -> subprocess.CompletedProcess[str]:
    """A process that bounds itself, then does something."""
    start = f"from oga_core.containment import allow_seconds, contain; contain({memory}, writes={writes}); "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)


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
