"""The command line: what the dashboard does, without a browser."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.metadata import version

from oga_core import hub
from oga_core.cli import dashboard, measurements, results, scoring, workspaces
from oga_core.cli.arguments import Parser, make_shared, open_existing
from oga_core.errors import InputError, one_line, shorten
from oga_core.floors import check_floors
from oga_core.limits import set_limits
from oga_core.progress import Cancelled
from oga_core.runs import Workspace
from oga_core.terminal import BAD_INPUT, BROKEN_PIPE, FAILED, INTERRUPTED, OutputError, notify, show_traceback

TRACEBACK = "OGA_TRACEBACK"
"""Environment variable: with 1, the traceback is shown of what has ended a command."""
LONG_WORD = re.compile(r"\S{256,}")
"""A word too long for a file name or a reader."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    It is 0, 2 for bad input and for files that cannot be read or written, 130 when interrupted, 141 when the reader of the output
    has gone, and 1 when the output cannot be written or for an error of OGA's own. Each is one line on stderr.
    """
    try:
        options = _make_parser().parse_args(arguments)
        _check_current_folder()
        check_floors()
        set_limits(getattr(options, "limits", ()))
        if getattr(options, "allow_hub", False):
            hub.allow()
        return int(options.do(options) or 0)
    except (KeyboardInterrupt, Cancelled):
        notify("oga: stopped")
        return INTERRUPTED
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries in other languages raise kinds of their own
        return _report(error)


def apply_options(arguments: Sequence[str]) -> Workspace | None:
    """Set the limits that a command names; return the workspace that it works in, None where it has none or there is none."""
    try:
        options = _make_parser().parse_args(arguments)
        set_limits(options.limits)
        return open_existing(options)
    except (InputError, OSError, AttributeError):
        return None


def _make_parser() -> Parser:
    parser = Parser(prog="oga", description="Find the training samples that hurt a deep model.")
    parser.add_argument("--version", action="version", version=f"oga {version('oga-core')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = make_shared()
    for module in (dashboard, scoring, results, workspaces, measurements):
        module.add_commands(commands, shared)
    return parser


def _check_current_folder() -> None:
    """InputError where it has been deleted: PyTorch would end the process."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError("the current folder has been deleted; change to another one") from error


def _report(error: BaseException) -> int:
    """Say in one line what has ended a command; returns its exit code."""
    if os.environ.get(TRACEBACK) == "1":
        show_traceback(error)
    if isinstance(error, OutputError):
        if error.code != BROKEN_PIPE:
            notify(f"oga: {error}")
        return error.code
    if isinstance(error, InputError):
        notify("oga: " + LONG_WORD.sub(lambda found: shorten(found[0]), " ".join(str(error).split())))
        return BAD_INPUT
    if isinstance(error, OSError):
        name = f"{shorten(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
        notify(f"oga: {name}{error.strerror or one_line(error) or type(error).__name__}")
        return BAD_INPUT
    notify(f"oga: unexpected {type(error).__name__}: {shorten(one_line(error), 500)} ({TRACEBACK}=1 shows the traceback)")
    return FAILED
