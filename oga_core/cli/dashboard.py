"""``oga demo`` and ``oga serve``: the dashboard until it is stopped."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oga_core import addresses, scoring, serving, worker
from oga_core.children import wait
from oga_core.cli.arguments import Shared, parse_file, parse_port
from oga_core.data.examples import EXAMPLES
from oga_core.errors import InputError
from oga_core.files import resolve_path
from oga_core.runs import Workspace
from oga_core.terminal import FAILED, notify


def add_commands(commands: Any, shared: Shared) -> None:
    """Add ``demo`` and ``serve`` to a parser's commands."""
    demo = commands.add_parser("demo", parents=[shared.common], help="the dashboard on an embedded example")
    demo.add_argument("--example", choices=list(EXAMPLES), default="digits")
    _add_server_options(demo, _demo)

    serve = commands.add_parser("serve", parents=[shared.common, shared.networked], help="the dashboard")
    serve.add_argument(
        "--root",
        metavar="DIR",
        action="append",
        default=[],
        type=parse_file,
        help="the page may open data by path below it; may be repeated (default: this folder)",
    )
    _add_server_options(serve, _serve)


def _add_server_options(parser: argparse.ArgumentParser, do: object) -> None:
    parser.add_argument("--port", type=parse_port, default=addresses.PORT, help="where it listens (default: %(default)s)")
    parser.add_argument(
        "--address",
        metavar="A",
        default=addresses.ADDRESS,
        help="likewise; on any but this machine's own the URL has a token (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        dest="hosts",
        help="a name by which it is reached, beside the address; may be repeated",
    )
    parser.add_argument(
        "--origin",
        metavar="URL",
        action="append",
        default=[],
        dest="origins",
        help="where a tunnel or proxy leads to it from, as the browser has it, such as https://oga.example.org; may be repeated",
    )
    parser.add_argument(
        "--token", action="store_true", help="the URL has a token in any case: no other user of the machine is let in"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.set_defaults(do=do)


def _demo(options: argparse.Namespace) -> int:
    def begin(workspace: Workspace) -> str:
        run = scoring.prepare_example(workspace, options.example)
        worker.start(run, "score")  # it has begun by the time the server answers
        return f"?run={run.id}"

    return _serve_until_stopped(options, begin)


def _serve(options: argparse.Namespace) -> int:
    for root in options.root:
        if not root.is_dir():
            raise InputError(f"root {root} is not a folder")
    return _serve_until_stopped(options, roots=[resolve_path(root, "root") for root in options.root])


def _serve_until_stopped(
    options: argparse.Namespace, begin: Callable[[Workspace], str] = lambda workspace: "", roots: Sequence[Path] = ()
) -> int:
    """Serve the page that ``begin`` names until Ctrl+C, SIGTERM or SIGHUP, or until the server ends."""
    addresses.find_place(options.address, options.port, options.hosts)  # before anything is created
    workspace = Workspace(options.workspace)
    with _stop_by_signals():
        dashboard = serving.serve(
            workspace,
            port=options.port,
            page=begin(workspace),
            roots=roots,
            address=options.address,
            hosts=options.hosts,
            origins=options.origins,
            token=options.token,
        )
        try:
            _say_where(dashboard, workspace, addresses.is_loopback(options.address))
            if not options.no_browser and not dashboard.open_browser():
                notify("note: no browser could be opened; open the URL yourself")
            code = wait(dashboard.process)
        finally:
            dashboard.stop()
    if code < 0:
        notify(f"oga: the server was ended by {signal.Signals(-code).name}")
        return FAILED
    return code


def _say_where(dashboard: serving.Dashboard, workspace: Workspace, loopback: bool) -> None:
    if workspace.read_only:
        notify(f"note: {workspace.read_only}")
    notify(f"OGA is at {dashboard.url} (Ctrl+C stops it)")
    if dashboard.redirect is None:
        notify("Every user of this machine can open it; --token asks for a launch token.")
    elif loopback:
        notify("Anyone on this machine who has this URL is let in.")
    else:
        notify("Anyone who has this URL is let in. The connection is not encrypted: a tunnel, or a proxy with TLS, is safer.")


@contextmanager
def _stop_by_signals() -> Iterator[None]:
    """While open, SIGTERM and SIGHUP do what Ctrl+C does; one that is ignored, as SIGHUP by nohup, stays ignored."""
    interrupt = signal.getsignal(signal.SIGINT)
    handler = interrupt if callable(interrupt) else signal.default_int_handler
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP", "SIGBREAK"))
    before = {number: signal.getsignal(number) for number in numbers if number is not None}
    heeded = [number for number, old in before.items() if old != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heeded:
            if signal.getsignal(number) is handler:  # else the command is being stopped
                signal.signal(number, before[number])
