"""Data that one process at a time reads, and what comes of a question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from oga_core.data import SampleError
from oga_core.errors import InputError
from oga_core.sandbox import SandboxedDataset, dataset as sandboxed

SECONDS = 60.0
"""How long is waited for what should happen at once."""
SHELL = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Every example starts a process."""


def pid_of(data: SandboxedDataset) -> int:
    (process,) = data._free
    return process.child.pid


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")


def image_folder(root: Path, images: int = 12) -> Path:
    """Small images in two classes."""
    rng = np.random.default_rng(0)
    for i in range(images):
        png(root / "ab"[i % 2] / f"{i:02}.png", rng.integers(0, 256, (9, 7, 3), np.uint8))
    return root


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed, "MOST", 1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "images")


def outcome(work: Callable[[], object]) -> object:
    """What comes out, or the error and its words; arrays and images as bytes, so that they can be compared."""
    try:
        found = work()
    except (SampleError, InputError, TypeError) as error:
        return type(error), str(error)
    if isinstance(found, Image.Image):
        return found.mode, found.size, found.tobytes()
    return (found.dtype.str, found.shape, found.tobytes()) if isinstance(found, np.ndarray) else found
