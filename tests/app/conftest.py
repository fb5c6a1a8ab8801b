"""A finished run in a workspace of its own, and the pages on it without a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest
from torch import nn

from app import server, state
from app.routes import ROUTES
from oga_core import Run, Workspace, from_arrays, score
from oga_core.review import Reviewer, browser_reviewer, name_reviewer

ORIGIN = "http://127.0.0.1:8501"
MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
CLASSES = ["plain", "![x](http://example.invalid/x.png)", "<b>bold</b> *stars* :red[x] $y$"]
"""Names that Markdown or HTML would turn into something else."""


def behind_the_door(**options: Any) -> Starlette:
    """The routes as the server has them: what is asked goes through the door; options as `Door` takes them."""
    options = {"hosts": ["127.0.0.1"], "origins": [ORIGIN], "token": None, "cookie": "t"} | options
    return Starlette(routes=ROUTES, middleware=[Middleware(server.Door, **options)])


def browser(name: str = "a browser", **options: Any) -> TestClient:
    """A browser that looks at a page of this server, with a cookie of its own; options as `Door` takes them."""
    cookies = {state.BROWSER_COOKIE: name} if name else {}
    headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    return TestClient(behind_the_door(**options), ORIGIN, headers=headers, cookies=cookies)


def named(name: str, cookie: str | None = None) -> Reviewer:
    """The reviewer of a browser, who has entered a name."""
    reviewer = browser_reviewer(state.workspace(), name if cookie is None else cookie)
    name_reviewer(state.workspace(), reviewer.identity, name)
    return reviewer._replace(name=name)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    st.cache_resource.clear()
    st.cache_data.clear()
    return Workspace(tmp_path / "workspace")


def tinted_run(workspace: Workspace, classes: list[str], samples: int, wrong: int, height: int, title: str | None = None) -> Run:
    """A run on small images in three classes, the first with a wrong label, by a model that knows red, green and blue."""
    rng = np.random.default_rng(0)
    true = np.arange(samples) % 3
    tints = 80 * np.eye(3)[true] + rng.normal(0, 20, (samples, 3))
    images = rng.normal(40, 12, (samples, height, 8, 3)) + tints[:, None, None, :]
    labels = np.where(np.arange(samples) < wrong, (true + 1) % 3, true)
    head = nn.Linear(3, 3)
    with torch.no_grad():
        head.weight.copy_(20 * torch.eye(3))
        head.bias.zero_()
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    dataset = from_arrays(images.clip(0, 255).astype(np.uint8), labels, classes)
    return score(model, dataset, workspace=workspace, title=title)


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """90 images, 9 of them with a wrong label."""
    return tinted_run(Workspace(tmp_path_factory.mktemp("scored")), CLASSES, 90, 9, 8, "images *with* names")


@pytest.fixture
def run(workspace: Workspace, scored: Run) -> Run:
    """The same run in a workspace of its own, where nobody has decided anything."""
    shutil.copytree(scored.workspace.path, workspace.path, dirs_exist_ok=True)
    return workspace.run(scored.id)


def flags_at_first(run: Run) -> pd.DataFrame:
    """What is flagged on a run that nobody has looked at: as much as is recommended."""
    assert run.recommendation is not None
    flags = run.flag("recommended", run.recommendation.budget)
    assert len(flags) > 3
    return flags


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
