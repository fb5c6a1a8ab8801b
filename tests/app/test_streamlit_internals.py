"""The private parts of Streamlit and asyncio are there, as `app.streamlit_internals` uses them."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import streamlit
from streamlit import auth_util
from streamlit.web.server.starlette import starlette_server_config, starlette_websocket
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from app import streamlit_internals

TRIED = ("1.67.0",)
T = TypeVar("T")
SOURCES = [path for folder in ("app", "oga_core") for path in (Path(__file__).parents[2] / folder).rglob("*.py")]
PRIVATE = re.compile(
    r"\bfrom streamlit\.|\bfrom streamlit import|\bimport streamlit\.|\bst\.(runtime|web|proto|delta_generator)\b"
    r"|\bst\.[\w.]*\._|\basyncio\.[\w.]*\b_[a-z]\w*|st\.__file__"
)


def run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, in a thread without a loop: Playwright's may run in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_the_installed_streamlit_is_one_that_was_tried() -> None:
    assert streamlit.__version__ in TRIED, (
        f"Streamlit {streamlit.__version__} was not tried. Read its release notes, run tests/app and tests/browser "
        "(login cookie, Content-Security-Policy, components v2), look at the screenshots (OGA_SCREENSHOTS=1), and add "
        "the version to TRIED."
    )


def test_no_other_module_uses_a_private_part() -> None:
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in SOURCES
        if path.name != "streamlit_internals.py"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert found == [], "move these to app/streamlit_internals.py"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (auth_util.get_secrets_auth_section, []),
        (starlette_websocket._get_signed_cookie_with_chunks, ["cookies", "cookie_name"]),
        (asyncio.base_events._set_nodelay, ["sock"]),  # type: ignore[attr-defined]
    ],
)
def test_a_private_function_takes_what_we_give(function: Any, parameters: list[str]) -> None:
    if function is streamlit_internals._set_nodelay:  # another test has imported the server
        parameters = ["connection"]
    assert list(inspect.signature(function).parameters) == parameters


def test_the_user_cookie_is_read_whole_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, name = "a secret of the server, long enough to sign with", starlette_server_config.USER_COOKIE_NAME
    monkeypatch.setattr(starlette_websocket, "get_cookie_secret", lambda: secret)

    def sign(key: str, value: str) -> str:
        return create_signed_value(secret, key, value).decode()

    assert name == streamlit_internals.USER_COOKIE == "_streamlit_user"
    assert streamlit_internals.read_user_cookie({name: sign(name, "{}")}) == b"{}"
    chunks = {name: sign(name, "chunks-2"), f"{name}_1": sign(f"{name}_1", '{"a"'), f"{name}_2": sign(f"{name}_2", ":1}")}
    assert streamlit_internals.read_user_cookie(chunks) == b'{"a":1}'
    assert streamlit_internals.read_user_cookie({}) is None
    assert streamlit_internals.read_user_cookie({name: sign("other", "{}")}) is None


def test_streamlits_page_has_inline_scripts_and_none_that_the_policy_would_miss() -> None:
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text("utf-8")
    scripts = streamlit_internals.inline_scripts()
    assert len(scripts) == len(re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page))


@pytest.fixture
def restored() -> Iterator[None]:
    before = asyncio.base_events._set_nodelay  # type: ignore[attr-defined]
    yield
    asyncio.base_events._set_nodelay = before  # type: ignore[attr-defined]


def test_a_connection_whose_protocol_is_not_named_sends_at_once(restored: None) -> None:
    async def nodelay() -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            done.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # as Streamlit opens it: protocol 0
        listening.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(accepted, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            found = await asyncio.wait_for(done, 10)
            writer.close()
        return found

    streamlit_internals.disable_nagle()
    assert run_in_thread(nodelay()) != 0


def test_answers_do_not_wait_for_the_browser_to_acknowledge_their_head() -> None:
    import app.server  # noqa: F401  which sets it for the process

    async def delayed() -> bool:
        with socket.socket(socket.AF_INET) as listening:  # without a protocol, as Streamlit makes it
            listening.bind(("127.0.0.1", 0))
            taken: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(lambda _, writer: taken.set_result(writer), sock=listening)
            _, asking = await asyncio.open_connection(*listening.getsockname())
            answering = await taken
            no_delay = answering.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (asking, answering):
                writer.close()
            server.close()
            return not no_delay

    assert not run_in_thread(delayed())
