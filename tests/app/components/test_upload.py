"""What is dropped on the page: sent to a route, written as it comes, and taken up by the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app.components import start_form, upload as module
from app.routes import ROUTES, uploads
from oga_core import Workspace
from tests.app.conftest import ORIGIN, behind_the_door

OWN = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "content-type": "application/octet-stream"}


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(behind_the_door(), ORIGIN, headers=OWN) as client:
        yield client


def files(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.path / "uploads").rglob("*") if p.is_file())


def test_a_file_is_on_disk_as_it_was_sent_and_the_page_finds_it(client: TestClient, workspace: Workspace) -> None:
    data = bytes(range(256)) * 20_000  # five parts
    answer = client.post("/oga/upload", params={"name": "r\u202eg &=%.csv"}, content=data)
    assert answer.status_code == 200
    kept = answer.json()
    assert kept == {"content": kept["content"], "name": "r\u202eg &=%.csv", "bytes": len(data)}
    assert workspace.uploaded(kept["content"], kept["name"]).read_bytes() == data


def test_the_same_file_twice_is_one(client: TestClient, workspace: Workspace) -> None:
    answers = [client.post("/oga/upload", params={"name": "a.csv"}, content=b"a").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(files(workspace)) == 1


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\0b", "n" * 256])
def test_a_name_that_no_file_can_have_is_refused(client: TestClient, workspace: Workspace, name: str) -> None:
    answer = client.post("/oga/upload", params={"name": name}, content=b"data")
    assert answer.status_code == 400
    assert "rename the file" in answer.json()["error"]
    assert files(workspace) == []


def test_an_empty_file_is_refused(client: TestClient, workspace: Workspace) -> None:
    answer = client.post("/oga/upload", params={"name": "a.csv"}, content=b"")
    assert (answer.status_code, answer.json()["error"]) == (400, "'a.csv' is empty (0 bytes)")
    assert files(workspace) == []


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_the_limit_is_refused_whether_announced_or_not(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setenv("OGA_LIMIT_UPLOAD_BYTES", "10")
    content: Any = b"x" * 11 if announced else iter([b"x" * 6, b"x" * 5])
    answer = client.post("/oga/upload", params={"name": "a.csv"}, content=content)
    assert answer.status_code == 400
    assert "the limit upload_bytes is 10 bytes" in answer.json()["error"]
    assert files(workspace) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.test", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://evil.test", "sec-fetch-site": "same-origin"}, 403),
        ({"origin": ORIGIN, "sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-length": "-1"}, 400),
        ({"content-length": "9" * 13}, 400),
    ],
)
def test_what_no_page_of_ours_sends_is_refused(
    client: TestClient, workspace: Workspace, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/oga/upload", params={"name": "a.csv"}, content=b"data", headers=OWN | headers)
    assert answer.status_code == status
    assert files(workspace) == []


def test_a_full_disk_is_told_with_the_file_and_the_reason(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("oga_core.runs.upload.Upload.write", full)
    answer = client.post("/oga/upload", params={"name": "a.csv"}, content=b"data")
    assert (answer.status_code, answer.json()["error"]) == (503, "'a.csv' could not be kept: No space left on device.")
    assert files(workspace) == []


def arrives(parts: list[bytes], then: Callable[[], Any], name: str = "a.csv") -> dict[str, Any]:
    """Send parts, then whatever `then` answers, straight to the application; returns the start of its answer."""

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": True} if parts else then()

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(k.encode(), v.encode()) for k, v in {**OWN, "host": "127.0.0.1:8501"}.items()]
    scope = {"type": "http", "method": "POST", "path": "/oga/upload", "query_string": f"name={name}".encode(), "headers": headers}
    asyncio.run(Starlette(routes=ROUTES)(scope, receive, send))
    return sent[0]


def test_a_connection_that_is_cut_leaves_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 3)
    there: list[int] = []

    def cut() -> dict[str, str]:
        there.extend(p.stat().st_size for p in files(workspace))
        return {"type": "http.disconnect"}

    assert arrives([b"1234", b"5678"], cut)["status"] == 400
    assert len(there) == 1
    assert files(workspace) == []


def test_never_more_than_a_part_is_in_memory(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 1000)
    written: list[int] = []
    before = module.state.workspace().upload

    def upload(*given: Any) -> Any:
        made = before(*given)
        write = made.write

        def write_counted(part: bytes) -> None:
            written.append(len(part))
            write(part)

        monkeypatch.setattr(made, "write", write_counted)
        return made

    monkeypatch.setattr("oga_core.Workspace.upload", lambda _, *given: upload(*given))
    arrives([b"x" * 400] * 50, lambda: {"type": "http.request", "body": b"", "more_body": False})
    assert sum(written) == 20_000
    assert max(written) < 1400


def test_two_tabs_send_the_same_name_at_once(client: TestClient, workspace: Workspace) -> None:
    answers: dict[int, Any] = {}

    def send(tab: int) -> None:
        answers[tab] = client.post("/oga/upload", params={"name": "a.csv"}, content=bytes([tab]) * 3_000_000).json()

    threads = [threading.Thread(target=send, args=(tab,)) for tab in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tab, kept in answers.items():
        assert workspace.uploaded(kept["content"], "a.csv").read_bytes() == bytes([tab]) * 3_000_000


# ---- what the page makes of it ---------------------------------------------------------------------------------------------
def mounted(at: AppTest) -> list[dict[str, Any]]:
    """What the elements on the page were given."""
    import json

    return [json.loads(e.proto.json) for e in at.get("bidi_component") if e.proto.component_name == "oga_upload"]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> dict[str, Any]:
    """A session in which nothing has been dropped."""
    session: dict[str, Any] = {}
    monkeypatch.setattr(module.st, "session_state", session)
    return session


def test_the_page_takes_up_what_was_kept_and_forgets_what_is_taken_away(session: dict[str, Any], workspace: Workspace) -> None:
    with workspace.upload("a.csv") as upload:
        upload.write(b"a")
        path = upload.keep()
    session["x"] = SimpleNamespace(file={"content": path.parent.name, "name": "a.csv"})
    module._take("x")
    assert session[module.session_key("x")] == path
    session["x"] = SimpleNamespace(file={})
    module._take("x")
    assert module.session_key("x") not in session


@pytest.mark.parametrize("sent", [None, "a.csv", 3, ["a"]])
def test_what_no_element_of_ours_says_is_ignored(session: dict[str, Any], sent: object) -> None:
    session["x"] = SimpleNamespace(file=sent)
    module._take("x")
    assert list(session) == ["x"]


@pytest.mark.parametrize(
    "sent",
    [
        {"name": "a.csv"},
        {"content": "../..", "name": "passwd"},
        {"content": "..", "name": "oga.sqlite"},
        {"content": 3, "name": None},
        {"content": "0" * 32, "name": "a.csv"},
    ],
)
def test_a_browser_that_lies_opens_nothing(session: dict[str, Any], sent: object) -> None:
    session["x"] = SimpleNamespace(file=sent)
    module._take("x")
    assert set(session) == {"x", "x-error", "x-seen"}


def test_the_place_says_what_is_taken_and_how_much(open_page: Callable[..., AppTest]) -> None:
    at = open_page("start")
    at.segmented_control(key="way").set_value(start_form.WAYS[1]).run()
    (given,) = mounted(at)
    assert given["label"] == "Data"
    assert {".zip", ".csv", ".npz"} <= set(given["suffixes"])
    assert given["most"] == 4 << 30
    assert given["marks"] == ["dataset_info.json", "dataset_dict.json"]
    assert given["stored"] is None
