"""What the browser may ask the server for beside the pages: parts of the queue, images, decisions; and what it may not."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from app import queues, routes, state
from app.byte_cache import ENTRY_BYTES
from app.routes import MOST_BYTES
from oga_core import Run, Workspace, decide, decisions, open_dataset, score, undo
from oga_core.reader.contained import Excerpt
from oga_core.review import Selection, browser_reviewer, history, why
from tests.app.conftest import CLASSES, ORIGIN, behind_the_door, browser, named
from tests.reader.broken_decoder import END, break_decoder

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


# ---- decisions -------------------------------------------------------------------------------------------------------------
def test_what_is_answered_as_saved_is_on_disk_and_stands(client: TestClient, run: Run) -> None:
    answer = post(client, "/oga/decide", run, action="relabel", label=CLASSES[1], samples=[[4, 0]])
    (stands,) = decisions(run).values()
    assert (stands.sample_id, stands.action, stands.new_label) == (*ids(run, 4), "relabel", CLASSES[1])
    assert answer["status"] == 200
    assert answer["saved"] == 1
    assert answer["version"] == stands.seq
    assert answer["decisions"] == {stands.sample_id: queues.decision(stands)}


def test_the_reviewer_is_whom_the_server_knows_for_the_browser(client: TestClient, run: Run) -> None:
    named("Ann", "b1")
    client.cookies.set(state.BROWSER_COOKIE, "b1")
    keep_rows(client, run, 4, reviewer="Mallory")
    assert [d.reviewer for d in decisions(run).values()] == ["Ann"]


def test_a_repeated_request_counts_once(client: TestClient, run: Run) -> None:
    answers = [keep_rows(client, run, 3, op="the same") for _ in range(3)]
    assert [a["saved"] for a in answers] == [1, 0, 0]
    assert len(history(run, *ids(run, 3))) == 1
    assert answers[2]["decisions"] == answers[0]["decisions"]


def test_what_was_not_seen_is_answered_as_a_conflict(client: TestClient, run: Run) -> None:
    decide(run, run.table.iloc[[3]], "remove", reviewer="Bob")
    seen = decisions(run)[ids(run, 3)[0]].seq
    answer = keep_rows(client, run, 3)
    assert answer["decisions"][ids(run, 3)[0]]["conflict"]
    assert answer["decisions"][ids(run, 3)[0]]["others"] == [["Bob", "remove", ""]]
    undo(run, reviewer=browser_reviewer(state.workspace(), "a browser")._replace(name="x"))
    answer = keep_rows(client, run, 3, samples=[[3, seen]])
    assert not answer["decisions"][ids(run, 3)[0]]["conflict"]


def test_several_samples_are_one_step_and_each_its_suggested_label_is_taken(client: TestClient, run: Run) -> None:
    assert post(client, "/oga/decide", run, action="relabel", label=None, samples=[[r, 0] for r in range(5)])["saved"] == 5
    assert {s: d.new_label for s, d in decisions(run).items()} == dict(
        zip(ids(run, *range(5)), run.table["suggested_label"].iloc[:5], strict=True)
    )
    answer = post(client, "/oga/undo", run)
    assert (answer["saved"], answer["ids"], answer["decisions"]) == (5, ids(run, *range(5)), dict.fromkeys(ids(run, *range(5))))
    assert not decisions(run)


def test_undo_and_redo_go_through_every_step_and_end(client: TestClient, run: Run) -> None:
    for row in range(3):
        keep_rows(client, run, row)
    assert [post(client, "/oga/undo", run)["ids"] for _ in range(4)] == [ids(run, 2), ids(run, 1), ids(run, 0), []]
    assert [post(client, "/oga/redo", run)["ids"] for _ in range(4)] == [ids(run, 0), ids(run, 1), ids(run, 2), []]
    assert len(decisions(run)) == 3


def test_a_decision_does_not_need_a_queue_that_is_still_kept(client: TestClient, run: Run) -> None:
    answer = keep_rows(client, run, 1, queue="gone")
    assert (answer["saved"], answer["progress"]) == (1, None)
    assert post(client, "/oga/undo", run, queue="gone")["saved"] == 1


def test_a_whole_queue_is_decided_as_it_was_seen_and_taken_back_at_once(
    client: TestClient, run: Run, queue: queues.Queue
) -> None:
    decide(run, run.table.iloc[[7]], "remove", reviewer="Bob")
    seen = client.get(f"/oga/shares/{run.id}/{queue.name}").json()
    decide(run, run.table.iloc[[8]], "remove", reviewer="Bob")  # meanwhile
    answer = post(client, "/oga/decide", run, action="keep", label="", queue=queue.name, all=True, version=seen["version"])
    assert (answer["saved"], answer["ids"]) == (90, [])
    assert answer["progress"]["decided"] == 90
    assert {s for s, d in decisions(run).items() if d.conflict} == set(ids(run, 8))
    assert post(client, "/oga/undo", run)["saved"] == 90
    assert set(decisions(run)) == set(ids(run, 7, 8))


def test_the_shares_of_the_classes_are_those_of_the_queue(client: TestClient, run: Run) -> None:
    queue = queues.keep(run, np.arange(10), SELECTION)
    labels = run.table["label"]
    shares = client.get(f"/oga/shares/{run.id}/{queue.name}").json()
    assert {c["class"]: (c["concerned"], c["samples"]) for c in shares["classes"]} == {
        name: (int((labels[:10] == name).sum()), int((labels == name).sum())) for name in CLASSES
    }


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(5, "input/output error")])
def test_what_cannot_be_saved_is_told_with_the_reason(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.routes.decide", fails)
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 503
    assert str(error) in answer["error"]
    assert "saved" not in answer


def test_what_nobody_foresaw_is_told_by_a_number_only(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.decide", Mock(side_effect=KeyError("a secret")))
    answer = keep_rows(client, run, 1)
    assert answer["status"] == 500
    assert "secret" not in answer["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"action": "explode"}, 400),
        ({"action": "relabel", "label": "no such class"}, 400),
        ({"label": 3}, 400),
        ({"samples": []}, 400),
        ({"samples": [[row, 0] for row in range(61)]}, 400),
        ({"samples": [[0, "x"]]}, 400),
        ({"samples": [[0]]}, 400),
        ({"samples": [[0, 1 << 70]]}, 400),
        ({"samples": [[0, -1]]}, 400),
        ({"samples": [[90, 0]]}, 404),
        ({"samples": [[-1, 0]]}, 404),
        ({"samples": [[True, 0]]}, 404),
        ({"run": "no such run"}, 404),
        ({"op": ""}, 400),
        ({"op": "x" * 1000}, 400),
        ({"all": True, "queue": "gone", "version": 0}, 410),
        ({"all": True, "version": 0}, 410),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_saved(
    client: TestClient, run: Run, sent: dict[str, Any], status: int
) -> None:
    answer = keep_rows(client, run, 1, **sent)
    assert answer["status"] == status
    assert answer["error"]
    assert not decisions(run)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["op", "action", "label", "samples", "queue", "all", "version", "place"]), json_values))
def test_nothing_that_is_sent_breaks_a_route(client: TestClient, run: Run, sent: dict[str, Any]) -> None:
    for path in ("decide", "undo", "redo", "claim"):
        assert client.post(f"/oga/{path}", json={"run": run.id, **sent}).status_code in (200, 400, 404, 410)


# ---- who may send ------------------------------------------------------------------------------------------------------------
BODY = {"action": "keep", "label": "", "op": "1", "samples": [[0, 0]]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_decisions_are_taken_from_own_pages_only(client: TestClient, run: Run, headers: dict[str, str], status: int) -> None:
    content = json.dumps({"run": run.id, **BODY})
    answer = client.post("/oga/decide", content=content, headers={"content-type": "application/json", **headers})
    assert answer.status_code == status
    assert bool(decisions(run)) == (status == 200)


def test_a_request_that_does_not_say_where_it_comes_from_is_refused(run: Run) -> None:
    with TestClient(behind_the_door(), ORIGIN) as client:
        assert client.post("/oga/decide", json={"run": run.id, **BODY}).status_code == 403
        assert client.get("/oga/decide").status_code == 405


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"x" * (MOST_BYTES + 1), 413), (b"[1]", 400), (b"{", 400), (b"", 400), (b"\xff", 400), (b"[" * 60_000, 400)],
)
def test_a_body_that_is_too_large_or_no_object_is_refused(client: TestClient, run: Run, content: bytes, status: int) -> None:
    answer = client.post("/oga/decide", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


# ---- the queue -----------------------------------------------------------------------------------------------------------------
def window(client: TestClient, run: Run, queue: queues.Queue, **asked: Any) -> Any:
    answer = client.get(f"/oga/window/{run.id}/{queue.name}", params=asked)
    assert answer.status_code == 200
    return answer.json()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 100), st.integers(1, 100))
def test_a_part_of_the_queue_is_that_part(client: TestClient, run: Run, queue: queues.Queue, start: int, count: int) -> None:
    found = window(client, run, queue, start=start, count=count)
    assert [i["row"] for i in found["items"]] == run.ranked("l1")[start : start + min(count, 60)].tolist()
    assert found["total"] == 90


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 89), st.integers(1, 60), st.booleans())
def test_a_sample_is_found_with_those_around_it(
    client: TestClient, run: Run, queue: queues.Queue, place: int, count: int, aligned: bool
) -> None:
    sample_id = ids(run, int(queue.rows[place]))[0]
    found = window(client, run, queue, id=sample_id, count=count, **({"aligned": 1} if aligned else {}))
    assert found["place"] == place
    assert found["items"][place - found["start"]]["id"] == sample_id
    assert not aligned or found["start"] % count == 0


def test_a_sample_that_has_left_the_queue_is_sent_alone(client: TestClient, run: Run) -> None:
    short = queues.keep(run, np.arange(10), SELECTION)
    found = window(client, run, short, id=ids(run, 80)[0])
    assert (found["place"], [i["row"] for i in found["alone"]]) == (None, [80])
    assert window(client, run, short, id="no such sample")["alone"] == []


def test_the_first_undecided_sample_is_found_from_a_place_on(client: TestClient, run: Run, queue: queues.Queue) -> None:
    decide(run, run.table.iloc[queue.rows[:20]], "keep", reviewer="Ann")
    decide(run, run.table.iloc[queue.rows[30:90]], "keep", reviewer="Ann")
    assert window(client, run, queue, undecided=0)["place"] == 20
    assert window(client, run, queue, undecided=25)["place"] == 25
    assert window(client, run, queue, undecided=30)["place"] is None
    assert window(client, run, queue, undecided=0)["progress"]["decided"] == 80


def test_an_item_has_what_the_table_has(client: TestClient, run: Run, queue: queues.Queue) -> None:
    decide(run, run.table.iloc[[int(queue.rows[1])]], "unsure", reviewer="Ann")
    scores = run.table["l1"]
    for item in window(client, run, queue, start=0)["items"]:
        entry = run.table.iloc[item["row"]]
        assert (item["id"], item["index"], item["source"]) == (entry["sample_id"], entry["index"], entry["source"])
        assert (item["label"], item["predicted"], item["suggested"]) == (
            entry["label"],
            entry["predicted"],
            entry["suggested_label"],
        )
        assert item["confidence"] == pytest.approx(entry["confidence"])
        assert item["score"] == pytest.approx(entry["l1"])
        assert item["percentile"] == pytest.approx((scores <= entry["l1"]).mean())
        assert item["decision"] == queues.decision(decisions(run).get(entry["sample_id"]))


def test_groups_are_numbered_and_counted(client: TestClient, run: Run) -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    queue = queues.keep(run, np.arange(6), Selection("l1", order="cluster"), groups)
    found = window(client, run, queue, start=2)["items"]
    assert [(i["group"], i["alike"]) for i in found] == [(0, 3), (1, 1), (2, 2), (2, 2)]


def test_equal_queues_have_one_name_and_others_another(run: Run) -> None:
    names = {
        queues.keep(run, rows, selection).name
        for rows in (np.arange(5), np.arange(6), np.arange(5)[::-1])
        for selection in (SELECTION, Selection("l2", 0.2))
    }
    assert len(names) == 6
    assert queues.keep(run, np.arange(5, dtype=np.int32), SELECTION).name in names


def test_only_the_latest_queues_are_kept_and_one_that_is_not_is_told(client: TestClient, run: Run) -> None:
    first = queues.keep(run, np.arange(1), SELECTION)
    for n in range(queues.KEPT):
        queues.keep(run, np.arange(n + 2), SELECTION)
    answer = client.get(f"/oga/window/{run.id}/{first.name}")
    assert answer.status_code == 410
    assert "asks for it again" in answer.json()["error"]


def test_two_reviewers_of_a_shared_queue_are_not_handed_the_same_sample(
    client: TestClient, run: Run, queue: queues.Queue
) -> None:
    places: dict[str, list[int]] = {}
    for name in ("Ann", "Bob", "Ann"):
        client.cookies.set(state.BROWSER_COOKIE, name)
        places[name] = post(client, "/oga/claim", run, queue=queue.name, place=10)["places"]
    assert places == {"Ann": list(range(10, 18)), "Bob": list(range(18, 26))}
    decide(run, run.table.iloc[queue.rows[10:88]], "keep", reviewer="Cleo")
    assert post(client, "/oga/claim", run, queue=queue.name, place=10)["places"] == [88, 89, 0, 1, 2, 3, 4, 5]


def test_one_sample_alone_is_claimed_unless_another_reviewer_has_it(client: TestClient, run: Run, queue: queues.Queue) -> None:
    assert post(client, "/oga/claim", run, queue=queue.name, place=10, only=True)["places"] == [10]
    client.cookies.set(state.BROWSER_COOKIE, "another")
    assert post(client, "/oga/claim", run, queue=queue.name, place=10, only=True)["places"] == []
    assert post(client, "/oga/claim", run, queue=queue.name, place=11, only=True)["places"] == [11]
    assert post(client, "/oga/claim", run, queue=queue.name, place=90, only=True)["places"] == [0]


# ---- samples -------------------------------------------------------------------------------------------------------------------
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
