"""The command line at a terminal: names that it would obey, and the ways to stop a command."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from oga_core import Workspace, addresses, scoring
from oga_core.progress import Cancelled
from tests.command_line import OGA, Oga, features, oga, texts

__all__ = ["features", "oga", "texts"]


def test_names_that_a_terminal_would_obey_are_escaped(oga: Oga, features: Path, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred\n\u202e\udc80.npz"
    shutil.copy(features, path)
    assert oga("score", path, "--detectors", "l1", "--json")[0] == 0
    _, out, _ = oga("runs")
    assert out.endswith("  \\x1b[31mred \\u202e\\udc80.npz\n")
    _, _, err = oga("score", "\x1b]0;title\x07.csv")
    assert err.endswith("not found: \\x1b]0;title\\x07.csv\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled])
def test_stopped_is_exit_code_130(oga: Oga, texts: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(scoring, "do_run", stop)
    code, out, err = oga("score", texts)
    (run,) = Workspace().runs()
    assert (code, out, err) == (130, "", f"oga resume {run.id} resumes it\noga: stopped\n")


def test_control_c_ends_the_scoring_and_the_run_says_so(features: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom torch import nn\nclass Slow(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.head = nn.Linear(5, 3)\n"
        "    def forward(self, x):\n        time.sleep(60 * (8 < len(x) < 64))\n        return self.head(x)\n"
    )
    command = [*OGA, "score", str(features), "--model", "slow:Slow", "--workspace", str(tmp_path / "workspace")]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heard)
    with process:
        assert process.stderr is not None
        assert "scoring\n" in iter(process.stderr.readline, "")  # on a busy machine what goes before is told too
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    (run,) = Workspace(tmp_path / "workspace").runs()
    assert (process.returncode, out) == (130, "")
    assert err.endswith(f"oga resume {run.id} resumes it\noga: stopped\n")
    assert run.status().state == "cancelled"


@pytest.mark.parametrize("answered", [True, False], ids=["once it answers", "while it starts"])
def test_who_ends_the_command_ends_the_server_with_it(tmp_path: Path, answered: bool) -> None:
    port = addresses.free_port()
    command = [*OGA, "serve", "--no-browser", "--port", str(port), "--workspace", str(tmp_path / "workspace")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        threads = Path(f"/proc/{process.pid}/task")
        if answered:
            assert f"OGA is at http://127.0.0.1:{port}/ (Ctrl+C stops it)\n" in iter(process.stderr.readline, "")  # type: ignore[union-attr]
        while not (started := [pid for path in threads.glob("*/children") for pid in path.read_text().split()]):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
