"""The processes that OGA starts of its own: the server, its jobs and its readers. Each ends with the process that started it."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

if sys.platform == "win32":
    import psutil

PARENT = "OGA_PARENT"
"""Environment variable: the id of the process that started this one."""
TOKEN = "OGA_LAUNCH_TOKEN"
"""Environment variable: what a browser must have to be let in. Only the server gets it."""
WATCH_SECONDS = 1.0
"""Time between two looks at the parent, on systems that send no signal when it ends."""
WAIT_SECONDS = 0.2
"""Time between two looks at the signals that have arrived, on Windows, where a wait for a process holds them up."""
_SET_DEATH_SIGNAL = 1
"""Linux: PR_SET_PDEATHSIG."""

_lock = threading.Lock()
_starter: tuple[int, queue.SimpleQueue[Any]] | None = None
"""The process that has the thread which starts children, and what it is asked through."""


def spawn(command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, in a session of its own: Ctrl+C on the terminal does not reach it.

    It must call `end_with_parent` first thing. Linux sends the death signal when the *thread* that started the process ends, so
    all processes are started by one thread, which lives as long as this process.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        Variables beside those of this process; the launch token is passed on only where it is among them.
    options
        Of `subprocess.Popen`.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    inherited = {name: value for name, value in os.environ.items() if name != TOKEN}
    variables = {**inherited, **(environment or {}), PARENT: str(os.getpid())}
    task: Future[subprocess.Popen[bytes]] = Future()
    apart = {"start_new_session": True, "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    _tasks().put((task, list(command), {**apart, "env": variables, **options}))
    try:
        return task.result()
    except BaseException:
        if task.exception() is None:  # the wait was interrupted: nobody would end the process
            task.result().kill()
            task.result().wait()
        raise


def spawn_module(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` as `spawn` does; a folder of this name in the current directory is not taken for ours.

    Parameters
    ----------
    module, arguments
        Of Python, and its command line.
    environment, options
        As `spawn`.

    Raises
    ------
    OSError
        As `spawn`.
    """
    return spawn([sys.executable, "-P", "-m", module, *arguments], environment, **options)


def end_with_parent() -> None:
    """End this process at once, by SIGKILL where there is one, when the process ends that started it by `spawn`.

    A process that was started in another way is left alone.
    """
    parent = os.environ.pop(PARENT, "")
    if not parent.isdecimal():
        return
    if not _set_death_signal():
        threading.Thread(target=_watch, args=(int(parent),), name="oga-watch-parent", daemon=True).start()
    # It may have ended before the signal was set. In a virtual environment on Windows a launcher is between the two.
    if sys.platform != "win32" and os.getppid() != int(parent):
        _end()


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end, and handle signals meanwhile; returns its exit code."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(WAIT_SECONDS if sys.platform == "win32" else None)


def _tasks() -> queue.SimpleQueue[Any]:
    """Return the queue of the thread that starts children; a forked process has no such thread and gets its own."""
    global _starter
    with _lock:
        if _starter is None or _starter[0] != os.getpid():
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            threading.Thread(target=_start_all, args=(tasks,), name="oga-children", daemon=True).start()
            _starter = os.getpid(), tasks
        return _starter[1]


def _start_all(tasks: queue.SimpleQueue[Any]) -> None:
    while True:
        task, command, options = tasks.get()
        try:
            task.set_result(subprocess.Popen(command, **options))
        except BaseException as error:
            task.set_exception(error)
        del task, command, options  # nothing is kept of it while the next is waited for


def _set_death_signal() -> bool:
    """Ask the kernel for SIGKILL at the parent's end; False where it has no such thing."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        return bool(libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0) == 0)
    return False


def _watch(parent: int) -> None:
    if sys.platform == "win32":  # where a process keeps the number of a parent that has ended
        with suppress(psutil.NoSuchProcess):
            psutil.Process(parent).wait()
    else:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
    _end()


def _end() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows ends a process at once by any of them


def _forget_lock() -> None:
    """In a forked process: the lock may have been held by a thread that this process does not have."""
    global _lock
    _lock = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_lock)
