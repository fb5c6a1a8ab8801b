"""The command line in bad company: pipes that close, full disks, terminals without characters, Ctrl+C at any moment."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oga_core import Workspace, cli, scoring, serving, terminal
from oga_core.cli import main

CODE = "import sys; from oga_core.command import run; {before}; sys.exit(run())"
OGA = [sys.executable, "-P", "-c", CODE.format(before="pass")]
SECONDS = 60.0
TITLE = "données 日本 \udcff"
LONG = {"name": "n" * 300, "path": "n/" * 2100, "nul": "a\0b"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run whose title few terminals can show."""
    made = Workspace(tmp_path_factory.mktemp("command") / "workspace")
    made.new_run(TITLE)
    return made.path


def heed_interrupts() -> None:
    """Also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def oga(*arguments: object, workspace: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OGA_WORKSPACE": str(workspace), **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [*OGA, *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, timeout=SECONDS, check=False, **options)


@pytest.mark.parametrize("arguments", [["runs"], ["limits", "--json"], ["score", "--help"]])
def test_output_whose_reader_has_gone_ends_silently_as_by_sigpipe(workspace: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = oga(*arguments, workspace=workspace, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_said_where_it_can_be(workspace: Path) -> None:
    with open("/dev/full", "w") as full:
        done = oga("runs", workspace=workspace, stdout=full)
        assert (done.returncode, done.stderr) == (1, "oga: cannot write the output: No space left on device\n")
        assert oga("runs", workspace=workspace, stdout=full, stderr=full).returncode == 1
        assert oga("score", "missing.csv", workspace=workspace, stderr=full).returncode == 2


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [(">&-", 1, "oga: cannot write the output: Bad file descriptor\n"), ("2>&-", 0, ""), ("<&-", 0, ""), ("<&- >&- 2>&-", 1, "")],
)
def test_closed_standard_streams_leave_no_traceback(workspace: Path, closed: str, code: int, said: str) -> None:
    command = ["sh", "-c", f'"$@" {closed}', "sh", *OGA, "runs", "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_a_terminal_lacks_are_escaped(workspace: Path, encoding: str) -> None:
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = oga("runs", workspace=workspace, env=environment, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    shown = TITLE.encode(encoding, "backslashreplace").decode(encoding)
    assert done.stdout.endswith(f"  {shown}\n")
    done = oga(
        b"\xff\xfe\xc3\xa9.csv".decode("utf-8", "surrogateescape"), workspace=workspace, env=environment, encoding=encoding
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_ctrl_c_at_any_moment_leaves_one_line_at_most(workspace: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(60, 3)), y=np.arange(60) % 2)
    rng = random.Random(0)
    commands = [["runs"]] * 10 + [["score", "data.npz", "--folds", "0"]] * 4
    commands += [["serve", "--no-browser", "--port", str(serving.free_port())]] * 2
    for arguments in commands:
        # What the interpreter does before it comes to us cannot be changed.
        command = [sys.executable, "-P", "-c", CODE.format(before="print('go', flush=True)"), *arguments]
        process = subprocess.Popen(
            [*command, "--workspace", str(workspace if arguments == ["runs"] else tmp_path / "workspace")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            preexec_fn=heed_interrupts,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(rng.uniform(0, 1.5))
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=SECONDS)
        assert process.returncode in (130, -signal.SIGINT, 0), err
        assert "Traceback" not in err
        assert "Exception ignored" not in err
        assert len([line for line in err.splitlines() if line.startswith("oga:")]) <= 1


def test_before_the_command_heeds_ctrl_c_it_imports_next_to_nothing() -> None:
    code = "import sys; before = set(sys.modules); import oga_core.command; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["oga_core", "oga_core.command"]


def scripted(main: str, *, ignored: bool = False) -> subprocess.Popen[str]:
    """The entry point with another `main`, which may print what happens."""
    lines = ["import signal, sys, time", "from oga_core import cli, command", main, "cli.main = main", "sys.exit(command.run())"]
    heed = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else heed_interrupts
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "\n".join(lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )


def test_a_second_ctrl_c_ends_what_takes_long_to_stop() -> None:
    main = (
        "def main():\n    try:\n        print('go', flush=True); time.sleep(60)\n"
        "    finally:\n        print('stopping', flush=True); time.sleep(60)"
    )
    with scripted(main) as process:
        assert process.stdout is not None
        for line in ("go\n", "stopping\n"):
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_in_a_destructor_ends_the_command_too() -> None:
    main = "class Late:\n    def __del__(self): raise KeyboardInterrupt\ndef main():\n    Late(); print('went on'); return 0"
    with scripted(main) as process:
        assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    with scripted("def main():\n    print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)", ignored=True) as process:
        assert process.communicate(timeout=SECONDS) == ("True\n", "")


def test_sigterm_and_sighup_stop_a_server_unless_they_are_ignored() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    heed_interrupts()
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
        with cli._stopped_by_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with cli._stopped_by_signals(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


Failed = type("PanicException", (BaseException,), {})


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/table.parquet"), 2, "/x/table.parquet: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "d/" * 300), 2, "d/…"),
        (OSError(errno.EIO, "Input/output error"), 2, "Input/output error"),
        (
            RuntimeError("two\nlines \x1b[31m"),
            1,
            "unexpected RuntimeError: two lines \\x1b[31m (OGA_TRACEBACK=1 shows the traceback)",
        ),
        (MemoryError(), 1, "unexpected MemoryError:  (OGA_TRACEBACK=1 shows the traceback)"),
        (Failed("a regex gave up"), 1, "unexpected PanicException: a regex gave up (OGA_TRACEBACK=1 shows the traceback)"),
    ],
    ids=["file", "long", "no file", "unexpected", "memory", "panic"],
)
def test_whatever_ends_a_command_is_one_line_and_a_traceback_on_request(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_limits", fail)
    monkeypatch.delenv(cli.TRACEBACK, raising=False)
    assert main(["limits"]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("oga: ")
    assert line.strip("d/…") in err
    assert len(err) < 250
    monkeypatch.setenv(cli.TRACEBACK, "1")
    assert main(["limits"]) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


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
    port = ["--port", str(serving.free_port())] if command.startswith("serve") else []
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


class Screen(io.TextIOWrapper):
    """A terminal of an encoding and a width, or one that cannot be written."""

    def __init__(self, encoding: str = "utf-8", error: int = 0) -> None:
        super().__init__(io.BytesIO(), encoding)
        self.error = error

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99

    def write(self, text: str) -> int:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(text)

    @property
    def shown(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    monkeypatch.setenv("TERM", "xterm")

    def put(columns: int = 80, **options: Any) -> Screen:
        made = Screen(**options)
        monkeypatch.setattr(sys, "stderr", made)
        monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
        return made

    return put


def draw() -> None:
    with terminal.Bar() as bar:
        bar("reading é\x1b[31m", 0, 10)
        bar("reading é\x1b[31m", 10, 10)


def test_the_bar_has_blocks_where_the_terminal_has_them(screen: Callable[..., Screen]) -> None:
    shown = screen()
    draw()
    assert shown.shown == f"\r\033[K{'░' * 30} reading é\\x1b[31m 0/10\r\033[K{'█' * 30} reading é\\x1b[31m 10/10\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_the_bar_has_plain_characters_elsewhere(screen: Callable[..., Screen], encoding: str) -> None:
    shown = screen(encoding=encoding)
    draw()
    name = "é".encode(encoding, "backslashreplace").decode(encoding)
    assert shown.shown.endswith(f"\r\033[K{'#' * 30} reading {name}\\x1b[31m 10/10\n")


@pytest.mark.parametrize("columns", [1, 2, 20, 35])
def test_the_bar_never_fills_more_than_its_line(screen: Callable[..., Screen], columns: int) -> None:
    shown = screen(columns)
    draw()
    assert max(len(part) for part in shown.shown.replace("\n", "").split("\r\033[K")) <= columns - 1


def test_a_dumb_terminal_gets_a_line_a_stage(screen: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    shown = screen()
    draw()
    assert shown.shown == "reading é\\x1b[31m\n"


@pytest.mark.parametrize(("error", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, 1)])
def test_work_goes_on_where_its_progress_cannot_be_shown(
    screen: Callable[..., Screen], error: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_lost", 0)
    screen(error=error)
    draw()
    assert terminal.flush(0) == code  # what was lost is said by the exit code; who stopped reading wants no more
    assert terminal.flush(2) == 2


def test_a_scoring_whose_output_nobody_reads_is_done_all_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(60, 3)), y=np.arange(60) % 2)
    (tmp_path / "linear.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n")
    reading, writing = os.pipe()
    os.close(reading)
    command = ["score", "data.npz", "--model", "linear:make", "--detectors", "l1"]
    done = oga(*command, workspace=tmp_path / "workspace", stdout=writing, stderr=writing, cwd=tmp_path)
    os.close(writing)
    assert done.returncode == 141
    (run,) = Workspace(tmp_path / "workspace").runs()
    assert run.status().state == "done"


def test_a_default_server_says_who_can_open_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path)
    shown = {}
    for loopback, redirect in ((True, None), (True, tmp_path / "x"), (False, tmp_path / "x")):
        dashboard = serving.Dashboard("http://127.0.0.1:8501/", subprocess.Popen(["true"]), redirect)
        cli._say_where(dashboard, workspace, loopback)
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
        port = str(serving.free_port())
        assert main([*command, "--no-browser", "--port", port, "--workspace", str(tmp_path / "workspace")]) == 0
    assert asked == [False, True, False, True]
