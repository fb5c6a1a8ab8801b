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


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data: where OGA_TEST_DATA says, else ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("OGA_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data: set OGA_TEST_DATA to their folder")
    return folder
