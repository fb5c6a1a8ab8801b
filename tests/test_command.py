"""The command line in bad company: pipes that close, full disks, terminals without characters, Ctrl+C at any moment."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from oga_core import Workspace, addresses
from oga_core.cli import TRACEBACK, dashboard, main, workspaces
from tests.command_process import CODE, OGA, SECONDS, oga

TITLE = "données 日本 \udcff"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run whose title few terminals can show."""
    made = Workspace(tmp_path_factory.mktemp("command") / "workspace")
    made.new_run(TITLE)
    return made.path


def heed_interrupts() -> None:
    """Also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    commands += [["serve", "--no-browser", "--port", str(addresses.free_port())]] * 2
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
        with dashboard._stop_by_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with dashboard._stop_by_signals(), pytest.raises(KeyboardInterrupt):
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

    monkeypatch.setattr(workspaces, "_limits", fail)
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert main(["limits"]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("oga: ")
    assert line.strip("d/…") in err
    assert len(err) < 250
    monkeypatch.setenv(TRACEBACK, "1")
    assert main(["limits"]) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err
