"""The process that reads, when it dies or is not needed any more."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oga_core.data import SampleError, open_dataset
from oga_core.limits import READER_BYTES
from oga_core.sandbox import SandboxedModel, client, dataset as sandboxed, open_sandboxed, start_spare
from tests.sandbox.broken_decoder import END, break_decoder
from tests.sandbox.sandboxed_data import SECONDS, _one_process, images, outcome, pid_of

__all__ = ["_one_process", "images"]


def test_one_that_is_killed_between_questions_is_replaced_and_nobody_notices(images: Path) -> None:
    data = open_sandboxed(images)
    before = data.thumbnail(3).tobytes()
    os.kill(pid_of(data), signal.SIGKILL)
    data._free[0].child.wait()
    assert data.thumbnail(3).tobytes() == before


def test_one_that_is_killed_while_it_reads_is_told_with_the_file_and_the_next_question_is_answered(images: Path) -> None:
    data = open_sandboxed(images)
    expected = data.thumbnail(3).tobytes()
    os.kill(pid_of(data), signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (pid_of(data), signal.SIGKILL)).start()
    with pytest.raises(SampleError) as caught:
        data.thumbnail(3)
    assert str(caught.value).startswith(f"images, {data.sources[3]}: the sandbox process was ended by SIGKILL")
    assert "reader_bytes" in str(caught.value)
    assert data.thumbnail(3).tobytes() == expected


@pytest.fixture
def poisoned(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, of which the one at position 4 crashes the decoder."""
    break_decoder(tmp_path / "broken", monkeypatch)
    path = images / open_dataset(images).sources[4]
    path.write_bytes(path.read_bytes() + END)
    return images


@pytest.mark.parametrize("most", [1, 2])
def test_of_thumbnails_asked_for_at_once_only_the_one_that_kills_is_missing(
    poisoned: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(sandboxed, "MOST", most)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    data, direct = open_sandboxed(poisoned), open_dataset(poisoned)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda i: outcome(lambda: data.thumbnail(i)), range(12)))
    for i in (i for i in range(12) if i != 4):
        assert found[i] == outcome(lambda: direct.thumbnail(i))  # noqa: B023
    told = f"images, {direct.sources[4]}: the sandbox process was ended by SIGSEGV, perhaps for its memory: {READER_BYTES}"
    assert found[4] == (SampleError, told)
    end = time.monotonic() + SECONDS
    while len(data._free) < most and time.monotonic() < end:
        time.sleep(0.01)
    assert len(data._free) == most
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda i: outcome(lambda: data.thumbnail(i)), range(12))) == found


def test_what_has_killed_twice_is_not_tried_again(poisoned: Path) -> None:
    data = open_sandboxed(poisoned)
    for _ in range(2):
        with pytest.raises(SampleError, match="SIGSEGV"):
            data.thumbnail(4)
    data.thumbnail(5)
    before = pid_of(data)
    with pytest.raises(SampleError, match="has died of it 2 times and is not asked again"):
        data.thumbnail(4)
    assert pid_of(data) == before
    assert data.holds(4, open_dataset(poisoned).sample_id(4))  # which decodes nothing


def test_data_that_are_gone_when_another_must_open_them_are_a_bad_sample(images: Path, tmp_path: Path) -> None:
    data = open_sandboxed(images)
    images.rename(tmp_path / "moved")
    os.kill(pid_of(data), signal.SIGKILL)
    data._free[0].child.wait()
    for _ in range(2):
        with pytest.raises(SampleError, match=r"not found: .*images"):
            data.thumbnail(3)
    (tmp_path / "moved").rename(images)
    assert data.thumbnail(3).size == (119, 153)


def test_an_answer_that_nobody_waited_for_is_not_taken_for_another(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, direct = open_sandboxed(images), open_dataset(images)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("oga_core.sandbox.wire.receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.thumbnail(5)
    assert data.thumbnail(6).tobytes() == direct.thumbnail(6).tobytes()


def test_a_process_that_is_ready_is_taken_once_and_has_the_limits_of_now(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_spare()
    start_spare()
    (ready,) = client._spare
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "2G")
    direct = open_sandboxed(images)
    first, second = open_sandboxed(images, use_spare=True), open_sandboxed(images, use_spare=True)
    assert pid_of(first) == ready.child.pid
    assert len({pid_of(data) for data in (direct, first, second)}) == 3
    assert resource.prlimit(pid_of(first), resource.RLIMIT_DATA) == (2 << 30, 2 << 30)
    assert first.thumbnail(0).tobytes() == direct.thumbnail(0).tobytes() == second.thumbnail(0).tobytes()
    assert SandboxedModel(first, None, None).estimate_run().model == "small_resnet, trained first"


def test_one_that_was_ready_and_has_died_is_replaced(images: Path) -> None:
    start_spare()
    client._spare[0].child.kill()
    assert len(open_sandboxed(images, use_spare=True)) == 12


def test_the_process_ends_with_its_data(images: Path) -> None:
    data = open_sandboxed(images)
    pid = pid_of(data)
    del data
    assert not Path(f"/proc/{pid}").exists()


def test_the_process_ends_with_the_server(images: Path) -> None:
    data = open_sandboxed(images)
    data._free[0].connection.close()  # as the kernel does for a server that was killed
    assert data._free[0].child.wait(SECONDS) == 0
