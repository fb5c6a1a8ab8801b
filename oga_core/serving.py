"""Starting the dashboard's server from the command line or a notebook, without importing it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oga_core.errors import InputError
from oga_core.runs import Run, Workspace
from oga_core.runs.workspace import ENVIRONMENT

ADDRESS = "127.0.0.1"
PORT = 8501
ROOTS = "OGA_ROOTS"
"""Environment variable: folders below which the page may open data and weights by path, joined as in PATH."""
START_SECONDS = 60.0
_HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard."""

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server. Everything it has called saved stays saved."""
        self.process.terminate()
        self.process.wait()


def launch(run: Run | None = None, *, port: int | None = None, browser: bool = True) -> Dashboard:
    """Open the dashboard on a run, from a script or a notebook; returns once it answers.

    Parameters
    ----------
    run
        The run to look at; without one, the start page on the usual workspace.
    port
        Port on 127.0.0.1; a free one where none is given.
    browser
        Whether to open it in the browser of this machine.

    Raises
    ------
    InputError
        If the port is taken or the server does not come up.
    """
    workspace = run.workspace if run is not None else Workspace()
    dashboard = serve(workspace, port=port or free_port(), page=f"?run={run.id}" if run is not None else "")
    if browser:
        webbrowser.open(dashboard.url)
    return dashboard


def serve(workspace: Workspace, *, port: int = PORT, page: str = "", roots: Sequence[Path] = ()) -> Dashboard:
    """Start the server on a workspace and wait until it answers.

    Raises
    ------
    InputError
        If the port is taken or the server does not come up.
    """
    if not 0 < port < 1 << 16:
        raise InputError(f"port {port}: a port is a number from 1 to 65535")
    if _taken(port):
        raise InputError(f"port {port} is in use; choose another (--port)")
    environment = os.environ | {ENVIRONMENT: str(workspace.path), ROOTS: os.pathsep.join(map(str, roots or [Path.cwd()]))}
    process = subprocess.Popen(command(port), env=environment)
    url = f"http://{ADDRESS}:{port}/"
    started = time.monotonic()
    while not _healthy(url):
        if process.poll() is not None or time.monotonic() - started > START_SECONDS:
            process.kill()
            raise InputError(f"the dashboard did not come up on port {port}; its messages are above")
        time.sleep(0.1)
    return Dashboard(url + page, process)


def command(port: int) -> list[str]:
    """The command that serves the dashboard, with its settings whatever the folder it is started in."""
    options = {**dict(_flat(_config())), "server.address": ADDRESS, "server.port": port}
    flags = [
        f"--{name}={_written(v)}" for name, value in options.items() for v in (value if isinstance(value, list) else [value])
    ]
    # -P: a folder "app" where the user stands must not be taken for ours.
    return [sys.executable, "-P", "-m", "streamlit", "run", str(_HERE / "app" / "server.py"), *flags]


def allowed_path(path: str) -> Path:
    """A path that the page may open: below one of the roots that the owner of the machine has named.

    Raises
    ------
    InputError
        If it is not there, or leads out of the roots, by ``..`` or a symbolic link too.
    """
    roots = [Path(root).resolve() for root in os.environ.get(ROOTS, "").split(os.pathsep) if root]
    resolved = next((p for p in [Path(path).expanduser(), *(root / path for root in roots)] if p.exists()), Path(path)).resolve()
    if not any(resolved.is_relative_to(root) for root in roots):
        shown = ", ".join(map(str, roots)) or "none"
        raise InputError(f"{path} is outside the folders that may be opened ({shown}); start oga serve with --root")
    if not resolved.exists():
        raise InputError(f"{path} is not there")
    return resolved


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _config() -> dict[str, Any]:
    installed, checkout = _HERE / "app" / "config.toml", _HERE / ".streamlit" / "config.toml"
    return tomllib.loads((installed if installed.exists() else checkout).read_text("utf-8"))


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
