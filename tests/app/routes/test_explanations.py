"""Why a sample is flagged, with its neighbours, and the shares of the layers."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from app import queues
from oga_core import Run
from oga_core.review import why
from tests.app.routes.conftest import SELECTION, ids


def test_why_tells_all_that_is_known_and_how_the_samples_it_names_look(client: TestClient, run: Run, queue: queues.Queue) -> None:
    found = client.get(f"/oga/why/{run.id}/4", params={"queue": queue.name})
    assert "private" in found.headers["cache-control"]
    told, expected = found.json(), json.loads(json.dumps(why(run, 4, SELECTION).to_dict()))
    assert {k: told[k] for k in expected} == expected
    named = {n["row"] for n in [*expected["near"], *expected["near_label"]]}
    assert {int(row) for row in told["samples"]} == named
    assert all(told["samples"][str(row)]["id"] == ids(run, row)[0] for row in named)
    assert not told["layers"]


def test_the_shares_of_the_layers_are_told_where_asked_for(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.explanations.state.model", lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr("app.routes.explanations.layer_shares", lambda *_: [("conv", 0.25), ("head", 0.75)])
        found = client.get(f"/oga/layers/{run.id}/4")
    assert found.json() == [{"layer": "conv", "share": 0.25}, {"layer": "head", "share": 0.75}]
    assert client.get(f"/oga/layers/{run.id}/4").json() == []  # the head is one layer
