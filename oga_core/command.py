"""The entry point of the command ``oga``: it puts signals and standard streams right before anything else is imported."""

# Each import here costs milliseconds, in which Ctrl+C would show a traceback: `_signal` is `signal` without enumerations.
import _signal  # type: ignore[import-not-found]
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn


def run() -> int:
    """Run the command that ``sys.argv`` holds; returns the exit code for the shell.

    Ctrl+C ends the process at once while modules are imported: nothing has been done by then. After that the first one stops
    the command in an orderly way, and a second one ends it at once. Where it is ignored, as in a process that a script has
    started in the background, it stays ignored.
    """
    heeded = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if heeded:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from oga_core.terminal import INTERRUPTED, complete_streams, flush, notify

    complete_streams()
    from oga_core.supervision import COMMANDS, begin, is_supervised, supervise

    if is_supervised():
        begin()
    elif sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return flush(supervise(sys.argv[1:]))
    from oga_core.cli import main

    try:
        if heeded:
            sys.unraisablehook = _end_or_show
            _signal.signal(_signal.SIGINT, _interrupt)
        try:
            code = main()
        except SystemExit as left:  # help and version
            code = left.code if isinstance(left.code, int) else 0
        code = flush(code)
        if heeded:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the interpreter has ended
    except KeyboardInterrupt:
        notify("oga: stopped")
        code = flush(INTERRUPTED)
    return code


def _interrupt(number: int, frame: "FrameType | None") -> "NoReturn":
    """Raise KeyboardInterrupt; the same signal once more, or Ctrl+C, ends the process at once."""
    for each in (number, _signal.SIGINT):
        _signal.signal(each, _signal.SIG_DFL)
    torch = sys.modules.get("torch")
    if torch is not None and getattr(torch.__spec__, "_initializing", False):  # its C++ part would abort, with a long trace
        _signal.raise_signal(number)
    raise KeyboardInterrupt


def _end_or_show(unraisable: "Any") -> None:
    """End the process where Ctrl+C came in a destructor or the like, which cannot raise; show other errors as ever."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        _signal.raise_signal(_signal.SIGINT)
    sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    sys.exit(run())
