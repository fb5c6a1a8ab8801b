"""A page of another origin, in a real browser that has this server's cookies, neither reads the session nor acts in it."""

from __future__ import annotations

import http.server
import json
import select
import socket
import socketserver
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect

from oga_core import Run, Workspace, decisions
from oga_core.addresses import free_port
from oga_core.benchmarks.dashboard import chromium_path
from oga_core.runs import database
from oga_core.serving import Dashboard
from tests.app.conftest import CLASSES, tinted_run
from tests.browser.conftest import ARGUMENTS, settled

StartServer = Callable[..., Dashboard]
TITLE = "Find the training samples that hurt your model"
PAGE = b"<!doctype html><title>elsewhere</title><h1>elsewhere</h1>"
OPEN = """url => new Promise(done => {
    const socket = new WebSocket(url, ["streamlit"])
    socket.onopen = () => done("open")
    socket.onerror = () => done("refused")
    setTimeout(() => done("no answer"), 20000)
})"""
SEND = """([url, body]) => Promise.allSettled([
    fetch(url, { method: "POST", mode: "no-cors", credentials: "include", body, headers: { "Content-Type": "text/plain" } }),
    fetch(url, { method: "POST", credentials: "include", body, headers: { "Content-Type": "application/json" } }),
    fetch(url, { method: "PUT", credentials: "include", body }),
    fetch(url, { method: "DELETE", credentials: "include" }),
]).then(results => results.map(({ status, value }) => status === "fulfilled" ? value.type : "refused"))"""
READ = """url => fetch(url, { credentials: "include" }).then(answer => answer.text(), () => "refused")"""


@contextmanager
def served(address: str, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Another server of this machine, with a page; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate that the browser is told to take."""
    key, chain = (tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "cert.pem"))
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
        "-out",
        str(chain),
    ]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser for which localhost.test is this machine, and the names below it another address of this machine."""
    rules = "--host-resolver-rules=MAP localhost.test 127.0.0.1, MAP *.localhost.test 127.0.0.2"
    browser = chromium.browser_type.launch(executable_path=chromium_path(), args=[*ARGUMENTS, rules])
    yield browser.new_context(ignore_https_errors=True)
    browser.close()


def attempts(place: Page | Frame, root: str, run: Run) -> dict[str, object]:
    """What a page tries on the server: to open its websocket, to decide, to read a decision and the metrics."""
    body = json.dumps({"run": run.id, "op": uuid.uuid4().hex, "action": "keep", "label": "", "samples": [[0, 0]]})
    return {
        "websocket": place.evaluate(OPEN, f"ws{root[4:]}_stcore/stream"),
        "decide": place.evaluate(SEND, [f"{root}oga/decide", body]),
        "name": place.evaluate(SEND, [f"{root}oga/name", json.dumps({"name": "Mallory"})]),
        "read": [place.evaluate(READ, root + path) for path in (f"oga/classes/{run.id}", "_stcore/metrics", "_stcore/health")],
    }


NOTHING = {"websocket": "refused", "read": ["refused"] * 3}


def test_a_page_of_another_origin_can_neither_open_the_session_nor_act_in_it(
    context: BrowserContext, start_server: StartServer, workspace: Workspace, certificate: ssl.SSLContext
) -> None:
    run = tinted_run(workspace, CLASSES, 90, 9, 8)
    dashboard = start_server(hosts=("localhost.test",))
    port = urlsplit(dashboard.url).port
    roots = [f"http://{host}:{port}/" for host in ("127.0.0.1", "localhost", "localhost.test")]
    for root in roots:  # the browser has the cookies of the server under each of its names
        page = context.new_page()
        page.goto(root)
        expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
        settled(page)
        assert page.evaluate(OPEN, f"ws{root[4:]}_stcore/stream") == "open"
        assert page.evaluate(READ, f"{root}oga/classes/{run.id}") == json.dumps(CLASSES)
        page.close()

    with served("127.0.0.1") as http, served("127.0.0.1", tls=certificate) as https, served("127.0.0.2", port or 0):
        places = {
            "another port": (f"http://127.0.0.1:{http}/", roots[0]),
            "another port, by name": (f"http://localhost:{http}/", roots[1]),
            "https": (f"https://localhost:{https}/", roots[1]),
            "a subdomain, the same port": (f"http://sub.localhost.test:{port}/", roots[2]),
            "another name of the same server": (roots[1], roots[0]),
        }
        for what, (url, root) in places.items():
            page = context.new_page()
            page.goto(url)
            found = attempts(page, root, run)
            assert {name: found[name] for name in NOTHING} == NOTHING, what
            page.close()

        page = context.new_page()
        page.goto(f"http://127.0.0.1:{http}/")
        page.set_content('<iframe sandbox="allow-scripts" srcdoc="<h1>null</h1>"></iframe>')
        frame = page.frames[1]
        frame.wait_for_selector("h1")
        assert frame.evaluate("origin") == "null"
        found = attempts(frame, roots[0], run)
        assert {name: found[name] for name in NOTHING} == NOTHING
    assert not decisions(run)
    with database.reading(workspace.database) as connection:
        assert connection.execute("SELECT count(*) FROM reviewers").fetchone()[0] == 0


def test_behind_a_tunnel_the_page_says_how_to_name_it_and_works_when_it_is_named(
    context: BrowserContext, start_server: StartServer
) -> None:
    page = context.new_page()
    dashboard = start_server()
    with tunnel(urlsplit(dashboard.url).port or 0) as port:
        page.goto(f"http://localhost:{port}/")
        expect(page.get_by_text(f"oga serve --origin http://localhost:{port}")).to_be_visible()
    tunnelled = free_port()
    dashboard = start_server(origins=(f"http://localhost:{tunnelled}",))
    with tunnel(urlsplit(dashboard.url).port or 0, tunnelled) as port:
        page.goto(f"http://localhost:{port}/")
        expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
        settled(page)


@contextmanager
def tunnel(to: int, port: int = 0) -> Iterator[int]:
    """A port that leads to another, as ``ssh -L`` makes it."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", to)) as server:
                ends = {self.request: server, server: self.request}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        if not (data := end.recv(1 << 16)):
                            return
                        ends[end].sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(listening.server_address[1])
        finally:
            listening.shutdown()
