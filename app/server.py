"""What `oga serve` runs: the pages, the routes beside them, and the headers of every answer."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.routes import ROUTES
from app.state import BROWSER_COOKIE

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "no-referrer"}


class Headers:
    """Adds the headers of every answer, and a cookie by which a browser finds its reviewer's name again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(scope, message)
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)

    @staticmethod
    def _add(scope: MutableMapping[str, Any], message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers[name] = value
        asked = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
        page = headers.get("content-type", "").startswith("text/html")
        if page and f"{BROWSER_COOKIE}=" not in asked:
            headers.append(
                "set-cookie", f"{BROWSER_COOKIE}={uuid.uuid4().hex}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"
            )


def _without_delay(connection: socket.socket) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# Streamlit makes its socket without naming TCP as its protocol. asyncio then leaves Nagle's algorithm on, by which the body
# of every answer waits 40 ms for the browser's acknowledgement of its head.
asyncio.base_events._set_nodelay = _without_delay  # type: ignore[attr-defined]


def tell_and_log(error: Exception) -> bool:
    """What the browser is shown where something went wrong that nobody foresaw: a number to find it by, no traceback."""
    number = uuid.uuid4().hex[:8]
    logging.getLogger("oga").error("error %s on the page", number, exc_info=error)
    st.error(f"Something went wrong here. The server's log has the details under {number}.", icon=":material/error:")
    return True


app = st.App(
    Path(__file__).with_name("main.py"),
    routes=ROUTES,
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=st.get_option("server.allowedHosts")), Middleware(Headers)],
    on_script_error=tell_and_log,
)
