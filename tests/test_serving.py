"""How the dashboard's server is started, as far as that can be said without starting it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from oga_core import InputError, Workspace, launch, serving

CONFIG = Path(__file__).parent.parent / ".streamlit" / "config.toml"


def flags(port: int = 8600) -> list[str]:
    return [word for word in serving.command(port) if word.startswith("--")]


def test_the_server_is_our_own_file_and_never_one_that_lies_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "server.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    command = serving.command(8600)
    assert command[:5] == [sys.executable, "-P", "-m", "streamlit", "run"]
    assert Path(command[5]) == Path(serving.__file__).parent.parent / "app" / "server.py"


def test_the_server_listens_on_this_machine_only_whatever_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_config", lambda: {"server": {"address": "0.0.0.0", "port": 1}})
    assert flags() == ["--server.address=127.0.0.1", "--server.port=8600"]


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
        "--theme.light.textColor=#000", "--server.runOnSave=false", "--server.allowedHosts=a", "--server.allowedHosts=b",
    ]  # fmt: skip


def test_a_free_port_can_be_bound_on_this_machine() -> None:
    port = serving.free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    assert 1024 <= port < 65536


def test_a_taken_port_is_refused_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a server was started"))
    run = Workspace(tmp_path).new_run("a run", {})
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
