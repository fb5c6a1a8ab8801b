"""How the dashboard's server is started, as far as that can be said without starting it."""

from __future__ import annotations

import html
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from oga_core import InputError, Workspace, addresses, launch, serving
from tests.test_serving_access import started_with

CONFIG = Path(__file__).parent.parent / ".streamlit" / "config.toml"


def flags(port: int = 8600) -> list[str]:
    return [word for word in serving.command(port) if word.startswith("--")]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://oga.example.org", "https://oga.example.org"),
        ("HTTPS://OGA.example.org:443/", "https://oga.example.org"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://x:80", "http://x"),
        ("https://x:80", "https://x:80"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert addresses.origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "x:1",
        "ftp://x",
        "https://",
        "https://x/y",
        "https://a@x",
        "https://x:y",
        "https://x:99999",
        "*",
        "https://*",
        "null",
        "https://x?y",
        "https://x y",
        "https://[x",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="the address of a page is needed"):
        addresses.origin_of(url)


def test_the_server_is_our_own_file_and_never_one_that_lies_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "server.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    command = serving.command(8600)
    assert command[:2] == ["streamlit", "run"]
    assert Path(command[2]) == Path(serving.__file__).parent.parent / "app" / "server.py"


def test_the_server_listens_on_this_machine_only_whatever_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_config", lambda: {"server": {"address": "0.0.0.0", "port": 1}})
    assert flags() == ["--server.address=127.0.0.1", "--server.port=8600", "--server.allowedHosts=127.0.0.1"]


def test_every_setting_is_given_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = flags()
    for section, settings in tomllib.loads(CONFIG.read_text("utf-8")).items():
        for key, value in settings.items():
            if not isinstance(value, dict | list):
                written = str(value).lower() if isinstance(value, bool) else str(value)
                assert f"--{section}.{key}={written}" in found
    assert "--browser.gatherUsageStats=false" in found
    assert "--client.showErrorDetails=none" in found
    assert "--server.enableXsrfProtection=true" in found


def test_nested_sections_truths_and_lists_are_written_as_streamlit_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"theme": {"light": {"textColor": "#000"}}, "server": {"runOnSave": False, "allowedHosts": ["a", "b"]}}
    monkeypatch.setattr(serving, "_config", lambda: settings)
    assert flags()[:4] == [
        "--theme.light.textColor=#000",
        "--server.runOnSave=false",
        "--server.allowedHosts=a",
        "--server.allowedHosts=b",
    ]


def test_a_free_port_can_be_bound_on_this_machine() -> None:
    port = addresses.free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    assert 1024 <= port < 65536


def test_a_taken_port_is_refused_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a server was started"))
    run = Workspace(tmp_path).new_run("a run")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use; choose another"):
            serving.serve(run.workspace, port=port)
        with pytest.raises(InputError, match=f"port {port} is in use"):
            launch(run, port=port, browser=False)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_what_is_no_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(InputError, match="a port is a number from 1 to 65535"):
        serving.serve(Workspace(tmp_path), port=port)


@pytest.mark.parametrize(
    ("address", "names", "listens", "url", "allowed", "only_here"),
    [
        ("127.0.0.1", {}, "127.0.0.1", "127.0.0.1", ["127.0.0.1", "localhost"], True),
        ("127.0.0.2", {}, "127.0.0.2", "127.0.0.2", ["127.0.0.1", "localhost", "127.0.0.2"], True),
        ("::1", {}, "::1", "[::1]", ["127.0.0.1", "localhost", "::1"], True),
        ("[::1]", {}, "::1", "[::1]", ["127.0.0.1", "localhost", "::1"], True),
        ("0:0::1", {}, "::1", "[::1]", ["127.0.0.1", "localhost", "::1"], True),
        ("::ffff:127.0.0.1", {}, "127.0.0.1", "127.0.0.1", ["127.0.0.1", "localhost"], True),
        ("::ffff:192.0.2.7", {}, "192.0.2.7", "192.0.2.7", ["127.0.0.1", "localhost", "192.0.2.7"], False),
        ("localhost", {"localhost": ["127.0.0.1"]}, "127.0.0.1", "localhost", ["127.0.0.1", "localhost"], True),
        ("localhost", {"localhost": ["::1", "127.0.0.1"]}, "127.0.0.1", "127.0.0.1", ["127.0.0.1", "localhost"], True),
        (
            "ip6-localhost",
            {"ip6-localhost": ["::1"]},
            "::1",
            "ip6-localhost",
            ["127.0.0.1", "localhost", "::1", "ip6-localhost"],
            True,
        ),
        ("mine", {"mine": ["127.0.1.1"]}, "127.0.1.1", "mine", ["127.0.0.1", "localhost", "127.0.1.1", "mine"], True),
        ("gpu7", {"gpu7": ["192.0.2.7"]}, "192.0.2.7", "gpu7", ["127.0.0.1", "localhost", "192.0.2.7", "gpu7"], False),
        ("both", {"both": ["127.0.0.1", "192.0.2.7"]}, "127.0.0.1", "127.0.0.1", ["127.0.0.1", "localhost", "both"], True),
        ("localhost", {"localhost": ["192.0.2.7"]}, "192.0.2.7", "localhost", ["127.0.0.1", "localhost", "192.0.2.7"], False),
    ],
)
def test_where_it_listens_is_what_url_token_and_names_say(
    address: str,
    names: dict[str, list[str]],
    listens: str,
    url: str,
    allowed: list[str],
    only_here: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def look_up(name: str, *_: Any, **__: Any) -> list[Any]:
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in names[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(addresses, "_check_free", lambda *_: None)
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path))
    dashboard, environment, command = started_with(monkeypatch, address=address)
    assert f"--server.address={listens}" in command
    assert dashboard.url.startswith(f"http://{url}:")
    assert bool(environment[serving.TOKEN]) is ("token=" in dashboard.url) is not only_here
    given = [word.partition("=")[2] for word in command if word.startswith("--server.allowedHosts")]
    assert sorted(given) == sorted(allowed)


@pytest.mark.parametrize(
    "address",
    [
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0",
        "2130706433",
        "127.0.0.01",
        "0177.0.0.1",
        "",
        " ",
        "127.0.0.1:8501",
        "localhost:8501",
        "[::1]:8501",
        "[127.0.0.1]",
        "::1%lo",
        "fe80::1%eth0",
        "http://localhost",
        "unix:///tmp/x",
        "a b",
        "é",
        "x" * 300,
        "1.2.3.4.5",
        "localhost\n",
        "..",
        "*",
    ],
)
def test_an_address_that_can_be_read_in_two_ways_or_in_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="cannot listen on") as refused:
        addresses.find_place(address, addresses.free_port())
    assert len(str(refused.value)) < 250
    assert not addresses.is_loopback(address)


@pytest.mark.parametrize("way", ["0.0.0.0", "::", "0::0", "[::]", "::ffff:0.0.0.0"])
def test_all_addresses_need_a_name_in_whichever_form_they_are_written(way: str) -> None:
    with pytest.raises(InputError, match="say by which name it is reached"):
        addresses.find_place(way, addresses.free_port())
    assert not addresses.is_loopback(way)


BROWSER = """#!/bin/sh
{ tr '\\0' ' ' < /proc/$$/cmdline; echo; } >> "$0.seen"
"""


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that writes down what its command line is, as every user of the machine sees it."""
    path = tmp_path / "browser"
    path.write_text(BROWSER)
    path.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(path))
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # else it has been read already
    monkeypatch.setattr(webbrowser, "_browsers", {})
    return path.with_name("browser.seen")


def ask(url: str, token: str = "") -> tuple[int, str]:
    """Status and text of a page, for a browser that has the cookie with the token."""
    port = urllib.parse.urlsplit(url).port or 0
    headers = {"Cookie": f"{serving.token_cookie(port)}={token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_the_browser_is_opened_by_a_page_that_only_its_owner_can_read(
    tmp_path: Path, browser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    before = os.umask(0)
    try:
        dashboard = launch(token=True)
    finally:
        os.umask(before)
    try:
        (token,) = urllib.parse.parse_qs(urllib.parse.urlsplit(dashboard.url).query)["token"]
        page = tmp_path / "workspace" / f"open-{urllib.parse.urlsplit(dashboard.url).port}.html"
        while not browser.exists() or "open-" not in browser.read_text():
            time.sleep(0.01)
        assert token not in browser.read_text()
        assert page.as_uri() in browser.read_text()
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        (to,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]*)"', page.read_text())
        assert html.unescape(to) == dashboard.url
        root = dashboard.url.partition("?")[0]
        assert ask(root)[0] == 403
        assert ask(root, token)[0] == 200
        assert ask(html.unescape(to))[0] == 200
        environment = Path(f"/proc/{dashboard.process.pid}/environ").read_bytes()
        assert f"{serving.TOKEN}={token}".encode() in environment
        assert token.encode() not in Path(f"/proc/{dashboard.process.pid}/cmdline").read_bytes()
    finally:
        dashboard.stop()
    assert not page.exists()


def test_a_url_without_a_token_is_opened_itself(tmp_path: Path, browser: Path) -> None:
    dashboard = serving.Dashboard("http://127.0.0.1:8501/?run=x", subprocess.Popen([sys.executable, "-c", ""]))
    assert dashboard.open_browser()
    while not browser.exists():
        time.sleep(0.01)
    assert "http://127.0.0.1:8501/?run=x" in browser.read_text()
    dashboard.wait()
    assert dashboard.process.returncode == 0


def test_where_the_page_cannot_be_written_no_browser_is_opened(tmp_path: Path, browser: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    dashboard = serving.Dashboard("http://127.0.0.1:8501/?token=x", process, tmp_path / "missing" / "open-8501.html")
    assert not dashboard.open_browser()
    dashboard.wait()


def test_a_second_loopback_address_is_reached_under_the_url_that_is_printed(tmp_path: Path) -> None:
    dashboard = serving.serve(Workspace(tmp_path), port=addresses.free_port(), address="127.0.0.2")
    try:
        assert dashboard.url.startswith("http://127.0.0.2:")
        assert ask(dashboard.url)[0] == 200
        with pytest.raises(urllib.error.URLError):
            ask(dashboard.url.replace("127.0.0.2", "127.0.0.1"))
    finally:
        dashboard.stop()


def test_waiting_ends_with_the_server_and_control_c_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = serving.Dashboard("http://127.0.0.1/", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
    timer = threading.Timer(0.3, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1])
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        timer.start()
        dashboard.wait()
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    assert dashboard.process.returncode == -signal.SIGTERM
