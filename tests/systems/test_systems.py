"""The command line works without what Windows and macOS lack. No such machine is used: these are Linux with parts removed."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import pytest

import app
import oga_core
from oga_core.addresses import free_port
from oga_core.containment import list_bounds

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
SYSTEMS = ["win32", "darwin"]
MODULES = sorted(
    found.name
    for package in (oga_core, app)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.name not in ("app.main", "app.server") and not found.name.startswith("app.app_pages.")
)
"""All but the scripts that Streamlit runs."""
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from oga_core.files import os, sys
print(sys.platform, hasattr(os, "fork"))
"""


def variables(system: str) -> dict[str, str]:
    """The environment variables of a process on another system."""
    paths = [str(HERE), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"OGA_TEST_SYSTEM": system, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run_there(system: str, *command: str, folder: Path = ROOT, code: int = 0) -> str:
    """Run Python as if on another system, and so the processes that it starts; returns its output."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=variables(system), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_is_imported_there(system: str) -> None:
    assert run_there(system, "-c", IMPORT, *MODULES).split() == [system, str(system != "win32")]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_command_line_works_there(system: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    labels = np.arange(120) % 2
    np.savez(tmp_path / "data.npz", x=(chance.normal(size=(120, 4)) + labels[:, None]).astype("f4"), y=labels)

    def oga(*arguments: str, code: int = 0) -> str:
        return run_there(system, "-m", "oga_core.command", *arguments, folder=tmp_path, code=code)

    workspace = ("--workspace", "w")
    assert "held-out samples agree" in oga("train", "data.npz", "--out", "weights.safetensors", "--epochs", "2")
    run = json.loads(oga("score", "data.npz", "--folds", "0", *workspace, "--json"))["run"]
    assert json.loads(oga("runs", *workspace, "--json"))[0]["state"] == "done"
    assert "recommended score" in oga("recommend", run, *workspace)
    oga(
        "export",
        run,
        "--format",
        "csv",
        "--what",
        "flags",
        "--detector",
        "l1",
        "--budget",
        "0.1",
        "--out",
        "flags.csv",
        *workspace,
    )
    assert (tmp_path / "flags.csv").stat().st_size > 0
    oga("resume", run, *workspace, code=2)
    oga("delete", run, *workspace)
    oga("undelete", run, *workspace)
    oga("workspace", *workspace)
    oga("clean", "--dry-run", *workspace)
    oga("score", "nothing.csv", *workspace, code=2)
    shown = oga("limits")
    assert f"on {'Windows' if system == 'win32' else 'Darwin'}" in shown


READ = """
import sys
import numpy as np
from oga_core.sandbox import SandboxedDataset, list_architectures
data = SandboxedDataset(sys.argv[1], {})
print(len(data), data.class_names, data.load(0).tolist() == [0.0, 1.0], "resnet18" in list_architectures())
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_data_are_read_by_a_process_of_their_own_there(system: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.arange(40, dtype="f4").reshape(20, 2), y=np.arange(20) % 2)
    assert run_there(system, "-c", READ, str(tmp_path / "data.npz")).split()[0] == "20"


@pytest.mark.parametrize(("system", "number"), [("win32", signal.SIGUSR1), ("darwin", signal.SIGTERM)])
def test_the_demo_is_served_there_and_nothing_outlives_it(system: str, number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oga_core.command", "demo", "--no-browser", "--port", str(free_port())]
    environment = variables(system) | {"OGA_WORKSPACE": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as oga:
        try:
            assert oga.stderr is not None
            told = next((line for line in oga.stderr if "OGA is at" in line), "")
            with urlopen(re.findall(r"http://\S+", told)[0]) as answer:
                assert answer.status == 200
            started = psutil.Process(oga.pid).children(recursive=True)
            assert started
            oga.send_signal(number)  # SIGUSR1 stands for Ctrl+Break
            assert oga.wait(60) == 130
            assert psutil.wait_procs(started, 30)[1] == []
        finally:
            oga.kill()


def test_a_bound_of_the_sandbox_is_said_to_hold_only_where_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {}
    for system in ("Linux", "Darwin", "Windows"):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        held[system] = {bound.name for bound in list_bounds() if bound.holds}
    assert held["Windows"] == {"separate process", "answer time", "ends with oga"}
    assert held["Darwin"] - held["Windows"] == {"processor time", "no writing", "no core file"}
    assert held["Linux"] == {bound.name for bound in list_bounds()}
