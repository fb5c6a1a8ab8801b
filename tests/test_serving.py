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

from oga_core import InputError, Workspace, launch, serving

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
    assert serving.origin_of(url) == origin


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
        serving.origin_of(url)


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
    port = serving.free_port()
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
    monkeypatch.setattr(serving, "_must_be_free", lambda *_: None)
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
        serving.find_place(address, serving.free_port())
    assert len(str(refused.value)) < 250
    assert not serving.is_loopback(address)


@pytest.mark.parametrize("way", ["0.0.0.0", "::", "0::0", "[::]", "::ffff:0.0.0.0"])
def test_all_addresses_need_a_name_in_whichever_form_they_are_written(way: str) -> None:
    with pytest.raises(InputError, match="say by which name it is reached"):
        serving.find_place(way, serving.free_port())
    assert not serving.is_loopback(way)


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
    dashboard = serving.serve(Workspace(tmp_path), port=serving.free_port(), address="127.0.0.2")
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
    assert serving.is_loopback(address) is only_here


def started_with(monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[serving.Dashboard, dict[str, str], list[str]]:
    """What the server would be started with, without starting it: URL, environment, command."""
    seen: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: seen.append((env, command)))
    monkeypatch.setattr(serving, "_healthy", lambda *_: True)
    return serving.serve(Workspace(), port=serving.free_port(), **given), *seen[0]


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
        serving.serve(Workspace(tmp_path), port=serving.free_port(), address=address)


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders that may be opened, each with a file, beside a file that may not."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("")
    (tmp_path / "secret.csv").write_text("")
    (tmp_path / "one" / "link.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "one" / "near.csv").symlink_to(tmp_path / "one" / "one.csv")
    monkeypatch.setenv(serving.ROOTS, os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    return tmp_path


def test_a_path_below_a_root_may_be_opened_by_its_whole_or_its_relative_name(roots: Path) -> None:
    for written in (str(roots / "two" / "two.csv"), "two.csv", str(roots / "one" / ".." / "two" / "two.csv")):
        assert serving.allowed_path(written) == roots / "two" / "two.csv"
    assert serving.allowed_path("near.csv") == roots / "one" / "one.csv"
    assert serving.allowed_path(str(roots / "one")) == roots / "one"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("n" * 300, "File name too long"),
        ("n/" * 2100, "File name too long"),
        ("a\0b", "null"),
        ("~nobody-here/x", "home directory"),
    ],
)
def test_what_is_no_path_is_refused_in_one_short_line(roots: Path, written: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        serving.allowed_path(written)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("written", ["../secret.csv", "link.csv", "/etc", "/etc/passwd", "~", "/", "../missing.csv", "/missing"])
def test_a_path_out_of_the_roots_may_not_be_opened_by_any_way(roots: Path, written: str) -> None:
    with pytest.raises(InputError, match="is outside the folders that may be opened"):
        serving.allowed_path(written)


def test_a_sibling_whose_name_begins_as_a_root_is_outside(roots: Path) -> None:
    (roots / "one more").mkdir()
    with pytest.raises(InputError, match="is outside"):
        serving.allowed_path(str(roots / "one more"))


def test_a_file_missing_below_a_root_is_said_to_be(roots: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        serving.allowed_path(str(roots / "one" / "missing.csv"))


def test_without_roots_nothing_may_be_opened(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(serving.ROOTS)
    with pytest.raises(InputError, match=r"\(none\)"):
        serving.allowed_path(str(roots / "one" / "one.csv"))
