"""Processes that are killed with signal 9 at a moment of chance."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable

fork = multiprocessing.get_context("fork")


def killed_after(seconds: float, work: Callable[[int], object], *, begun: bool = False) -> list[str]:
    """Do some work in a process of its own and kill it; the lines that it had written until then.

    Parameters
    ----------
    seconds
        When it is killed; it may have ended before.
    work
        Is given the pipe that it writes lines to.
    begun
        Whether the seconds count from its first line.
    """
    read, write = os.pipe()
    child = fork.Process(target=work, args=(write,))
    child.start()
    os.close(write)
    with open(read, "rb") as pipe:
        first = pipe.readline() if begun else b""
        time.sleep(seconds) if begun else child.join(seconds)
        child.kill()
        child.join()
        lines = [first, *pipe.read().splitlines(keepends=True)]
    assert child.exitcode in (0, -signal.SIGKILL)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]
