"""The real data that some tests read, and what keeps all of them quick."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch and numba are imported. Threads that wait for each other on a busy machine take a hundred times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# UMAP is compiled once a machine, not once a workspace.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "oga-tests-numba"))
# No test is about time: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
SLOWEST = (
    "tests/experiments/test_reproduce.py",
    "tests/browser/test_road.py",
    "tests/test_faults.py",
    "tests/browser/test_review_faults.py",
    "tests/browser/",
    "tests/test_supervision.py",
    "tests/test_cli.py",
    "tests/test_command.py",
    "tests/test_children.py",
    "tests/scoring/",
    "tests/systems/",
    "tests/experiments/",
    "tests/gradients/",
    "tests/models/",
    "tests/data/test_examples.py",
    "tests/maps/",
    "tests/test_wheel.py",
)
"""Test files, and folders of them, that take longest, longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slowest files: a slow one that starts last keeps one worker busy while the other has nothing to do."""
    items.sort(key=lambda item: next((i for i, name in enumerate(SLOWEST) if item.nodeid.startswith(name)), len(SLOWEST)))


@pytest.fixture(scope="session")
def cases(test_data: Path) -> Path:
    """The folder of small inputs with a right answer each, beside the real data."""
    folder = test_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip("no cases beside the real data")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data: where OGA_TEST_DATA says, else ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("OGA_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data: set OGA_TEST_DATA to their folder")
    return folder
