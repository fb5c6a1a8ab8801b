"""The name of the reviewer at a browser."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app import login, state
from app.routes.requests import Refusal, answer_json, find_reviewer, read_text
from oga_core.review import name_reviewer


def name(request: Request, sent: dict[str, Any]) -> Response:
    """Enter the name of this browser's reviewer."""
    if login.user_of(request.cookies) is not None:
        raise Refusal(409, "Who has logged in has the name of the login.")
    name_reviewer(state.workspace(), find_reviewer(request).identity, read_text(sent, "name"))
    return answer_json({"name": find_reviewer(request).name})
