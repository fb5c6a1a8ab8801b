"""A browser that asks the routes of the review."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import queues
from oga_core import Run
from oga_core.review import Selection
from tests.app.conftest import browser

SELECTION = Selection("l1", 0.2, flagged_only=False)


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A browser that looks at a page of this server."""
    with browser() as client:
        yield client


@pytest.fixture
def queue(run: Run) -> queues.Queue:
    """All samples, most suspicious first."""
    return queues.keep(run, run.ranked("l1"), SELECTION)


def post(client: TestClient, path: str, run: Run, /, **sent: Any) -> Any:
    answer = client.post(path, json={"run": run.id, "op": uuid.uuid4().hex} | sent)
    assert answer.headers["cache-control"] == "no-store"
    return answer.json() | {"status": answer.status_code}


def keep_rows(client: TestClient, run: Run, /, *rows: int, **sent: Any) -> Any:
    return post(client, "/oga/decide", run, **{"action": "keep", "label": "", "samples": [[r, 0] for r in rows]} | sent)


def ids(run: Run, *rows: int) -> list[str]:
    return run.table["sample_id"].iloc[list(rows)].tolist()


def window(client: TestClient, run: Run, queue: queues.Queue, **asked: Any) -> Any:
    answer = client.get(f"/oga/window/{run.id}/{queue.name}", params=asked)
    assert answer.status_code == 200
    return answer.json()
