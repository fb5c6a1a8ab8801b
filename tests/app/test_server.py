"""Who is let in by the server, and what its every answer says to the browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit.testing.v1 import AppTest

from app import server
from app.routes import ROUTES
from app.state import BROWSER_COOKIE
from oga_core import Run

TOKEN, COOKIE = "a-token-of-forty-three-characters-in-the-url", "oga_token_8600"
HOSTS = ["127.0.0.1", "::1", "gpu7.example.org"]
NAMED = "https://oga.example.org"
REACHED, STREAM = "http://gpu7.example.org:8600", "ws://gpu7.example.org:8600/_stcore/stream"


async def _asked(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.path} {request.query_params}")


async def _listened(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("let in")
    await socket.close()


async def _breaks(request: Request) -> Response:
    raise RuntimeError("a secret")


OWN = {"origin": REACHED, "sec-fetch-site": "same-origin"}


def client(token: str | None = TOKEN) -> TestClient:
    """A browser before a server whose door asks for a token."""
    app = Starlette(
        routes=[Route("/broken", _breaks), WebSocketRoute("/_stcore/stream", _listened), Route("/{path:path}", _asked)],
        middleware=[
            Middleware(server.Headers),
            Middleware(server.Door, hosts=HOSTS, origins=[REACHED, NAMED], token=token, cookie=COOKIE),
        ],
    )
    return TestClient(app, REACHED, raise_server_exceptions=False)


PATHS = ["/", "/review?run=x", "/oga/decide", "/_stcore/health", "/static/js/x.js", "/media/x.png"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_without_the_token_nothing_is_answered_but_a_page_in_plain_words(path: str, method: str) -> None:
    answer = client().request(method, path, headers=OWN)
    assert answer.status_code == 403
    assert "let in" not in answer.text
    assert method == "HEAD" or "asks for its launch token" in answer.text


@pytest.mark.parametrize("given", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é", "\ud800"])
def test_another_token_is_refused_in_the_address_and_in_the_cookie(given: str) -> None:
    asking = client()
    assert asking.get("/", params={"token": given.encode("utf-8", "surrogatepass")}).status_code == 403
    assert asking.get("/", headers={b"cookie": f"{COOKIE}={given}".encode("utf-8", "surrogatepass")}).status_code == 403
    assert COOKIE not in asking.cookies


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    asking = client()
    answer = asking.get("/review?run=a%20b&token=" + TOKEN + "&view=c%26d")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE))
    assert cookie.split("; ")[0] == f"{COOKIE}={TOKEN}"
    assert {"httponly", "samesite=strict", "path=/"} <= {part.lower() for part in cookie.split("; ")[1:]}
    (to,) = re.findall(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', answer.text)
    assert to == "/review?run=a+b&amp;view=c%26d"
    assert TOKEN not in answer.text
    assert asking.get("/review?run=x").text == "/review run=x"


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_the_page_that_takes_the_token_away_never_leads_to_another_server(path: str) -> None:
    from urllib.parse import quote, urljoin, urlsplit

    answer = client().get(f"{REACHED}/{quote(path)}", params={"token": TOKEN})
    found = re.findall(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', answer.text)
    assert [urlsplit(urljoin(REACHED, to)).netloc for to in found] == [urlsplit(REACHED).netloc]


def test_the_token_in_a_request_that_writes_is_no_key() -> None:
    assert (
        client().post("/oga/decide", params={"token": TOKEN}, headers={"origin": "http://evil.test"}).text.count("decide ") == 0
    )


def test_a_websocket_is_opened_with_the_cookie_only() -> None:
    asking = client()
    for cookie in ("", f"{COOKIE}=x"):
        with pytest.raises(WebSocketDisconnect), asking.websocket_connect(STREAM, headers=OWN | {"cookie": cookie}):
            pass
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect(f"{STREAM}?token={TOKEN}", headers=OWN):
        pass
    asking.cookies.set(COOKIE, TOKEN)
    with asking.websocket_connect(STREAM, headers=OWN) as socket:
        assert socket.receive_text() == "let in"


# ---- where a request comes from ----------------------------------------------------------------------------------------------
FOREIGN = [
    "http://gpu7.example.org:8601",
    "http://gpu7.example.org",
    "https://gpu7.example.org:8600",
    "http://127.0.0.1:8600",
    "http://sub.gpu7.example.org:8600",
    "http://evil.test",
    "http://evil.test:8600",
    "http://gpu7.example.org.evil.test:8600",
    "http://oga.example.org",
    "https://oga.example.org:8443",
    "https://sub.oga.example.org",
    "null",
    "",
    "file://",
    f"{REACHED}/",
    f"{REACHED}, {NAMED}",
    REACHED.upper(),
    "http://gpu7.example.org:08600",
    "chrome-extension://abc",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_origin_opens_no_websocket_and_changes_nothing(origin: str, token: str | None) -> None:
    asking = client(token)
    asking.cookies.set(COOKIE, TOKEN)
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect(STREAM, headers={"origin": origin}):
        pass
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
        assert asking.request(method, "/oga/decide", headers={"origin": origin}).status_code == 403


def test_what_does_not_say_where_it_comes_from_is_refused_too() -> None:
    asking = client(None)
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect(STREAM):
        pass
    assert asking.post("/oga/decide").status_code == 403
    assert asking.post("/oga/decide", headers={"origin": REACHED, "sec-fetch-site": "same-site"}).status_code == 403


@pytest.mark.parametrize("origin", [REACHED, NAMED])
def test_pages_of_its_own_and_of_the_origins_that_were_named_are_heard(origin: str) -> None:
    asking = client(None)
    with asking.websocket_connect(STREAM, headers={"origin": origin}) as socket:
        assert socket.receive_text() == "let in"
    for method in ("POST", "PUT", "DELETE"):
        assert asking.request(method, "/x", headers={"origin": origin, "sec-fetch-site": "same-origin"}).status_code != 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(("path", "status"), [("/oga/why/r/0", 403), ("/auth/logout", 403), ("/", 200), ("/static/x.js", 200)])
def test_another_page_has_neither_work_done_nor_its_user_logged_out(site: str, path: str, status: int) -> None:
    assert client(None).get(path, headers={"sec-fetch-site": site}).status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "gpu7.example.org"])
def test_a_page_behind_a_tunnel_that_was_not_named_says_how_to_name_it(host: str) -> None:
    looks = {"host": host, "sec-fetch-dest": "document", "sec-fetch-site": "none"}
    answer = client(None).get("/review", headers=looks)
    assert answer.status_code == 400
    assert f"oga serve --origin http://{host}" in answer.text
    for known in ("gpu7.example.org:8600", "GPU7.example.org:8600"):
        assert client(None).get("/review", headers=looks | {"host": known}).status_code == 200


def test_a_refused_origin_is_in_the_log_once(capsys: pytest.CaptureFixture[str]) -> None:
    asking = client(None)
    for n in range(40):
        for _ in range(2):
            asking.post("/x", headers={"origin": f"http://evil{n}.test\x1b[2J"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == server.MOST_REFUSED
    assert "refused a page of http://evil0.test" in lines[0]
    assert "--origin" in lines[0]
    assert "\x1b" not in "".join(lines)


def test_no_answer_lets_a_page_of_another_port_read_it() -> None:
    async def open_to_all(request: Request) -> Response:
        return PlainTextResponse("x", headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"})

    asking = TestClient(Starlette(routes=[Route("/x", open_to_all)], middleware=[Middleware(server.Headers)]), REACHED)
    assert not [name for name in asking.get("/x").headers if name.startswith("access-control")]


def test_the_origins_of_this_server_are_its_names_with_its_port_and_those_that_were_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"server.allowedHosts": ["127.0.0.1", "::1", "GPU7.example.org"], "server.port": 8600, "server.sslCertFile": None}
    monkeypatch.setattr(server.st, "get_option", options.__getitem__)
    monkeypatch.setenv("OGA_ORIGINS", NAMED)
    own = ["http://127.0.0.1:8600", "http://[::1]:8600", "http://gpu7.example.org:8600"]
    assert server._origins() == [*own, NAMED]
    options |= {"server.port": 443, "server.sslCertFile": "x.pem"}
    assert server._origins()[:2] == ["https://127.0.0.1", "https://[::1]"]


def test_on_this_machine_alone_no_token_is_asked_for() -> None:
    assert client(token=None).get("/review").text == "/review "


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8600", "[::1]:8600", "GPU7.example.org", "gpu7.example.org:80"])
def test_a_server_answers_to_its_names(host: str) -> None:
    assert client(token=None).get("/x", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "169.254.1.1",
        "127.0.0.1.evil.test",
        "evil.test:127.0.0.1",
        "127.0.0.1@evil.test",
        "[::2]",
        "",
        " ",
        "*",
        "gpu7.example.org/",
        "gpu7.example.org; script-src *",
        "gpu7.example.org:x",
    ],
)
def test_another_host_is_refused_on_every_way_in(host: str) -> None:
    for asking in (client(token=None), client()):
        asking.cookies.set(COOKIE, TOKEN)
        answer = asking.get("/x", headers={"host": host})
        assert answer.status_code == 400
        assert "does not go by that name" in answer.text
        with pytest.raises(WebSocketDisconnect), asking.websocket_connect(STREAM, headers=OWN | {"host": host}):
            pass


def test_every_answer_says_what_a_browser_may_do_with_it_also_a_refusal_and_a_failure() -> None:
    asking = client()
    refused = asking.get("/x")
    asking.cookies.set(COOKIE, TOKEN)
    for answer in (refused, asking.get("/x"), asking.get("/broken"), asking.get("/x", headers={"host": "evil.test;"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "camera=()" in answer.headers["permissions-policy"]
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'self'"
        assert policy["img-src"] == "'self' data: blob:"
        assert policy["object-src"] == "'none'"
        assert "unsafe" not in policy["script-src"]
        assert "evil" not in str(policy)


def test_the_policy_lets_the_page_talk_to_the_server_that_it_came_from() -> None:
    policy = client(token=None).get("/x", headers={"host": "[::1]:8600"}).headers["content-security-policy"]
    assert "connect-src 'self' ws://[::1]:8600 wss://[::1]:8600;" in policy


def test_a_browser_gets_its_own_number_once_and_no_script_can_read_it() -> None:
    asking = client()
    (cookie,) = (c for c in asking.get("/").headers.get_list("set-cookie") if c.startswith(BROWSER_COOKIE))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert not [c for c in asking.get("/").headers.get_list("set-cookie") if c.startswith(BROWSER_COOKIE)]


# ---- no traceback in the browser -------------------------------------------------------------------------------------------
NUMBER = re.compile(r"Something went wrong here\. The server's log has the details under [0-9a-f]{8}\.")


def test_a_failure_that_no_route_has_foreseen_is_a_number() -> None:
    answer = client(token=None).get("/broken")
    assert answer.status_code == 500
    assert NUMBER.fullmatch(answer.json()["error"])


GIVEN = {"run": "r", "index": 0, "size": 160, "queue": "q", "row": 0, "kind": "positions", "name": "pca"}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server whose runs and workspace fail in a way that nobody has foreseen."""

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr("app.state.load_run", fails)
    monkeypatch.setattr("app.state.workspace", fails)
    headers = {"origin": REACHED, "sec-fetch-site": "same-origin"}
    with TestClient(Starlette(routes=ROUTES), REACHED, headers=headers, raise_server_exceptions=False) as asking:
        yield asking


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_no_route_tells_the_browser_more_than_a_number(broken: TestClient, route: Route) -> None:
    path = re.sub(r":\w+}", "}", route.path).format(**GIVEN)
    if route.path == "/oga/upload":
        answer = broken.post(path, params={"name": "a.csv"}, content=b"a", headers={"content-type": "application/octet-stream"})
    elif "POST" in (route.methods or ()):
        answer = broken.post(path, json={"run": "r", "op": "o"})
    else:
        answer = broken.get(path)
    assert answer.status_code == 500
    assert NUMBER.fullmatch(answer.json()["error"])


def test_a_page_that_fails_shows_a_number() -> None:
    def script() -> None:
        from app.server import tell_and_log

        assert tell_and_log(RuntimeError("a secret"))  # True: Streamlit shows nothing of its own

    at = AppTest.from_function(script).run()
    assert NUMBER.fullmatch(at.error[0].value)
    assert server.app._on_script_error is server.tell_and_log


def test_what_the_server_says_of_a_run_is_not_kept_by_strangers(run: Run) -> None:
    with TestClient(Starlette(routes=ROUTES), REACHED) as asking:
        answer = asking.get(f"/oga/classes/{run.id}")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"].startswith("private")
