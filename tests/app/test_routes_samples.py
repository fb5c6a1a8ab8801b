"""The routes of samples: images, texts, why one was flagged, its history, and the state of a job."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from app import queues, routes, state
from app.byte_cache import ENTRY_BYTES
from oga_core import Run, Workspace, open_dataset, score
from oga_core.reader.contained import Excerpt
from oga_core.review import why
from tests.app.conftest import CLASSES
from tests.app.routes_client import SELECTION, client, ids, keep_rows, post, queue, window
from tests.reader.broken_decoder import END, break_decoder

__all__ = ["client", "queue"]


def test_an_image_is_the_thumbnail_and_may_be_kept(client: TestClient, run: Run) -> None:
    answer = client.get(f"/oga/image/{run.id}/7/160")
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    expected = state.dataset(run.id).thumbnail(7, 160)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.asarray(expected))


def test_images_are_cached_up_to_the_limit_in_bytes_and_made_once(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OGA_LIMIT_IMAGE_CACHE_BYTES", "256k")
    data, cache = state.dataset(run.id), routes._images()
    thumbnail = Mock(wraps=data.thumbnail)
    monkeypatch.setattr(data, "thumbnail", thumbnail)
    largest = 0
    for size in routes.SIZES:
        for index in range(90):
            largest = max(largest, len(client.get(f"/oga/image/{run.id}/{index}/{size}").content))
            assert cache.size <= 256 << 10
    assert thumbnail.call_count == 90 * len(routes.SIZES)
    assert len(cache) < thumbnail.call_count
    assert cache.size > (256 << 10) - largest - ENTRY_BYTES
    answers = {client.get(f"/oga/image/{run.id}/89/{routes.SIZES[-1]}").content for _ in range(3)}
    assert len(answers) == 1
    assert thumbnail.call_count == 90 * len(routes.SIZES)


def test_a_file_that_has_gone_is_told_and_shown_again_once_it_is_back(
    client: TestClient, workspace: Workspace, tmp_path: Path
) -> None:
    for i, name in enumerate("aabb"):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(tmp_path / "images" / name / f"{i}.png")
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    run = score(model, open_dataset(tmp_path / "images"), detectors="l1", workspace=workspace)
    path = tmp_path / "images" / "b" / "2.png"
    state.dataset(run.id)
    path.rename(tmp_path / "away")
    answer = client.get(f"/oga/image/{run.id}/2/160")
    assert answer.status_code == 410
    assert answer.json()["error"] == "This sample is not shown: cannot be read: No such file or directory"
    (tmp_path / "away").rename(path)
    assert client.get(f"/oga/image/{run.id}/2/160").status_code == 200


@pytest.mark.parametrize(
    "path", ["image/{run}/90/160", "image/{run}/7/161", "image/nothing/7/160", "text/{run}/90", "why/{run}/90"]
)
def test_what_is_not_there_is_told(client: TestClient, run: Run, queue: queues.Queue, path: str) -> None:
    answer = client.get(f"/oga/{path.format(run=run.id)}?queue={queue.name}")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_sample_that_has_changed_is_told_and_no_other_is_shown(client: TestClient, run: Run) -> None:
    assert run.spec.data is not None
    path = Path(run.spec.data.source)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["x"][7, 0, 0, 0] ^= 1
    np.savez(path, **arrays)
    for route in (f"image/{run.id}/7/160", f"text/{run.id}/7"):
        answer = client.get(f"/oga/{route}")
        assert answer.status_code == 410
        assert "changed since it was scored" in answer.json()["error"]
    assert client.get(f"/oga/image/{run.id}/8/160").status_code == 200


def test_an_image_that_kills_its_decoder_is_told_and_the_others_are_shown(
    client: TestClient, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate("aabb"):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(path := tmp_path / "images" / name / f"{i}.png")
        path.write_bytes(path.read_bytes() + END * (i == 2))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    run = score(model, open_dataset(tmp_path / "images"), detectors="l1", workspace=workspace)
    break_decoder(tmp_path / "broken", monkeypatch)
    answers = [client.get(f"/oga/image/{run.id}/{i}/160") for i in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 404, 200]
    assert answers[2].json()["error"].startswith("images, b/2.png: the process that reads it was ended by SIGSEGV")
    assert len(window(client, run, queues.keep(run, np.arange(4), SELECTION), start=0)["items"]) == 4


def test_texts_that_utf_8_cannot_hold_arrive(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = state.dataset(run.id)
    monkeypatch.setattr(data, "kind", "text")
    monkeypatch.setattr(data, "text", lambda index: "\ud800" + "long " * 10_000)
    monkeypatch.setattr(data, "excerpts", lambda samples, most: [[Excerpt(data.text(i)[:most], 50_001)] for i, _ in samples])
    found = client.get(f"/oga/text/{run.id}/3").json()
    assert (found["text"][:6], len(found["text"]), found["characters"]) == ("\ud800long ", 20_000, 50_001)
    queue = queues.keep(run, np.arange(3), SELECTION)
    item = window(client, run, queue, start=0)["items"][0]
    assert (item["text"], item["long"]) == (("\ud800" + "long " * 100)[:280], True)


# ---- why -----------------------------------------------------------------------------------------------------------------------
def test_why_tells_all_that_is_known_and_how_the_samples_it_names_look(client: TestClient, run: Run, queue: queues.Queue) -> None:
    found = client.get(f"/oga/why/{run.id}/4", params={"queue": queue.name})
    assert "private" in found.headers["cache-control"]
    told, expected = found.json(), json.loads(json.dumps(why(run, 4, SELECTION).to_dict()))
    assert {k: told[k] for k in expected} == expected
    named = {n["row"] for n in [*expected["near"], *expected["near_label"]]}
    assert {int(row) for row in told["items"]} == named
    assert all(told["items"][str(row)]["id"] == ids(run, row)[0] for row in named)
    assert not told["layers"]


def test_the_shares_of_the_layers_are_told_where_asked_for(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.layer_shares", lambda *_: [("conv", 0.25), ("head", 0.75)])
    found = client.get(f"/oga/layers/{run.id}/4")
    assert found.json() == [{"layer": "conv", "share": 0.25}, {"layer": "head", "share": 0.75}]
    monkeypatch.undo()
    assert client.get(f"/oga/layers/{run.id}/4").json() == []  # the head is one layer


def test_the_history_of_a_sample_has_every_event(client: TestClient, run: Run) -> None:
    keep_rows(client, run, 4)
    post(client, "/oga/undo", run)
    found = client.get(f"/oga/history/{run.id}/4").json()
    assert [(e["action"], e["undoes"] is None) for e in found] == [("keep", True), ("undo", False)]
    assert client.get(f"/oga/history/{run.id}/5").json() == []


def test_how_far_a_job_is_can_be_asked_before_the_run_is_done(client: TestClient, workspace: Workspace) -> None:
    run = workspace.new_run("texts")
    assert client.get(f"/oga/job/{run.id}/score").json()["state"] == "absent"
    with run.job("score").doing(lambda *_: None) as report:
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


# ---- the connection ------------------------------------------------------------------------------------------------------------
def test_answers_do_not_wait_for_the_browser_to_acknowledge_their_head() -> None:
    import app.server  # noqa: F401  which sets it for the process

    async def delayed() -> bool:
        with socket.socket(socket.AF_INET) as listening:  # without a protocol, as Streamlit makes it
            listening.bind(("127.0.0.1", 0))
            taken: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(lambda _, writer: taken.set_result(writer), sock=listening)
            _, asking = await asyncio.open_connection(*listening.getsockname())
            answering = await taken
            no_delay = answering.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (asking, answering):
                writer.close()
            server.close()
            return not no_delay

    assert not asyncio.run(delayed())
