"""Starting the dashboard's server from the command line or a notebook, without importing it."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
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
from urllib.parse import urlsplit

from oga_core.errors import InputError
from oga_core.roots import ROOTS
from oga_core.runs import Run, Workspace
from oga_core.runs.workspace import ENVIRONMENT

ADDRESS = "127.0.0.1"
PORT = 8501
TOKEN = "OGA_LAUNCH_TOKEN"
"""Environment variable: what a browser must have to be let in, where the server listens beyond this machine."""
ORIGINS = "OGA_ORIGINS"
"""Environment variable: origins of tunnels and proxies before the server, beside its own, separated by blanks."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that stand for all of a machine, and where it reaches itself on them."""
_PORTS = {"http": 80, "https": 443}
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


def serve(
    workspace: Workspace,
    *,
    port: int = PORT,
    page: str = "",
    roots: Sequence[Path] = (),
    address: str = ADDRESS,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> Dashboard:
    """Start the server on a workspace and wait until it answers.

    Parameters
    ----------
    page
        What is opened of it, in the URL.
    roots
        Folders below which the page may open data by path; where the command was given, by default.
    address
        Where it listens. On any but this machine's own, a browser needs the launch token in the URL.
    hosts
        Names by which it is reached, beside the address.
    origins
        Where tunnels or proxies lead to it from, such as ``https://oga.example.org``: scheme, host and port of the page as the
        browser has it. Websockets and decisions are taken from pages of these and of its own origins only.

    Raises
    ------
    InputError
        If port, address, name or origin is none, the port is taken, or the server does not come up.
    """
    if not 0 < port < 1 << 16:
        raise InputError(f"port {port}: a port is a number from 1 to 65535")
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
            raise InputError(f"host {host!r}: a name such as gpu7.example.org is needed, without port or asterisk")
    if address in EVERYWHERE and not hosts:
        raise InputError(f"address {address} is all of this machine; say by which name it is reached (--host NAME)")
    _must_be_free(address, port)
    token = None if is_loopback(address) else new_token()
    origins = [origin_of(origin) for origin in origins]
    environment = os.environ | {
        ENVIRONMENT: str(workspace.path), ROOTS: os.pathsep.join(map(str, roots or [Path.cwd()])), TOKEN: token or "",
        ORIGINS: " ".join(origins),
    }  # fmt: skip
    process = subprocess.Popen(command(port, address, hosts, origins), env=environment)
    started = time.monotonic()
    try:
        while not _healthy(_url(EVERYWHERE.get(address, address), port), token, port):
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise InputError(f"the dashboard did not come up on port {port}; its messages are above")
            time.sleep(0.1)
    except BaseException:  # who has asked for it is told to stop
        process.kill()
        process.wait()
        raise
    known = f"{'&' if '?' in page else '?'}token={token}" if token else ""
    return Dashboard(_url(hosts[0] if hosts else address, port) + page + known, process)


def command(port: int, address: str = ADDRESS, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> list[str]:
    """The command that serves the dashboard, with its settings whatever the folder it is started in."""
    options = {**dict(_flat(_config())), "server.address": address, "server.port": port}
    proxies = [urlsplit(origin).hostname for origin in origins]
    own = [name for name in (address, EVERYWHERE.get(address), *hosts, *proxies) if name and name not in EVERYWHERE]
    options["server.corsAllowedOrigins"] = list(origins)
    options["server.allowedHosts"] = list(dict.fromkeys([*options.get("server.allowedHosts", []), *own]))
    flags = [
        f"--{name}={_written(v)}" for name, value in options.items() for v in (value if isinstance(value, list) else [value])
    ]
    # -P: a folder "app" where the user stands must not be taken for ours.
    return [sys.executable, "-P", "-m", "streamlit", "run", str(_HERE / "app" / "server.py"), *flags]


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server on this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a name, which a resolver may turn into anything, but for this one
        return address.lower() == "localhost"


def origin_of(url: str) -> str:
    """Return the origin of an URL as browsers write it: ``scheme://host``, with the port where it is not the scheme's own.

    Raises
    ------
    InputError
        If it is no address of a web page, or has a path.
    """
    message = f"origin {url!r}: the address of a page is needed, such as https://oga.example.org or http://localhost:9000"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(message) from error
    plain = re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]+/?", url, re.IGNORECASE)
    if plain is None or not host or "@" in parts.netloc:
        raise InputError(message)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def named_origins() -> list[str]:
    """Return the origins that were named when this server was started."""
    return os.environ.get(ORIGINS, "").split()


def new_token() -> str:
    """A launch token that cannot be guessed."""
    return secrets.token_urlsafe(32)


def token_cookie(port: int) -> str:
    """Name of the cookie with the launch token; servers on other ports of a machine would get it too, so each has its own."""
    return f"oga_token_{port}"


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


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _must_be_free(address: str, port: int) -> None:
    """Refuse what the server could not listen on."""
    try:
        with socket.create_connection((EVERYWHERE.get(address, address), port), timeout=2):
            raise InputError(f"port {port} is in use; choose another (--port)")
    except OSError:
        pass
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise InputError(f"the dashboard cannot listen on {address}, port {port}: {error.strerror}") from error


def _healthy(url: str, token: str | None, port: int) -> bool:
    asked = urllib.request.Request(url + "_stcore/health", headers={"Cookie": f"{token_cookie(port)}={token}"} if token else {})
    try:
        with urllib.request.urlopen(asked, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
