"""The bar of progress on terminals of every kind, and on none."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oga_core import Workspace, terminal
from tests.command_process import oga


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
