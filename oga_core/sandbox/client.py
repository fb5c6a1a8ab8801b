"""The client of the sandbox: a process per data set that opens untrusted files, and what it is asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Any

from oga_core.children import spawn_module
from oga_core.data import SampleError
from oga_core.errors import InputError, one_line
from oga_core.limits import READER_BYTES, READER_SECONDS
from oga_core.sandbox import wire

SERVER = "oga_core.sandbox.server"
PATIENCE, GRACE = 3, 60
"""An answer is waited for, by the clock, so many times as long as the processor time it may take, and so many seconds more."""


class NoAnswer(Exception):
    """The process did not answer; the message says what it did."""


class SandboxProcess:
    """A process that opens untrusted files; it ends with this object, and with this process.

    Raises
    ------
    NoAnswer
        If it cannot be started.
    """

    def __init__(self) -> None:
        self.asked = False
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(PATIENCE * READER_SECONDS.value + GRACE)
        # Arrow's own allocators set a gigabyte aside at their start.
        waiting = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
        environment = {"OMP_WAIT_POLICY": waiting, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        try:
            if sys.platform == "win32":  # where a socket is no file that a process could inherit
                self.child = spawn_module(SERVER, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert self.child.stdout is not None
                assert self.child.stdin is not None
                wire.bridge(theirs, self.child.stdout, self.child.stdin)
            else:
                with theirs:
                    self.child = spawn_module(SERVER, environment=environment, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        except OSError as error:
            raise NoAnswer(f"could not be started: {error.strerror}") from error

    @property
    def free(self) -> bool:
        """Whether it lives and owes no answer: who waited for one may have been interrupted."""
        return self.connection.fileno() >= 0 and not self.asked and self.child.poll() is None

    def ask(self, name: str, *given: Any) -> Any:
        """The answer; NoAnswer if there is none, else what the reader of the data raised."""
        self.send(name, *given)
        return self.answer()

    def send(self, name: str, *given: Any) -> None:
        self.asked = True
        with suppress(OSError):  # it has died: there will be no answer
            wire.send(self.connection, [name, given])

    def answer(self) -> Any:
        """The answer to the first of the questions that has had none; errors as `ask`."""
        try:
            head, body = wire.receive(self.connection)
            self.asked = False
            if head["is"] != "error":
                return wire.unpack(head, body)
            kind, told, memory = str(head["kind"]), str(head["told"]), bool(head["memory"])
        except TimeoutError:
            self.end()
            raise NoAnswer(f"gave no answer and was ended: {READER_SECONDS}") from None
        except (EOFError, OSError):
            raise NoAnswer(_explain_end(self.end())) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.end()
            raise NoAnswer(f"answered what makes no sense and was ended: {one_line(error)[:100]}") from error
        if memory:
            self.end()  # what else it would refuse now, nobody knows
            raise NoAnswer(f"ran out of memory: {READER_BYTES}")
        kinds = {"InputError": InputError, "SampleError": SampleError, "TypeError": TypeError, "IndexError": IndexError}
        raise kinds.get(kind, RuntimeError)(told)

    def end(self) -> int:
        """End it; returns its exit code, negative for a signal."""
        self.connection.close()
        try:
            return self.child.wait(1)  # it has ended, or does now that nobody asks
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def __del__(self) -> None:
        self.connection.close()
        if hasattr(self, "child"):
            self.child.kill()
            self.child.wait()


_spare: list[SandboxProcess] = []
_spare_lock = Lock()


def start_spare() -> None:
    """Start a process for data that are soon opened with ``use_spare``: `SandboxedModel.estimate_run` takes seconds less then."""
    with _spare_lock, suppress(NoAnswer):
        if not _spare:
            _spare.append(SandboxProcess())
            _spare[0].send("import_models")


@cache
def list_architectures() -> tuple[str, ...]:
    """Return the names that `oga_core.models.architectures` returns, from a process that may import what lists them.

    Raises
    ------
    InputError
        If it dies.
    """
    try:
        return tuple(str(name) for name in SandboxProcess().ask("list_architectures"))
    except NoAnswer as lost:
        raise InputError(f"the architectures cannot be listed: the sandbox process {lost}") from lost


def take_spare() -> SandboxProcess | None:
    """Return the process that `start_spare` started, once it is ready; None where there is none."""
    with _spare_lock:
        process = _spare.pop() if _spare else None
    if process is not None:
        with suppress(NoAnswer, RuntimeError):
            process.answer()
            return process
    return None


def _explain_end(code: int) -> str:
    """Describe the end of a process with this exit code."""
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return f"took too long: {READER_SECONDS}"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}, perhaps for its memory: {READER_BYTES}"
    return f"ended with code {code}"
