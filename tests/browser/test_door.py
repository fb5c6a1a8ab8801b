"""A server that others can reach lets in who has its launch token, and nobody else."""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from oga_core.serving import Dashboard, token_cookie
from tests.browser.conftest import settled

StartServer = Callable[..., Dashboard]
TITLE = "Find the training samples that hurt your model"


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another site: its address, and the page that it shows."""
    shown: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(shown[0].encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/", shown
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_launch_token_opens_the_page_from_wherever_its_link_stands_and_nothing_else_does(
    chromium: Browser, start_server: StartServer, elsewhere: tuple[str, list[str]]
) -> None:
    dashboard = start_server(address="0.0.0.0", hosts=("127.0.0.1",))
    root = dashboard.url.partition("?")[0]
    (token,) = parse_qs(urlsplit(dashboard.url).query)["token"]
    context = chromium.new_context()
    page = context.new_page()
    for url in (root, f"{root}review", f"{root}?token={token[:-1]}"):
        answer = page.goto(url)
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading", name="asks for its launch token")).to_be_visible()
    assert (
        page.evaluate(
            f"new Promise(done => {{ const s = new WebSocket('ws{root[4:]}_stcore/stream', 'streamlit');"
            " s.onopen = () => done('open'); s.onerror = () => done('refused') })"
        )
        == "refused"
    )

    site, shown = elsewhere
    shown.append(f'<a href="{dashboard.url}&way=x">the dashboard</a>')
    page.goto(site)
    page.get_by_role("link").click()
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    settled(page)
    assert "token" not in page.url
    (cookie,) = (c for c in context.cookies(root) if c["name"] == token_cookie(urlsplit(root).port or 0))
    assert (cookie["value"], cookie["httpOnly"], cookie["sameSite"]) == (token, True, "Strict")
    page.reload()
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()

    # Another site can link to the page, but what it asks for itself comes without the cookie.
    shown[0] = f'<iframe src="{root}"></iframe><img src="{root}favicon.png">'
    page.goto(site)
    page.wait_for_load_state()
    assert page.evaluate("document.querySelector('img').naturalWidth") == 0
    context.close()

    for headers, status in (({"Host": "evil.test", "Cookie": f"{cookie['name']}={token}"}, 400), ({}, 403)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(root + "_stcore/health", headers=headers))
        assert refused.value.code == status
