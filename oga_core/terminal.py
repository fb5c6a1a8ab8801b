"""Writing to the terminal, with any character set and after the terminal is gone."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, TextIO

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit codes: an error of OGA's own; bad input, or files that cannot be read or written; Ctrl+C."""
BROKEN_PIPE, UNWRITABLE = 128 + 13, 1
"""Exit codes: the reader of the output has gone, as a shell tells SIGPIPE; the output cannot be written."""
BAR = 30
"""Characters of the progress bar."""


_lost = 0
"""Exit code for what could not be written to stderr. What a reader that has gone did not want is no loss."""


class OutputError(Exception):
    """The output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {error.strerror}")
        self.code = BROKEN_PIPE if isinstance(error, BrokenPipeError) else UNWRITABLE


def printable(line: str) -> str:
    """A line with an escape for all that a terminal would obey or cannot show: names and labels come from untrusted files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def write(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a text; characters that the stream cannot encode are escaped.

    Raises
    ------
    OutputError
        If the stream cannot be written.
    """
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, file=stream)
    except OSError as error:
        raise OutputError(error) from error


def say(line: str) -> None:
    """Print a line to stdout, escaped as `printable` does; OutputError as `write`."""
    write(printable(line))


def notify(line: str) -> None:
    """Print a line to stderr, escaped as `printable` does, where that can be written."""
    _write_to_stderr(f"{printable(line)}\n")


def _write_to_stderr(text: str) -> None:
    global _lost
    try:
        write(text, sys.stderr, end="")
        sys.stderr.flush()
    except OutputError as error:
        _lost = error.code
    except OSError as error:
        _lost = OutputError(error).code
    except (AttributeError, ValueError):  # there is none, or it is closed
        return


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an error to stderr, where that can be written."""
    import traceback  # which most runs of a command never need

    for line in "".join(traceback.format_exception(error)).splitlines():
        notify(line)


def complete_streams() -> None:
    """Open the null device in place of standard streams that are closed, else the next file that is opened would take it.

    What is written to a closed stdout fails. Characters that a stream cannot encode are escaped.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush(code: int) -> int:
    """Write what is still buffered, and leave nothing that fails once more at the interpreter's end.

    Parameters
    ----------
    code
        Exit code of the command.

    Returns
    -------
    The exit code: where the command had none but its output is lost, that of the loss.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except ValueError:  # closed by the command
            continue
        except OSError as error:
            _discard(stream)
            lost = OutputError(error)
            if stream is sys.stdout and not code and lost.code != BROKEN_PIPE:
                notify(f"oga: {lost}")
            if stream is sys.stdout:
                code = code or lost.code
    return code or (UNWRITABLE if _lost == UNWRITABLE else 0)


def _discard(stream: Any) -> None:
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


class Bar:
    """Progress on stderr: one line that is drawn over on a terminal, else a line a stage. What cannot be written is left out."""

    def __init__(self) -> None:
        self.drawn_over = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.stage = ""
        self.drawn = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.drawn_over and self.stage:
            _write_to_stderr("\n")

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self.drawn_over:
            if stage == self.stage or not done:  # a stage that fails at once leaves one line, the error's
                return
            _write_to_stderr(f"{printable(stage)}\n")
        elif stage != self.stage or done == total or time.monotonic() - self.drawn > 0.1:
            _write_to_stderr("\r\033[K" + self._line(printable(stage), done, total))
            self.drawn = time.monotonic()
        self.stage = stage

    @staticmethod
    def _line(stage: str, done: int, total: int) -> str:
        """The bar, its stage and its numbers, as far as they fit in one line."""
        full, empty = "█", "░"
        try:
            (full + empty).encode(sys.stderr.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            full, empty = "#", "."
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except (OSError, ValueError):
            width = 80
        filled = BAR * done // max(total, 1)
        return f"{full * filled}{empty * (BAR - filled)} {stage} {done:,}/{total:,}"[: max(width - 1, 0)]
