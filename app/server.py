"""The server of `oga serve`: the pages, the routes beside them, access control, and the headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
import html
import logging
import os
import re
import sys
import uuid
from base64 import b64encode
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of this process only: a job may import a module "app" of the user's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app import presence
from app.login import check_login, is_asked_for, user_of
from app.routes import ROUTES
from app.routes.requests import Refusal, answer_error
from app.state import BROWSER_COOKIE, identity_of
from app.streamlit_internals import disable_nagle, inline_scripts
from oga_core import InputError
from oga_core.addresses import is_loopback, list_origins, origin_of
from oga_core.children import end_with_parent
from oga_core.errors import one_line
from oga_core.floors import check_floors
from oga_core.serving import TOKEN, new_token, token_cookie

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb")
    ),
}


def _hash_scripts(scripts: list[bytes]) -> str:
    return " ".join(f"'sha256-{b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts)


# Streamlit imports the scripts of our components from blobs and writes its styles into the page; nothing else is let off.
POLICY = "; ".join(
    (
        "default-src 'self'",
        f"script-src 'self' blob: {_hash_scripts(inline_scripts())}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "connect-src 'self' ws://{host} wss://{host}",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
FOR_USERS = ("/oga/", "/media/", "/_stcore/metrics", "/_stcore/upload_file")
"""Paths that, where a login is set up, are answered only to who has logged in; the pages ask for that themselves."""
OWN_PAGES_ONLY = ("/oga/", "/auth/logout")
"""Paths whose GET is costly or changes something."""
MOST_REFUSED = 20
"""Foreign origins that are written to the log."""
HOST = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


class Headers:
    """Adds the headers of every answer, and a cookie by which a browser finds its reviewer's name again.

    What fails in a way that nobody foresaw is answered from here, for it needs the headers too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._add(scope, message)
            await send(message)

        try:
            await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await answer_error(error)(scope, receive, with_headers)

    @staticmethod
    def _add(scope: MutableMapping[str, Any], message: Message) -> None:
        headers, asked = MutableHeaders(scope=message), HTTPConnection(scope)
        for name, value in HEADERS.items():
            headers[name] = value
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]  # Streamlit lets pages of every port of this machine read its answers
        host = asked.headers.get("host", "")
        headers["Content-Security-Policy"] = POLICY.replace("{host}", host if HOST.fullmatch(host) else "'none'")
        page = headers.get("content-type", "").startswith("text/html")
        if page and BROWSER_COOKIE not in asked.cookies:
            headers.append(
                "set-cookie", f"{BROWSER_COOKIE}={uuid.uuid4().hex}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
            )


class Door:
    """Lets in requests to a name that this server has and, where it listens beyond this machine, with its launch token.

    A websocket is opened, and a request that changes something is answered, for a page of this server's own origin only: scheme,
    host and port. Cookies are the same for every port: without this, a page on any port of the machine could send requests as
    its user.

    The token comes once in the address, from there on in a cookie so strict that a browser does not send it along when it comes
    from elsewhere, by a link in a mail or from a login. Then a page of our own asks again.

    Parameters
    ----------
    hosts
        Names and addresses that are allowed in the Host header.
    origins
        Values that are allowed in the Origin header, as `origin_of` writes them.
    token
        The launch token; None where none is asked for.
    cookie
        Name of the cookie with the token.
    login
        Whether our routes answer only users who have logged in; the pages ask for that themselves.
    """

    def __init__(
        self, app: ASGIApp, hosts: list[str], origins: list[str], token: str | None, cookie: str, login: bool = False
    ) -> None:
        self.app, self.hosts, self.token, self.cookie = app, {host.lower() for host in hosts}, token, cookie
        self.origins, self.login = frozenset(origins), login
        self.refused: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        refusal = self._find_refusal(asked)
        if refusal is None and scope["type"] == "websocket":
            with presence.count_connection(identity_of(user_of(asked.cookies), asked.cookies.get(BROWSER_COOKIE, ""))):
                await self.app(scope, receive, send)
        elif refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not let in"})
        else:
            await refusal(scope, receive, send)

    def _find_refusal(self, asked: HTTPConnection) -> Response | None:
        """Return the refusal of a request; None where it is allowed."""
        host = asked.headers.get("host", "")
        if not HOST.fullmatch(host) or (urlsplit(f"//{host}").hostname or "") not in self.hosts:
            return page(
                400, "This server does not go by that name", "The person who started it can add the name: oga serve --host NAME."
            )
        if self._is_page(asked) and not any(urlsplit(origin).netloc == host.lower() for origin in self.origins):
            return page(
                400,
                "This server is not reached at this address",
                f"A tunnel or proxy leads here from http://{host}. Start the server with this address named: "
                f"oga serve --origin http://{host} (https:// where the proxy has TLS).",
            )
        if not self._is_from_own_page(asked):
            return answer_error(
                Refusal(
                    403,
                    "This is taken from the pages of this server only. Behind a tunnel or proxy, start it "
                    "with the address in the browser named: oga serve --origin URL.",
                )
            )
        if self.token is not None and not self._is_token(asked.cookies.get(self.cookie, "")):
            return self._answer_without_token(asked, self.token)
        if self.login and asked.scope["path"].startswith(FOR_USERS) and user_of(asked.cookies) is None:
            return answer_error(Refusal(401, "Log in first."))
        return None

    @staticmethod
    def _is_page(asked: HTTPConnection) -> bool:
        """Return whether a browser wants to show the answer to its user."""
        return asked.scope["type"] == "http" and asked.headers.get("sec-fetch-dest") == "document"

    def _is_from_own_page(self, asked: HTTPConnection) -> bool:
        """Return whether a request may come from any page, or comes from one of this server's."""
        origin, site = asked.headers.get("origin"), asked.headers.get("sec-fetch-site", "same-origin")
        if asked.scope["type"] == "websocket" or asked.scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            own = origin in self.origins and site == "same-origin"
        else:  # a GET has no Origin; of those that do something, browsers say where they come from
            own = site in ("same-origin", "none") or not asked.scope["path"].startswith(OWN_PAGES_ONLY)
        if not own and origin is not None and len(self.refused) < MOST_REFUSED and origin not in self.refused:
            self.refused.add(origin)
            print(
                f"oga: refused a page of {one_line(origin)[:200]}; if this is the address of a proxy or tunnel of yours, start "
                f"oga serve with --origin",
                file=sys.stderr,
            )
        return own

    def _answer_without_token(self, asked: HTTPConnection, token: str) -> Response:
        given = asked.query_params.get("token", "")
        if asked.scope["type"] == "http" and self._is_token(given):
            known = _repeat_without_token(asked)
            known.set_cookie(self.cookie, token, path="/", httponly=True, samesite="strict")
            return known
        headers = asked.headers
        if (
            headers.get("sec-fetch-site") in ("cross-site", "same-site")
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
            and asked.scope.get("method") == "GET"
        ):
            return _repeat_without_token(asked)
        return page(
            403,
            "This dashboard asks for its launch token",
            "oga serve has printed an address that ends in token=…; open that one. "
            + ("This token is not the one of the server that runs now." if given else ""),
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), str(self.token).encode())


def _repeat_without_token(asked: HTTPConnection) -> HTMLResponse:
    """Return a page that repeats the request without the token: from here, so that the browser sends its strict cookie along."""
    left = [
        pair for pair in parse_qsl(asked.scope["query_string"].decode("latin-1"), keep_blank_values=True) if pair[0] != "token"
    ]
    to = "/" + quote(asked.scope["path"].lstrip("/")) + ("?" + urlencode(left) if left else "")
    return page(200, "One moment …", "", f'<meta http-equiv="refresh" content="0; url={html.escape(to)}">')


def page(status: int, title: str, words: str, head: str = "") -> HTMLResponse:
    """Return a page without Streamlit: a title and a line of plain words."""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<title>OGA</title>{head}</head><body style="font: 1rem/1.5 sans-serif; max-width: 40rem; margin: 4rem auto">'
        f"<h1>{html.escape(title)}</h1><p>{html.escape(words)}</p></body></html>",
        status,
        {"Cache-Control": "no-store"},
    )


def tell_and_log(error: Exception) -> bool:
    """Log an unexpected error with its traceback, and show the browser only a number to find it by."""
    number = uuid.uuid4().hex[:8]
    logging.getLogger("oga").error("error %s on the page", number, exc_info=error)
    st.error(f"Something went wrong here. The server's log has the details under {number}.", icon=":material/error:")
    return True


def _token() -> str | None:
    """Return the launch token in the environment; else, where the server listens beyond this machine, one of our own."""
    if token := os.environ.get(TOKEN):
        return token
    address = st.get_option("server.address")
    if address and is_loopback(address):
        return None
    token = new_token()
    print(f"OGA asks for its launch token: open the address with ?token={token}", file=sys.stderr)
    return token


def _origins() -> list[str]:
    """Return the origins of this server's pages: its names with its port, and those that `oga serve --origin` has named."""
    scheme, port = "https" if st.get_option("server.sslCertFile") else "http", st.get_option("server.port")
    names = [f"[{name}]" if ":" in name else name for name in st.get_option("server.allowedHosts")]
    own = [origin_of(f"{scheme}://{name}:{port}") for name in names]
    return [*own, *list_origins()]


end_with_parent()
disable_nagle()
try:
    check_floors()
    check_login()
except InputError as error:
    sys.exit(f"oga: {error}")

app = st.App(
    Path(__file__).with_name("main.py"),
    routes=ROUTES,
    middleware=[
        Middleware(Headers),
        Middleware(
            Door,
            hosts=st.get_option("server.allowedHosts"),
            origins=_origins(),
            token=_token(),
            cookie=token_cookie(st.get_option("server.port")),
            login=is_asked_for(),
        ),
    ],
    on_script_error=tell_and_log,
)
