"""Commands in this process, and data for them."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oga_core.cli import main

WORDS = {"fruit": "apple pear plum cherry grape", "tool": "hammer saw drill wrench chisel", "bird": "robin crow finch heron"}
OGA = [sys.executable, "-P", "-c", "import sys; from oga_core.cli import main; sys.exit(main())"]
Oga = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 short texts, the last of them empty."""
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    rng = random.Random(0)
    rows = [(" ".join(rng.choices(WORDS[label].split(), k=6)), label) for label in list(WORDS) * 40]
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *rows[:-1], (" ", "bird")])
    return path


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 samples of five features, the last of them no numbers."""
    path = tmp_path_factory.mktemp("data") / "features.npz"
    y = np.arange(90) % 3
    x = np.random.default_rng(0).normal(size=(90, 5)) + y[:, None]
    x[-1] = np.nan
    np.savez(path, x=x, y=y)
    return path


@pytest.fixture
def oga(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Oga:
    """Run a command in this process, in an empty folder: exit code, stdout and stderr."""
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call
