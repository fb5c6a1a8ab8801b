"""No process that OGA starts outlives the one that started it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from oga_core import children
from oga_core.addresses import free_port

SECONDS = 60.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CHILD = """
import time
from oga_core import children
{before}
children.end_with_parent()
print("ready", flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys, threading, time
from oga_core import children
started = []
def start():
    started.append(children.spawn([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE))
thread = threading.Thread(target=start)
thread.start()
thread.join()  # the thread that asked for the process has ended; the process must not
child = started[0]
assert child.stdout.readline() == b"ready\\n"
time.sleep(0.3)
assert child.poll() is None
print(child.pid, flush=True)
time.sleep(600)
"""
FORKED = """
import os, sys
from oga_core import children
command = [sys.executable, "-c", ""]
children.spawn(command).wait()
pid = os.fork()
if not pid:
    os._exit(7 + children.spawn(command).wait())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
SERVER = """
import sys, threading, time
from oga_core import Workspace, worker
from oga_core.sandbox import open_sandboxed
from oga_core.scoring import prepare
data, folder = sys.argv[1:]
run = prepare(Workspace(folder), data, model="stuck:make", detectors="l1")
opened = []
for act in (lambda: opened.append(open_sandboxed(data)), lambda: worker.start(run, "score")):  # as the page's scripts do
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
time.sleep(0.5)  # both must still be there when their threads are not
opened[0].sample_id(0)
print("ready", flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    found = [int(n) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for n in tasks.read_text().split()]
    return found + [n for child in found for n in descendants(child)]


def all_end(pids: list[int]) -> bool:
    end = time.monotonic() + SECONDS
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def heed_interrupts() -> None:
    """Also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def killed_at_the_end(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@linux
@pytest.mark.parametrize("before", ["pass", "children._set_death_signal = lambda: False"], ids=["death signal", "watch"])
def test_a_child_outlives_the_thread_that_asked_for_it_and_ends_with_the_process(before: str) -> None:
    with killed_at_the_end([sys.executable, "-c", PARENT, CHILD.format(before=before)]) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.kill()
        process.wait()
        assert all_end([pid])


@pytest.mark.parametrize(("parent", "code"), [("1", -signal.SIGKILL), ("", 0), ("x", 0)])
def test_a_child_ends_at_once_where_its_parent_has_ended_and_is_left_alone_where_it_has_none(parent: str, code: int) -> None:
    environment = {**os.environ, children.PARENT: parent}
    command = [sys.executable, "-c", "from oga_core.children import end_with_parent; end_with_parent()"]
    assert subprocess.run(command, env=environment, check=False).returncode == code


def test_the_launch_token_is_passed_on_only_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(children.TOKEN, "secret")
    monkeypatch.setenv("OGA_LIMIT_FILES", "7")
    code = f"import os; print(*(os.environ.get(name) for name in ({children.TOKEN!r}, 'OGA_LIMIT_FILES', 'MORE')))"
    for environment, expected in ((None, b"None 7 None\n"), ({children.TOKEN: "new", "MORE": "x"}, b"new 7 x\n")):
        with children.spawn([sys.executable, "-c", code], environment, stdout=subprocess.PIPE) as process:
            assert process.communicate()[0] == expected


def test_what_a_child_starts_itself_is_not_taken_for_a_child_of_ours() -> None:
    code = f"import os; from oga_core import children; children.end_with_parent(); print(os.environ.get({children.PARENT!r}))"
    with children.spawn([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.communicate()[0] == b"None\n"


def test_a_program_that_cannot_be_started_is_said_to_the_one_who_asked() -> None:
    with pytest.raises(FileNotFoundError):
        children.spawn(["/no/such/program"])
    assert children.spawn([sys.executable, "-c", ""]).wait() == 0


def test_an_interrupt_while_a_child_is_being_started_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def slow(*given: object, **options: object) -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.2)
        started.append(start(*given, **options))  # type: ignore[call-overload]
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", slow)
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            children.spawn([sys.executable, "-c", "import time; time.sleep(600)"])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert started[0].poll() == -signal.SIGKILL


def test_a_process_that_was_forked_starts_children_too() -> None:
    assert children.spawn([sys.executable, "-c", ""]).wait() == 0
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "7\n"


@linux
def test_the_workers_and_readers_of_a_killed_server_end(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text("import time\ndef make():\n    time.sleep(600)\n")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    command = [sys.executable, "-c", SERVER, str(tmp_path / "data.npz"), str(tmp_path / "workspace")]
    with killed_at_the_end(command, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        found = descendants(process.pid)
        assert len(found) == 2
        assert all(map(is_alive, found))
        process.kill()
        process.wait()
        assert all_end(found)


@linux
@pytest.mark.parametrize(
    ("number", "victim", "code"),
    [
        (signal.SIGKILL, "oga", -signal.SIGKILL),
        (signal.SIGQUIT, "oga", -signal.SIGQUIT),
        (signal.SIGHUP, "oga", 130),
        (signal.SIGINT, "oga", 130),
        (signal.SIGKILL, "server", 1),
    ],
)
def test_nothing_outlives_a_demo_however_it_ends(tmp_path: Path, number: signal.Signals, victim: str, code: int) -> None:
    oga = f"{sys.executable} -P -c 'import sys; from oga_core.command import run; sys.exit(run())'"
    demo = f"demo --no-browser --port {free_port()} --workspace {tmp_path / 'workspace'}"
    command = ["sh", "-c", f"{oga} {demo}; echo $?"]  # the shell stays between
    with killed_at_the_end(command, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_interrupts) as shell:
        assert shell.stderr is not None
        assert shell.stdout is not None
        assert any("OGA is at" in line for line in shell.stderr)
        (oga_pid, *found) = descendants(shell.pid)
        assert len(found) == 2  # the job, the server
        server = next(pid for pid in found if b"streamlit" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(oga_pid if victim == "oga" else server, number)
        assert all_end([oga_pid, *found])
        out, err = shell.communicate()
    assert int(out) == (code if code >= 0 else 128 - code)
    assert "Traceback" not in err


def test_a_module_is_not_taken_from_the_folder_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "oga_core").mkdir()
    (tmp_path / "oga_core" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    with children.spawn_module("oga_core.command", "--version", stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    assert output.startswith(b"oga ")
