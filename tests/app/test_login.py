"""Where a login is set up, who has logged in is the reviewer, on the pages and in the routes, and nobody else is answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from app import login, state
from app.streamlit_internals import USER_COOKIE
from oga_core import InputError, Run, decisions
from oga_core.addresses import free_port
from tests.app.conftest import ORIGIN, browser, named

SECRET = "a secret of the server, long enough to sign with"
ANN = {"is_logged_in": True, "email": "ann@example.org", "name": "Ann", "origin": ORIGIN}


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose owner has set up a login."""
    monkeypatch.setattr("app.login.login_settings", lambda: {"cookie_secret": SECRET})
    monkeypatch.setattr("streamlit.web.server.starlette.starlette_websocket.get_cookie_secret", lambda: SECRET)


def logged_in(monkeypatch: pytest.MonkeyPatch, **claims: Any) -> None:
    monkeypatch.setattr(login.st, "user", SimpleNamespace(to_dict=lambda: claims))


@pytest.fixture
def client(workspace: object) -> Iterator[TestClient]:
    with browser(login=True) as client:
        yield client


def cookie(known: Any, secret: str = SECRET, name: str = USER_COOKIE) -> str:
    import json

    return create_signed_value(secret, name, json.dumps(known)).decode()


def keep(client: TestClient, run: Run) -> Any:
    return client.post("/oga/decide", json={"run": run.id, "op": "o", "action": "keep", "label": "", "samples": [[3, 0]]})


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "ann@example.org", "name": "Ann"}, "ann@example.org"),
        ({"name": "Ann"}, "Ann"),
        ({"sub": "1234"}, "1234"),
        ({"email": "", "name": None, "sub": "1234"}, "1234"),
        ({}, None),
    ],
)
def test_the_reviewer_is_who_has_logged_in(
    monkeypatch: pytest.MonkeyPatch, workspace: object, claims: dict[str, Any], name: str | None
) -> None:
    logged_in(monkeypatch, is_logged_in=True, **claims)
    assert login.user() == name
    logged_in(monkeypatch, is_logged_in=False, **claims)
    assert login.user() is None


def test_on_the_page_the_name_of_who_has_logged_in_cannot_be_changed(
    open_page: Callable[..., AppTest], run: Run, monkeypatch: pytest.MonkeyPatch, set_up: None
) -> None:
    logged_in(monkeypatch, **ANN)
    at = open_page("review", run=run.id)
    assert "ann@example.org" in [t.value for t in at.text]
    assert "Reviewer" not in [t.label for t in at.text_input]
    assert {b.key for b in at.button} >= {"log_out"}


def test_who_has_not_logged_in_sees_a_button_and_nothing_of_the_data(
    monkeypatch: pytest.MonkeyPatch, open_page: Callable[..., AppTest], run: Run, set_up: None
) -> None:
    logged_in(monkeypatch, is_logged_in=False)
    at = open_page("start", run=run.id)
    assert [b.key for b in at.button] == ["log_in"]
    assert run.title not in str([t.value for t in at.text])


def test_without_a_login_set_up_the_pages_are_as_they_were(open_page: Callable[..., AppTest], run: Run) -> None:
    at = open_page("review", run=run.id)
    assert "Reviewer" in [t.label for t in at.text_input]
    assert login.user() is None


def test_a_decision_is_of_who_has_logged_in_whatever_name_the_browser_had(client: TestClient, run: Run, set_up: None) -> None:
    named("Mallory", "b1")
    client.cookies.set(state.BROWSER_COOKIE, "b1")
    client.cookies.set(USER_COOKIE, cookie(ANN))
    assert keep(client, run).status_code == 200
    assert [d.reviewer for d in decisions(run).values()] == ["ann@example.org"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "ann@example.org",
        cookie(ANN, "another secret"),
        cookie(ANN, name="another_cookie"),
        cookie(ANN)[:-1],
        cookie(ANN | {"is_logged_in": False}),
        cookie([1]),
        cookie("ann"),
    ],
    ids=["none", "empty", "plain", "another secret", "another name", "cut", "not logged in", "a list", "a string"],
)
def test_no_route_answers_who_has_not_logged_in(client: TestClient, run: Run, set_up: None, given: str | None) -> None:
    if given is not None:
        client.cookies.set(USER_COOKIE, given)
    for answer in (keep(client, run), client.get(f"/oga/classes/{run.id}"), client.get(f"/oga/image/{run.id}/0/160")):
        assert answer.status_code == 401
        assert answer.json() == {"error": "Log in first."}
    assert not decisions(run)


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/media/x.png", "/_stcore/upload_file/a/b", "/oga/classes/x"])
def test_metrics_and_files_too_are_for_people_who_have_logged_in(client: TestClient, set_up: None, path: str) -> None:
    assert client.get(path).status_code == 401
    client.cookies.set(USER_COOKIE, cookie(ANN))
    assert client.get(path).status_code == 404  # let through to the routes, which have none of that name here


def test_without_a_login_metrics_are_answered_as_before(workspace: object) -> None:
    with browser() as client:
        assert client.get("/_stcore/metrics").status_code == 404


@pytest.mark.parametrize("secret", ["", "short", "a long random string", "x" * 64, "abcabcabc" * 10, SECRET[:31]])
def test_a_secret_that_can_be_guessed_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setattr("app.login.login_settings", lambda: {"cookie_secret": secret, "client_id": "x"})
    with pytest.raises(InputError, match=r"cookie_secret in .* has \d+ characters.*at least 32"):
        login.check_login()


def test_a_login_without_its_library_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, set_up: None) -> None:
    monkeypatch.setattr("app.login.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs authlib: pip install 'oga-core\[login\]'"):
        login.check_login()


def test_a_login_that_is_set_up_well_and_none_at_all_are_taken(monkeypatch: pytest.MonkeyPatch, set_up: None) -> None:
    monkeypatch.setattr("app.login.find_spec", lambda name: object())
    login.check_login()
    monkeypatch.setattr("app.login.login_settings", lambda: {})
    login.check_login()


def test_a_server_with_a_short_secret_does_not_start(tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\ncookie_secret = "short"\nclient_id = "x"\n')
    started = subprocess.run(
        [sys.executable, "-m", "oga_core.cli", "serve", "--no-browser", "--port", str(free_port()), "--workspace", "w"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert started.returncode == 2
    assert "cookie_secret" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_cookie_means_nothing_where_no_login_is_set_up(run: Run) -> None:
    assert login.user_of({USER_COOKIE: cookie(ANN)}) is None
