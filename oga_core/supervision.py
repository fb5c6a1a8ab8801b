"""A command that opens files in a process of its own: bounds end that process, and this one says why."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from subprocess import Popen
from types import FrameType

from oga_core.children import spawn_module, wait
from oga_core.terminal import BAD_INPUT, FAILED, INTERRUPTED, notify

COMMANDS = ("score", "resume", "train", "influence")
"""Commands that open data or models."""
SUPERVISED = "OGA_SUPERVISED"
"""Environment variable: set in the supervised process."""
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGBREAK")


def supervise(arguments: Sequence[str]) -> int:
    """Run a command in a process of its own that bounds itself; returns the exit code.

    Signals are passed on. Where a signal has ended the process, one line on stderr says which, and its job has failed with that
    reason.
    """
    child = spawn_module("oga_core.command", *arguments, environment={SUPERVISED: "1"})
    _pass_on(child)
    code = wait(child)
    if code >= 0:  # Windows has no other
        return code
    ended = signal.Signals(-code)
    if ended == signal.SIGINT:
        return INTERRUPTED
    if ended in (signal.SIGTERM, getattr(signal, "SIGHUP", None), getattr(signal, "SIGQUIT", None)):
        signal.signal(ended, signal.SIG_DFL)
        signal.raise_signal(ended)
    _tell_why(arguments, child.pid, ended)
    return BAD_INPUT if ended in (getattr(signal, "SIGXCPU", None), signal.SIGABRT) else FAILED


def is_supervised() -> bool:
    """Return whether this is the supervised process."""
    return SUPERVISED in os.environ


def begin() -> None:
    """Prepare the supervised process: end with the one that supervises it, and bound what is read."""
    from oga_core.children import end_with_parent
    from oga_core.containment import contain, limit_reading, machine_bytes

    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.default_int_handler)
    os.environ.pop(SUPERVISED, None)
    end_with_parent()
    contain(machine_bytes(), writes=True)
    limit_reading()


def _pass_on(child: Popen[bytes]) -> None:
    """Pass on the signals that this process heeds: the child is in a session of its own, so that each reaches it once."""

    def forward(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            # A process group of its own hears no Ctrl+C on Windows, but Ctrl+Break.
            child.send_signal(getattr(signal, "CTRL_BREAK_EVENT", number))

    for name in FORWARDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    if sys.platform != "win32":

        def stop(number: int, frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)

        signal.signal(signal.SIGTSTP, stop)
        signal.signal(signal.SIGCONT, forward)


def _tell_why(arguments: Sequence[str], pid: int, ended: signal.Signals) -> None:
    """Say on stderr, and enter in the workspace, why a process has ended."""
    from oga_core.cli import apply_options
    from oga_core.containment import explain_end, peak_of_children
    from oga_core.runs.job import fail_jobs

    workspace = apply_options(arguments)
    reason = explain_end(ended, peak_of_children())
    notify(f"oga: {reason}")
    if workspace is not None:
        fail_jobs(workspace.database, pid, reason)
