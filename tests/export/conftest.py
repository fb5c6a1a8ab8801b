"""The awkward table, scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from oga_core.runs import Run
from tests.export.awkward_table import scored, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write(tmp_path / "data.csv")
    return tmp_path / "data.csv"


@pytest.fixture
def run(tmp_path: Path, source: Path) -> Run:
    return scored(source, tmp_path / "workspace")
