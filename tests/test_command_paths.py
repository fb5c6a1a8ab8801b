"""What the command creates and refuses: workspaces, paths, addresses and homes, each in one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oga_core import Workspace, addresses, scoring, serving
from oga_core.cli import main
from oga_core.cli.dashboard import _say_where

LONG = {"name": "n" * 300, "path": "n/" * 2100, "nul": "a\0b"}


@pytest.mark.parametrize(
    "command",
    [
        "runs",
        "runs --json",
        "recommend RUN",
        "influence RUN --row 0",
        "resume RUN",
        "export RUN --format csv --out x.csv",
        "restore",
    ],
)
@pytest.mark.parametrize("there", ["missing", "missing/below", "folder", "file"])
def test_a_command_that_needs_a_workspace_creates_none(
    command: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for environment, flags in ((there, []), ("", ["--workspace", there])):
        monkeypatch.setenv("OGA_WORKSPACE", environment)
        assert main([*command.split(), *flags]) == 2
        line = f"oga: no workspace at {tmp_path / there}; name another folder with --workspace or OGA_WORKSPACE\n"
        assert capsys.readouterr() == ("", line)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_workspace_that_has_lost_its_file_is_not_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    workspace.database.rename(tmp_path / "oga.sqlite.backup")
    assert main(["runs", "--workspace", str(tmp_path)]) == 2
    assert "has lost its oga.sqlite but has a backup of it: oga restore --workspace" in capsys.readouterr().err
    assert not workspace.database.exists()
    assert main(["restore", "--workspace", str(tmp_path)]) == 0
    assert main(["runs", "--workspace", str(tmp_path)]) == 0


@pytest.mark.parametrize("path", LONG.values(), ids=LONG)
@pytest.mark.parametrize(
    "command",
    [
        "score PATH",
        "score DATA --weights PATH",
        "score DATA --workspace PATH",
        "score DATA --model PATH.made:make",
        "score torchvision:CIFAR10:PATH",
        "train PATH --out x.safetensors",
        "train DATA --out PATH.safetensors",
        "runs --workspace PATH",
        "restore --workspace PATH",
        "export RUN --format csv --out PATH",
        "serve --root PATH",
        "serve --workspace PATH",
        "demo --workspace PATH",
        "reproduce synthetic --out PATH",
        "reproduce text --out x --data PATH",
        "bench dashboard --keep PATH",
    ],
)
def test_what_can_be_no_path_is_refused_in_one_line_that_names_it(
    command: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    np.savez(tmp_path / "data.npz", x=np.zeros((60, 3)), y=np.arange(60) % 2)
    words = [word.replace("PATH", path).replace("DATA", "data.npz") for word in command.split()]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert path[:3].replace("\0", "\\x00") in err
    assert len(err) < 500
    assert "--model" in command or not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("command", ["runs", "restore", "serve --no-browser", "score data.npz"])
@pytest.mark.parametrize("path", LONG.values(), ids=LONG)
def test_what_the_environment_names_can_be_no_path_either(
    command: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "data.npz", x=np.zeros((60, 3)), y=np.arange(60) % 2)
    monkeypatch.setattr(os, "environ", {**os.environ, "OGA_WORKSPACE": path})
    port = ["--port", str(addresses.free_port())] if command.startswith("serve") else []
    assert main([*command.split(), *port]) == 2
    err = capsys.readouterr().err
    assert err.startswith("oga: workspace ")
    assert "name another folder with --workspace or OGA_WORKSPACE" in err
    assert len(err) < 300


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--port 0", "port 0: a port is a number from 1 to 65535"),
        ("--port 99999", "port 99999: a port is a number from 1 to 65535"),
        ("--port -1", "port -1: a port"),
        ("--port abc", "port abc: a port"),
        ("--port ٣", "a port is a number"),
        ("--port " + "9" * 5000, "a port is a number"),
        ("--address 127.1", "cannot listen on '127.1'"),
        ("--host *", "a name such as"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_a_server_cannot_listen_on_is_refused_before_anything_is_created(
    command: str, flags: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--no-browser", "--workspace", str(tmp_path / "workspace"), *flags.split()]) == 2
    assert line in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_has_been_deleted_under_the_user_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["runs"]) == 2
    assert capsys.readouterr().err == "oga: the current folder has been deleted; change to another one\n"


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nobody"])
def test_a_home_that_cannot_be_written_is_said_with_the_way_out(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((60, 3)), y=np.arange(60) % 2)
    for name in ("OGA_WORKSPACE", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home)
    assert main(["score", str(tmp_path / "data.npz")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"oga: cannot make the workspace {home}/")
    assert err.endswith("name another folder with --workspace or OGA_WORKSPACE\n")


def test_a_default_server_says_who_can_open_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    shown = {}
    for loopback, redirect in ((True, None), (True, tmp_path / "x"), (False, tmp_path / "x")):
        dashboard = serving.Dashboard("http://127.0.0.1:8501/", subprocess.Popen(["true"]), redirect)
        _say_where(dashboard, workspace, loopback)
        dashboard.process.wait()
        first, second = capsys.readouterr().err.splitlines()
        assert first == "OGA is at http://127.0.0.1:8501/ (Ctrl+C stops it)"
        shown[loopback, redirect is not None] = second
    assert shown[True, False] == "Every user of this machine can open it; --token asks for a launch token."
    assert shown[True, True] == "Anyone on this machine who has this URL is let in."
    assert "not encrypted" in shown[False, True]


def test_token_on_the_command_line_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def serve(workspace: Workspace, **options: Any) -> serving.Dashboard:
        asked.append(options["token"])
        return serving.Dashboard("http://127.0.0.1/", subprocess.Popen(["true"]))

    monkeypatch.setattr(serving, "serve", serve)
    monkeypatch.setattr(scoring, "prepare_example", lambda workspace, name: workspace.new_run(name))
    monkeypatch.setattr("oga_core.worker.start", lambda *_: None)
    for command in (["serve"], ["serve", "--token"], ["demo"], ["demo", "--token"]):
        port = str(addresses.free_port())
        assert main([*command, "--no-browser", "--port", port, "--workspace", str(tmp_path / "workspace")]) == 0
    assert asked == [False, True, False, True]
