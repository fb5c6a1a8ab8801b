"""Starting the dashboard's server from the command line or a notebook, without importing it."""

from __future__ import annotations

import atexit
import html
import os
import secrets
import subprocess
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oga_core.addresses import ADDRESS, EVERYWHERE, ORIGINS, PORT, find_place, free_port, is_loopback, origin_of
from oga_core.children import TOKEN, spawn_module, wait
from oga_core.errors import InputError, shorten
from oga_core.files import resolve_path, write_whole
from oga_core.roots import ROOTS
from oga_core.runs import Run, Workspace
from oga_core.runs.workspace import ENVIRONMENT

START_SECONDS, STOP_SECONDS = 60.0, 10.0
REDIRECT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>OGA</title>
<meta http-equiv="refresh" content="0; url={url}"></head><body><a href="{url}">Open the dashboard</a></body></html>
"""
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy would get to see the token."""


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard. It ends with the process that started it.

    Attributes
    ----------
    url
        What to open; it may have the launch token.
    process
        The server.
    redirect
        Where `open_browser` writes the page that leads to a URL with a token; None for one without.
    """

    url: str
    process: subprocess.Popen[bytes]
    redirect: Path | None = None

    def open_browser(self) -> bool:
        """Open the URL in the browser of this machine; returns whether a browser could be asked.

        Every user of a machine sees the arguments of all processes. So a URL with a token is not among the browser's: it opens a
        page in the workspace that only its owner can read and that leads to the URL. A browser in a sandbox (snap, flatpak) may
        not be able to read that page; open the URL itself then.
        """
        if self.redirect is None:
            return webbrowser.open(self.url)
        page = REDIRECT.replace("{url}", html.escape(self.url))
        try:
            write_whole(self.redirect, lambda path: path.write_text(page, "utf-8"), private=True)
        except OSError:
            return False
        atexit.register(self.redirect.unlink, missing_ok=True)  # a script may end without a call of `stop`
        return webbrowser.open(self.redirect.as_uri())

    def wait(self) -> None:
        """Return when the server has ended; Ctrl+C stops it."""
        try:
            wait(self.process)
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """End the server, and its jobs with it. Everything it has called saved stays saved."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.redirect is not None:
            self.redirect.unlink(missing_ok=True)


def launch(run: Run | None = None, *, port: int | None = None, browser: bool = True, token: bool = False) -> Dashboard:
    """Open the dashboard on a run, from a script or a notebook; returns once it answers.

    The dashboard ends with the process that called this: a script calls ``wait()`` of the result at its end.

    Parameters
    ----------
    run
        The run to look at; without one, the start page on the usual workspace.
    port
        Port on 127.0.0.1; a free one where none is given.
    browser
        Whether to open it in the browser of this machine: see `Dashboard.open_browser`.
    token
        Whether a browser needs the launch token in the URL. Without it every user of this machine can open the dashboard.

    Raises
    ------
    InputError
        If the port is taken or the server does not come up.
    """
    workspace = run.workspace if run is not None else Workspace()
    page = f"?run={run.id}" if run is not None else ""
    dashboard = serve(workspace, port=port or free_port(), page=page, token=token)
    if browser:
        dashboard.open_browser()
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
    token: bool = False,
) -> Dashboard:
    """Start the server on a workspace and wait until it answers.

    Parameters
    ----------
    page
        What is opened of it, in the URL.
    roots
        Folders below which the page may open data by path; where the command was given, by default.
    address
        Where it listens: an IP address, or a name, looked up once. Where others reach it, the URL needs the launch token.
    hosts
        Names by which it is reached, beside the address.
    origins
        Where tunnels or proxies lead to it from, such as ``https://oga.example.org``: scheme, host and port of the page as the
        browser has it. Websockets and decisions are taken from pages of these and of its own origins only.
    token
        Whether a browser needs the launch token on this machine's own addresses, too.

    Raises
    ------
    InputError
        If port, address, name or origin is none, the port is taken, or the server does not come up.
    """
    place = find_place(address, port, hosts)
    allowed_origins = [origin_of(origin) for origin in origins]
    secret = new_token() if token or not is_loopback(place.address) else None
    folders = roots or [resolve_path(".", "root")]
    environment = {
        ENVIRONMENT: str(workspace.path),
        ROOTS: os.pathsep.join(map(str, folders)),
        TOKEN: secret or "",
        ORIGINS: " ".join(allowed_origins),
    }
    process = spawn_module(
        *command(port, place.address, place.hosts, allowed_origins), environment=environment, stdin=subprocess.DEVNULL
    )
    started = time.monotonic()
    try:
        while not _healthy(_url(EVERYWHERE.get(place.address, place.address), port), secret, port):
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise InputError(f"the dashboard did not come up on port {port}; its messages are above")
            time.sleep(0.1)
    except BaseException:  # the caller was interrupted
        process.kill()
        process.wait()
        raise
    known = f"{'&' if '?' in page else '?'}token={secret}" if secret else ""
    url = _url(place.host, port) + page + known
    return Dashboard(url, process, workspace.path / f"open-{port}.html" if secret else None)


def command(port: int, address: str = ADDRESS, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> list[str]:
    """Return module and arguments that serve the dashboard, with its settings, independent of the folder it is started in."""
    options = {**dict(_flat(_config())), "server.address": address, "server.port": port}
    proxies = [urlsplit(origin).hostname for origin in origins]
    own = [name for name in (address, EVERYWHERE.get(address), *hosts, *proxies) if name and name not in EVERYWHERE]
    options["server.corsAllowedOrigins"] = list(origins)
    options["server.allowedHosts"] = list(dict.fromkeys([*options.get("server.allowedHosts", []), *own]))
    flags = [
        f"--{name}={_format_option(v)}"
        for name, value in options.items()
        for v in (value if isinstance(value, list) else [value])
    ]
    return ["streamlit", "run", str(dashboard_folder() / "app" / "server.py"), *flags]


def dashboard_folder() -> Path:
    """Return the folder that has the package ``app`` and its settings: in an installed `oga_core`, or the checkout."""
    installed = Path(__file__).resolve().with_name("_dashboard")
    return installed if installed.is_dir() else installed.parent.parent


def new_token() -> str:
    """A launch token that cannot be guessed."""
    return secrets.token_urlsafe(32)


def token_cookie(port: int) -> str:
    """Name of the cookie with the launch token; servers on other ports of a machine would get it too, so each has its own."""
    return f"oga_token_{port}"


def check_path(path: str) -> Path:
    """A path that the page may open: below one of the roots that the owner of the machine has named.

    Raises
    ------
    InputError
        If it is not found, is no path, or leads out of the roots, by ``..`` or a symbolic link too.
    """
    roots = [Path(root).resolve() for root in os.environ.get(ROOTS, "").split(os.pathsep) if root]
    tried = [resolve_path(p, "path") for p in (Path(path), *(root / path for root in roots))]
    resolved = next((p for p in tried if _exists(p)), tried[0])
    if not any(resolved.is_relative_to(root) for root in roots):
        shown = ", ".join(map(str, roots)) or "none"
        raise InputError(f"{shorten(path)} is outside the folders that may be opened ({shown}); start oga serve with --root")
    if not _exists(resolved):
        raise InputError(f"path not found: {shorten(path)}")
    return resolved


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that we may not look into
        return False


def _config() -> dict[str, Any]:
    return tomllib.loads((dashboard_folder() / ".streamlit" / "config.toml").read_text("utf-8"))


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _format_option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _healthy(url: str, token: str | None, port: int) -> bool:
    asked = urllib.request.Request(url + "_stcore/health", headers={"Cookie": f"{token_cookie(port)}={token}"} if token else {})
    try:
        with _DIRECTLY.open(asked, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
