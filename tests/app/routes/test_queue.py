"""Windows of a queue, its share of each class, and the samples that reviewers claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.testclient import TestClient

from app import queues, state
from oga_core import Run, decide, decisions
from oga_core.review import Selection
from tests.app.conftest import CLASSES
from tests.app.routes.conftest import SELECTION, ids, post, window


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 100), st.integers(1, 100))
def test_a_part_of_the_queue_is_that_part(client: TestClient, run: Run, queue: queues.Queue, start: int, count: int) -> None:
    found = window(client, run, queue, start=start, count=count)
    assert [i["row"] for i in found["samples"]] == run.ranked("l1")[start : start + min(count, 60)].tolist()
    assert found["total"] == 90


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 89), st.integers(1, 60), st.booleans())
def test_a_sample_is_found_with_those_around_it(
    client: TestClient, run: Run, queue: queues.Queue, place: int, count: int, aligned: bool
) -> None:
    sample_id = ids(run, int(queue.rows[place]))[0]
    found = window(client, run, queue, id=sample_id, count=count, **({"aligned": 1} if aligned else {}))
    assert found["place"] == place
    assert found["samples"][place - found["start"]]["id"] == sample_id
    assert not aligned or found["start"] % count == 0


def test_a_sample_that_has_left_the_queue_is_sent_alone(client: TestClient, run: Run) -> None:
    short = queues.keep(run, np.arange(10), SELECTION)
    found = window(client, run, short, id=ids(run, 80)[0])
    assert (found["place"], [i["row"] for i in found["outside"]]) == (None, [80])
    assert window(client, run, short, id="no such sample")["outside"] == []


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
    for sample in window(client, run, queue, start=0)["samples"]:
        entry = run.table.iloc[sample["row"]]
        assert (sample["id"], sample["index"], sample["source"]) == (entry["sample_id"], entry["index"], entry["source"])
        assert (sample["label"], sample["predicted"], sample["suggested"]) == (
            entry["label"],
            entry["predicted"],
            entry["suggested_label"],
        )
        assert sample["confidence"] == pytest.approx(entry["confidence"])
        assert sample["score"] == pytest.approx(entry["l1"])
        assert sample["percentile"] == pytest.approx((scores <= entry["l1"]).mean())
        assert sample["decision"] == queues.describe_decision(decisions(run).get(entry["sample_id"]))


def test_groups_are_numbered_and_counted(client: TestClient, run: Run) -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    queue = queues.keep(run, np.arange(6), Selection("l1", order="cluster"), groups)
    found = window(client, run, queue, start=2)["samples"]
    assert [(i["group"], i["alike"]) for i in found] == [(0, 3), (1, 1), (2, 2), (2, 2)]


def test_only_the_latest_queues_are_kept_and_one_that_is_not_is_told(client: TestClient, run: Run) -> None:
    first = queues.keep(run, np.arange(1), SELECTION)
    for n in range(queues.MOST_QUEUES):
        queues.keep(run, np.arange(n + 2), SELECTION)
    answer = client.get(f"/oga/window/{run.id}/{first.name}")
    assert answer.status_code == 410
    assert "asks for it again" in answer.json()["error"]


def test_the_shares_of_the_classes_are_those_of_the_queue(client: TestClient, run: Run) -> None:
    queue = queues.keep(run, np.arange(10), SELECTION)
    labels = run.table["label"]
    shares = client.get(f"/oga/shares/{run.id}/{queue.name}").json()
    assert {c["class"]: (c["concerned"], c["samples"]) for c in shares["classes"]} == {
        name: (int((labels[:10] == name).sum()), int((labels == name).sum())) for name in CLASSES
    }


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
