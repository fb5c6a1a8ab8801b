"""The user who is logged in, where the owner of the server has set up a login (``[auth]`` in Streamlit's secrets)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import streamlit as st

from app.streamlit_internals import login_settings, read_user_cookie
from oga_core import InputError

SECRET_CHARACTERS, SECRET_DISTINCT = 32, 10
"""Fewest characters, and fewest different ones among them, of the secret of the cookies."""


def is_asked_for() -> bool:
    """Return whether only users who have logged in may see anything."""
    return bool(login_settings())


def check_login() -> None:
    """Refuse a login that is set up in a way that does not protect.

    Raises
    ------
    InputError
        If the secret that cookies are signed with can be guessed, or what the login needs is not installed.
    """
    section = login_settings()
    if not section:
        return
    secret = str(section.get("cookie_secret", ""))
    if len(secret) < SECRET_CHARACTERS or len(set(secret)) < SECRET_DISTINCT:
        raise InputError(
            f"[auth] cookie_secret in .streamlit/secrets.toml has {len(secret)} characters, {len(set(secret))} of them "
            f"different: anybody who guesses it can log in as anybody. Make one of at least {SECRET_CHARACTERS}: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    if find_spec("authlib") is None:
        raise InputError("[auth] in .streamlit/secrets.toml sets up a login, which needs authlib: pip install 'oga-core[login]'")


def user() -> str | None:
    """Return the user who looks at this page; None for nobody known."""
    return _user_name(st.user.to_dict())


def user_of(cookies: Mapping[str, str]) -> str | None:
    """Return the user who sends a request, by Streamlit's cookie, which the secret of the server signs."""
    if not is_asked_for():
        return None
    signed = read_user_cookie(cookies)
    if signed is None:
        return None
    try:
        known = json.loads(signed)
    except ValueError:
        return None
    return _user_name(known) if isinstance(known, dict) else None


def draw() -> None:
    """Draw the page of a user who has not logged in."""
    st.title("OGA")
    st.text("This dashboard is for people who have logged in.")
    st.button("Log in", type="primary", icon=":material/login:", on_click=st.login, key="log_in")


def _user_name(known: Mapping[str, Any]) -> str | None:
    """Return the e-mail address, which nobody else has, else the name, else what the provider calls them."""
    if not known.get("is_logged_in"):
        return None
    return next((str(known[claim]) for claim in ("email", "name", "sub") if known.get(claim)), None)
