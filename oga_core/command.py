"""The entry point of the command ``oga``: it puts signals and standard streams right before anything else is imported."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from oga_core.terminal import complete_streams, flush, notify

STOPPED = 130
"""Exit code after Ctrl+C."""


def run() -> int:
    """Run the command that ``sys.argv`` holds; returns the exit code for the shell.

    Ctrl+C ends the process at once while modules are imported: nothing has been done by then. After that the first one stops
    the command in an orderly way, and a second one ends it at once. Where it is ignored, as in a process that a script has
    started in the background, it stays ignored.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    complete_streams()
    from oga_core.cli import main

    try:
        if heeded:
            sys.unraisablehook = _end_or_show
            signal.signal(signal.SIGINT, _interrupt)
        try:
            code = main()
        except SystemExit as left:  # help and version
            code = left.code if isinstance(left.code, int) else 0
        code = flush(code)
        if heeded:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the interpreter has ended
    except KeyboardInterrupt:
        notify("oga: stopped")
        code = flush(STOPPED)
    return code


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt; the same signal once more, or Ctrl+C, ends the process at once."""
    for each in (number, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def _end_or_show(unraisable: Any) -> None:
    """End the process where Ctrl+C came in a destructor or the like, which cannot raise; show other errors as ever."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    sys.__unraisablehook__(unraisable)
