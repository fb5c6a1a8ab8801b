"""In every process that has this folder on its path, `oga_core` and `app` see another system than Linux: POSIX parts are missing.

Other packages keep what they have, for they were built for this system. What is missing is what Python's documentation says is
not available there, so a use of it raises here as it would there.
"""

from __future__ import annotations

import builtins
import os
import sys
import types
from typing import Any

SYSTEM = os.environ.get("OGA_TEST_SYSTEM", "")
OWN = ("oga_core", "app", "__main__", "server")
POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "crypt", "nis", "spwd", "posix"}
WINDOWS_SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
OS_MISSING = """
fork forkpty killpg getuid geteuid getgid getegid getgroups getpgid getpgrp getsid setsid setpgid setuid setgid wait
wait3 wait4 waitid fchmod fchown chown lchown chroot sysconf confstr statvfs fstatvfs mkfifo mknod nice getloadavg
getpriority setpriority register_at_fork sched_getaffinity sched_setaffinity sched_yield uname ttyname openpty pipe2
posix_spawn posix_spawnp sendfile pread pwrite preadv pwritev readv writev sync fdatasync lockf O_NOFOLLOW O_NONBLOCK
O_NOCTTY O_DIRECTORY O_CLOEXEC O_SYNC
"""


class Seen(types.ModuleType):
    """A module as it is on another system."""

    def __init__(self, real: types.ModuleType, missing: set[str], instead: dict[str, Any]) -> None:
        super().__init__(real.__name__)
        vars(self).update(instead, _real=real, _missing=missing)

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"module {self._real.__name__!r} has no attribute {name!r} on {SYSTEM}")
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)


def _seen() -> dict[str, Seen]:
    import platform
    import signal
    import socket

    system = {"win32": "Windows", "darwin": "Darwin"}[SYSTEM]
    changed = {
        "sys": Seen(sys, set(), {"platform": SYSTEM}),
        "platform": Seen(platform, set(), {"system": lambda: system}),
    }
    if SYSTEM == "win32":
        signals = {n for n in dir(signal) if n.startswith("SIG") and n.isalpha()} - WINDOWS_SIGNALS - {"SIG_DFL", "SIG_IGN"}
        more = {"pthread_kill", "pthread_sigmask", "sigwait", "pause", "alarm", "setitimer", "siginterrupt"}
        changed["signal"] = Seen(signal, signals | more, {"SIGBREAK": signal.SIGUSR1, "CTRL_BREAK_EVENT": signal.SIGUSR1})
        changed["os"] = Seen(os, set(OS_MISSING.split()), {"name": "nt", "open": _open_file_only})
        changed["socket"] = Seen(socket, {"AF_UNIX", "send_fds", "recv_fds"}, {})
    return changed


def _open_file_only(path: Any, *arguments: Any, **options: Any) -> int:
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, *arguments, **options)


def _pretend() -> None:
    seen, real_import = _seen(), builtins.__import__

    def import_as_there(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        asks = str((globals or {}).get("__name__", "")).partition(".")[0]
        if level or asks not in OWN or (globals or {}).get("__name__") == "oga_core":  # which takes the type of a module
            return real_import(name, globals, locals, fromlist, level)
        if SYSTEM == "win32" and name.partition(".")[0] in POSIX_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return seen.get(name) or real_import(name, globals, locals, fromlist, level)

    builtins.__import__ = import_as_there


if SYSTEM:
    _pretend()
