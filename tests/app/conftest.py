"""A finished run in a workspace of its own, and the pages on it without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from oga_core import Run, Workspace, from_arrays, score, train

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
CLASSES = ["plain", "![x](http://example.invalid/x.png)", "<b>bold</b> *stars* :red[x] $y$"]
"""Names that Markdown or HTML would turn into something else."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    st.cache_resource.clear()
    st.cache_data.clear()
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run on 90 small images in three classes, 6 of them with a wrong label."""
    rng = np.random.default_rng(0)
    true = np.arange(90) % 3
    images = rng.normal(40, 12, (90, 8, 8, 3)) + 80 * np.eye(3)[true][:, None, None, :]
    labels = true.copy()
    labels[:6] = (labels[:6] + 1) % 3
    dataset = from_arrays(images.clip(0, 255).astype(np.uint8), labels, CLASSES)
    return score(train(dataset, epochs=4).classifier, dataset, workspace=workspace, title="images *with* names")


@pytest.fixture
def open_page(workspace: Workspace) -> Callable[..., AppTest]:
    """Opens a page as a browser that has just come does; it must not raise."""

    def open_(name: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(MAIN), default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        at.run()
        if name != "start":
            at.switch_page(f"app_pages/{name}.py").run()
        assert not at.exception
        return at

    return open_
