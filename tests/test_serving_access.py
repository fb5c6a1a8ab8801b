"""Who can reach the server: its address, its names, and its token."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oga_core import InputError, Workspace, addresses, serving


def test_beyond_this_machine_the_server_goes_by_its_address_and_the_names_it_was_given() -> None:
    def hosts(*given: Any) -> list[str]:
        return [word.partition("=")[2] for word in serving.command(8600, *given) if word.startswith("--server.allowedHosts")]

    assert hosts("192.0.2.7") == ["127.0.0.1", "localhost", "192.0.2.7"]
    assert hosts("0.0.0.0", ["gpu7", "gpu7.example.org"]) == ["127.0.0.1", "localhost", "gpu7", "gpu7.example.org"]
    assert hosts("::", ["gpu7"]) == ["127.0.0.1", "localhost", "::1", "gpu7"]


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("10.0.0.1", False),
        ("fe80::1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_what_others_can_reach_is_told_from_what_only_this_machine_can(address: str, only_here: bool) -> None:
    assert addresses.is_loopback(address) is only_here


def started_with(monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[serving.Dashboard, dict[str, str], list[str]]:
    """What the server would be started with, without starting it: URL, environment, command."""
    seen: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: seen.append((env, command)))
    monkeypatch.setattr(serving, "_healthy", lambda *_: True)
    return serving.serve(Workspace(), port=addresses.free_port(), **given), *seen[0]


@pytest.mark.parametrize("page", ["", "?run=x", "review?run=x"])
def test_beyond_this_machine_the_url_has_a_new_token_that_no_list_of_processes_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str
) -> None:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path))
    tokens = set()
    for _ in range(2):
        dashboard, environment, command = started_with(monkeypatch, address="0.0.0.0", hosts=["gpu7"], page=page)
        token = environment[serving.TOKEN]
        assert len(token) >= 43
        assert token not in " ".join(command)
        assert re.fullmatch(rf"http://gpu7:\d+/{re.escape(page)}[?&]token={token}", dashboard.url)
        assert dashboard.url.count("?") == 1
        tokens.add(token)
    assert len(tokens) == 2


def test_on_this_machine_alone_there_is_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path))
    monkeypatch.setenv(serving.TOKEN, "of another server")
    dashboard, environment, _ = started_with(monkeypatch)
    assert not environment[serving.TOKEN]
    assert "token" not in dashboard.url


@pytest.mark.parametrize("host", ["*", "*.example.org", "gpu7:80", "http://gpu7", "", "a b", "gpu7/x", "gpu7\n"])
def test_what_is_no_name_of_a_machine_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="a name such as"):
        serving.serve(Workspace(tmp_path), address="0.0.0.0", hosts=[host])


def test_all_addresses_of_a_machine_need_a_name_to_go_by(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"say by which name it is reached \(--host NAME\)"):
        serving.serve(Workspace(tmp_path), address="0.0.0.0")


@pytest.mark.parametrize("address", ["192.0.2.1", "no such name", ""])
def test_an_address_that_is_not_of_this_machine_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="cannot listen on"):
        serving.serve(Workspace(tmp_path), port=addresses.free_port(), address=address)
