"""The private parts of Streamlit and asyncio that the dashboard uses.

No other module touches a private part. `tests/app/test_streamlit_internals.py` checks each one and names the versions tried.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import auth_util
from streamlit.web.server.starlette import starlette_server_config, starlette_websocket

USER_COOKIE: str = starlette_server_config.USER_COOKIE_NAME
"""Name of the cookie in which Streamlit keeps who is logged in."""


def login_settings() -> Mapping[str, Any]:
    """Return the section ``[auth]`` of Streamlit's secrets; empty where no login is set up."""
    return auth_util.get_secrets_auth_section()


def read_user_cookie(cookies: Mapping[str, str]) -> bytes | None:
    """Return the content of the cookie of the user, JSON; None where it is missing or its signature is wrong."""
    return starlette_websocket._get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE)


def inline_scripts() -> list[bytes]:
    """Return the scripts inside Streamlit's own page."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_bytes()
    return re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)


def disable_nagle() -> None:
    """Have asyncio send small answers at once.

    Streamlit opens its socket without naming TCP as the protocol. asyncio then leaves Nagle's algorithm on, and the body of
    each answer waits 40 ms for the browser's acknowledgement of its head.
    """
    asyncio.base_events._set_nodelay = _set_nodelay  # type: ignore[attr-defined]


def _set_nodelay(connection: socket.socket) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
