"""Commands that open files have the bounds of the process that reads for the page, and say why they were ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oga_core import Workspace
from tests.models.test_hugging_face import LABELS, TEXTS, Save, save
from tests.models.test_model_folder_hostile import SLOW, replaced, rewritten, split

__all__ = ["save"]
OGA = [sys.executable, "-m", "oga_core.command"]


def ran(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OGA, *map(str, arguments)], capture_output=True, text=True, check=False, env=os.environ | environment, timeout=300
    )


@pytest.fixture
def features(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    labels = np.arange(120) % 2
    np.savez(tmp_path / "x.npz", x=chance.normal(size=(120, 4)) + labels[:, None], y=labels)
    return tmp_path / "x.npz"


def scored_texts(folder: Path, texts: list[str], tmp_path: Path, limit: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Score texts with a model's folder; how the command ended, and the reason in the workspace."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"text": texts, "label": (LABELS * len(texts))[: len(texts)]}).to_csv(path, index=False)
    done = ran("score", path, "--weights", folder, "--workspace", tmp_path / "w", "--limit", limit)
    (run,) = Workspace(tmp_path / "w").runs()
    assert run.status().state == "failed"
    assert "Traceback" not in done.stderr
    return done, run.status().message


def test_a_tokenizer_that_takes_too_long_ends_the_command_with_the_limit(save: Save, tmp_path: Path) -> None:
    folder = rewritten(save(), "tokenizer.json", pre_tokenizer=split(SLOW))  # in Rust, where no handler of Python is heard
    done, reason = scored_texts(folder, [*TEXTS, *(f"{'a' * 60}b{i}" for i in range(200))], tmp_path, "reader_seconds=1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"oga: {reason}"
    assert reason.startswith("reading data or model took too long: the limit reader_seconds is 1 seconds")


def test_a_tokenizer_that_fills_the_memory_ends_the_command_with_the_limit(save: Save, tmp_path: Path) -> None:
    folder = rewritten(save(), "tokenizer.json", normalizer=replaced("a", "a" * 900))
    done, reason = scored_texts(folder, [*TEXTS * 2, "a" * 2_000_000], tmp_path, "reader_bytes=200M")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"oga: {reason}"
    assert "the limit reader_bytes is 209,715,200 bytes" in reason


def test_what_a_command_writes_and_its_exit_code_are_passed_on(features: Path, tmp_path: Path) -> None:
    done = ran("score", features, "--workspace", tmp_path / "w", "--json", "--folds", "0")
    assert done.returncode == 0
    assert json.loads(done.stdout)["scored"] == 120
    assert ran("score", tmp_path / "nowhere.csv", "--workspace", tmp_path / "w").returncode == 2
    assert ran("score", "--help").returncode == 0


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_goes_on_when_the_command_is_ended(tmp_path: Path, ended: signal.Signals) -> None:
    table = tmp_path / "large.csv"
    pd.DataFrame({"text": [f"text {i} " * 12 for i in range(50_000)], "label": ["a", "b"] * 25_000}).to_csv(table, index=False)
    command = [*OGA, "score", str(table), "--workspace", str(tmp_path / "w")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (works := children(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    parent.send_signal(ended)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == (130 if ended == signal.SIGINT else -ended)
    assert "Traceback" not in said
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/exe").exists() for pid in works) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in works if Path(f"/proc/{pid}/exe").exists()]


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]
