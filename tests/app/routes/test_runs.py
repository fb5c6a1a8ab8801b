"""The progress of a run's jobs, and its classes."""

from __future__ import annotations

from starlette.testclient import TestClient

from oga_core import Run, Workspace
from tests.app.conftest import CLASSES


def test_how_far_a_job_is_can_be_asked_before_the_run_is_done(client: TestClient, workspace: Workspace) -> None:
    run = workspace.new_run("texts")
    assert client.get(f"/oga/job/{run.id}/score").json()["state"] == "absent"
    with run.job("score").track(lambda *_: None) as report:
        report("scoring", 3, 8)
        answer = client.get(f"/oga/job/{run.id}/score")
        assert answer.json() == {"state": "running", "stage": "scoring", "done": 3, "total": 8, "message": ""}
        assert answer.headers["cache-control"] == "no-store"
    assert client.get(f"/oga/job/{run.id}/score").json()["state"] == "done"
    assert client.get("/oga/job/nowhere/score").status_code == 400


def test_the_classes_are_sent_once(client: TestClient, run: Run) -> None:
    answer = client.get(f"/oga/classes/{run.id}")
    assert answer.json() == CLASSES
    assert "immutable" in answer.headers["cache-control"]
