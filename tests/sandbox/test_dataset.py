"""Data in a process of their own are the same data, and what a hostile file does to that process stays there."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from oga_core import models
from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.errors import InputError
from oga_core.limits import READER_BYTES
from oga_core.sandbox import (
    SandboxedDataset,
    SandboxedModel,
    client,
    dataset as sandboxed,
    list_architectures,
    open_sandboxed,
    start_spare,
)
from oga_core.scoring import estimate
from tests.sandbox.broken_decoder import END, break_decoder

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


# ---- the same data ---------------------------------------------------------------------------------------------------------
def outcome(work: Callable[[], object]) -> object:
    """What comes out, or the error and its words; arrays and images as bytes, so that they can be compared."""
    try:
        found = work()
    except (SampleError, InputError, TypeError) as error:
        return type(error), str(error)
    if isinstance(found, Image.Image):
        return found.mode, found.size, found.tobytes()
    return (found.dtype.str, found.shape, found.tobytes()) if isinstance(found, np.ndarray) else found


def same(data: SandboxedDataset, direct: Dataset) -> None:
    assert (data.kind, data.class_names, data.notes, data.origin) == (
        direct.kind,
        direct.class_names,
        direct.notes,
        direct.origin,
    )
    assert data.label_column == direct.label_column
    np.testing.assert_array_equal(data.labels, direct.labels)
    assert list(data.sources) == list(direct.sources)
    for i in range(len(direct)):
        for name, *more in (("load",), ("content",), ("thumbnail", 16), ("text",), ("words",), ("sample_id",), ("original",)):
            assert outcome(lambda: getattr(data, name)(i, *more)) == outcome(lambda: getattr(direct, name)(i, *more)), name  # noqa: B023
        assert data.label_name(i) == direct.label_name(i)
        assert data.holds(i, outcome(lambda: direct.sample_id(i)))  # type: ignore[arg-type]  # noqa: B023
        assert not data.holds(i, "0" * 32)
    ids = [str(outcome(lambda: direct.sample_id(i))) for i in range(len(direct))]  # noqa: B023
    words = [outcome(lambda: list(direct.words(i))) for i in range(len(direct))]  # noqa: B023
    expected = [[(part[:2], len(part)) for part in parts] if isinstance(parts, list) else None for parts in words]
    assert data.excerpts(list(enumerate(ids)), 2) == expected
    assert data.excerpts([(0, "0" * 32), (len(direct), ids[0])], 2) == [None, None]
    for typed in ("a", "ROW 1", "no such words", ""):
        np.testing.assert_array_equal(data.search(typed), direct.search(typed))


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@SHELL
@given(st.lists(st.tuples(shapes, st.sampled_from("ab"), st.booleans()), max_size=6), st.integers(0, 99))
def test_a_folder_of_images_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[tuple[int, int], str, bool]], seed: int
) -> None:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(seed)
    for i, (shape, name, whole) in enumerate([((8, 8), "a", True), ((8, 8), "b", True), *files]):
        path = root / name / f"{i} ü.png"
        png(path, rng.integers(0, 256, (*shape, 3), np.uint8))
        if not whole:  # half a file is one bad sample, with the same words
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    same(open_sandboxed(root), open_dataset(root))


# Half a character (a lone surrogate) comes into a text by an escape in JSON.
words = st.lists(st.sampled_from(["a", "B", " ", "ü", "\ud800", "\t", "row", "1", "🙂"]), max_size=8).map("".join)


@SHELL
@given(st.lists(st.tuples(words, st.sampled_from(["x", "y", ""])), max_size=6))
def test_a_table_of_texts_is_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("table") / "texts.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in [("a", "x"), ("b", "y"), *rows]]
    path.write_text("\n".join(lines), "ascii")
    same(open_sandboxed(path), open_dataset(path))


def test_arrays_are_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 40))
    features[4, 2] = np.nan
    np.savez(tmp_path / "features.npz", inputs=features, given=np.arange(9) % 3)
    options: dict[str, Any] = {"inputs": "inputs", "label": "given"}
    same(open_sandboxed(tmp_path / "features.npz", **options), open_dataset(tmp_path / "features.npz", **options))
    np.savez(tmp_path / "images.npz", x=rng.integers(0, 256, (5, 6, 7), np.uint8), y=np.array([0, 1, -1, 1, 0]))
    same(open_sandboxed(tmp_path / "images.npz"), open_dataset(tmp_path / "images.npz"))


def test_what_is_refused_is_refused_with_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_bytes(b"text,label\na,b\nc,d,e\n")
    (tmp_path / "page.zip").write_bytes(b"<!doctype html>")
    (tmp_path / "some.exe").write_bytes(b"MZ")
    for path in (*tmp_path.iterdir(), tmp_path / "nothing.csv"):
        refused = outcome(lambda: open_dataset(path))  # noqa: B023
        assert isinstance(refused, tuple)
        assert outcome(lambda: open_sandboxed(path)) == refused  # noqa: B023


def test_what_a_run_would_cost_is_told_with_and_without_weights(tmp_path: Path) -> None:
    import torch

    from oga_core import save_weights, train

    torch.manual_seed(0)
    y = np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 3)) + y[:, None], y=y)
    direct = open_dataset(tmp_path / "data.npz")
    data = open_sandboxed(tmp_path / "data.npz")
    found = SandboxedModel(data, None, None).estimate_run()
    assert found.model == "feature_mlp, trained first"
    assert (found.mapping, found.notes) == ([], [])
    for scope, cost in estimate(direct).items():
        assert (found.costs[scope].parameters, found.costs[scope].bytes) == (cost.parameters, cost.bytes)
    save_weights(train(direct, epochs=1).classifier, tmp_path / "own.safetensors")
    found = SandboxedModel(data, None, tmp_path / "own.safetensors").estimate_run(["head.*"])
    assert (found.model, list(found.costs)) == ("feature_mlp", ["head.*"])
    assert found.mapping == [("0", 0, "0"), ("1", 1, "1")]
    (tmp_path / "page.safetensors").write_bytes(b"<!doctype html><html></html>")
    with pytest.raises(InputError, match="web page"):
        SandboxedModel(data, "feature_mlp", tmp_path / "page.safetensors").estimate_run()
    with pytest.raises(InputError, match="does it match a parameter"):
        SandboxedModel(data, None, None).estimate_run(["nothing.*"])


# ---- what the process may take ---------------------------------------------------------------------------------------------
def test_the_process_is_bounded_and_this_one_is_not(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "1G")
    monkeypatch.setenv("OGA_LIMIT_READER_SECONDS", "50")
    data = open_sandboxed(images)
    most = {kind: resource.prlimit(pid_of(data), kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)}
    assert set(most.values()) == {(0, 0)}
    assert resource.prlimit(pid_of(data), resource.RLIMIT_DATA) == (1 << 30, 1 << 30)
    assert 50 <= resource.prlimit(pid_of(data), resource.RLIMIT_CPU)[0] <= 60
    assert int(Path(f"/proc/{pid_of(data)}/oom_score_adj").read_text()) > int(Path("/proc/self/oom_score_adj").read_text())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux's kernel")
def test_the_process_is_kept_from_the_network_and_this_one_is_not(images: Path) -> None:
    data = open_sandboxed(images)
    own, reading = (
        {int(task.read_text().partition("Seccomp_filters:")[2].split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/status")}
        for pid in (os.getpid(), pid_of(data))
    )
    assert reading == {count + 1 for count in own}  # of every thread


def test_architectures_are_listed_by_a_process_of_their_own() -> None:
    assert list_architectures() == models.architectures()
    assert {"small_resnet", "resnet18"} <= set(list_architectures())


def test_an_image_that_needs_more_memory_is_one_bad_sample(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(images / "a" / "large.png", np.zeros((6500, 6500, 3), np.uint8))  # a small file: 127 MB of pixels
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "200M")
    data = open_sandboxed(images)
    (large,) = [i for i, source in enumerate(data.sources) if "large" in source]
    with pytest.raises(SampleError, match=r"images, a/large\.png: .*out of memory: the limit reader_bytes is 209,715,200"):
        data.thumbnail(large)
    assert [data.thumbnail(i).size for i in range(len(data)) if i != large] == [(119, 153)] * 12


def test_arrays_that_need_more_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "large.npz", x=np.zeros((200, 1_000_000), np.uint8), y=np.arange(200) % 2)
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "150M")
    with pytest.raises(InputError, match=r"large\.npz: .*out of memory: the limit reader_bytes is 157,286,400"):
        open_sandboxed(tmp_path / "large.npz")


def test_a_table_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.jsonl").write_bytes(b'{"text": "a", "label": "b"}\n' * 3_000_000)
    monkeypatch.setenv("OGA_LIMIT_READER_SECONDS", "1")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"long\.jsonl: .* took too long: the limit reader_seconds is 1 seconds"):
        open_sandboxed(tmp_path / "long.jsonl")
    assert time.monotonic() - began < SECONDS


def test_the_seconds_are_those_of_one_question(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_sandboxed(images)
    bound = resource.prlimit(pid_of(data), resource.RLIMIT_CPU)[0]
    before = pid_of(data)
    resource.prlimit(before, resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))  # as if its time were used up
    data.thumbnail(0)
    assert resource.prlimit(before, resource.RLIMIT_CPU)[0] >= bound
    assert pid_of(data) == before


def test_who_gives_no_answer_is_ended(images: Path) -> None:
    data = open_sandboxed(images)
    data._free[0].connection.settimeout(0.5)
    os.kill(pid_of(data), signal.SIGSTOP)
    with pytest.raises(SampleError, match="gave no answer and was ended: the limit reader_seconds"):
        data.thumbnail(3)
    assert data.thumbnail(3).size == (119, 153)


# ---- a process that dies ---------------------------------------------------------------------------------------------------
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
        with pytest.raises(SampleError, match="images is not there"):
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


# ---- files from strangers --------------------------------------------------------------------------------------------------
def parquet(folder: Path, rows: int = 100_000) -> tuple[Path, bytes]:
    """A table, and how its number of rows is written in its metadata (a zigzag varint)."""
    path = folder / "texts.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * (rows // 2), "label": ["x", "y"] * (rows // 2)}), path, compression="none")
    return path, bytes([2 * rows & 127 | 128, 2 * rows >> 7 & 127 | 128, 2 * rows >> 14])


@SHELL
@given(st.integers(1, 8), st.sampled_from([b"\xfe\xff\x7f", b"\x80\x80\x01", b"\xff\xff\x7f", b"\x80\x80\x00"]))
def test_forged_counts_are_refused_or_read_and_harm_nobody(
    tmp_path_factory: pytest.TempPathFactory, which: int, forged: bytes
) -> None:
    path, count = parquet(tmp_path_factory.mktemp("forged"))
    parts = path.read_bytes().split(count)
    assert len(parts) > which
    path.write_bytes(count.join(parts[:which]) + forged + count.join(parts[which:]))
    try:
        data = open_sandboxed(path)
    except InputError as error:
        assert "texts.parquet" in str(error)  # noqa: PT017  either answer is right
    else:
        assert len(data) == len(data.labels) == len(data.search("a"))


def test_a_zip_bomb_is_one_bad_sample(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(images.rglob("*.png")):
            archive.write(path, path.relative_to(images))
        archive.writestr("a/bomb.png", bytes(300 << 20))
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "250M")
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1G")
    data = open_sandboxed(tmp_path / "images.zip")
    told = [outcome(lambda: data.thumbnail(i)) for i in range(len(data))]  # noqa: B023
    (bad,) = [t[1] for t in told if isinstance(t, tuple) and t[0] is SampleError]
    assert "a/bomb.png" in bad
    assert "reader_bytes" in bad


def test_a_folder_where_the_user_stands_is_not_taken_for_ours(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "oga_core").mkdir()
    (tmp_path / "oga_core" / "__init__.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    assert len(open_sandboxed(images)) == 12


# ---- a process that was taken over -----------------------------------------------------------------------------------------
LIE = """
import pickle, socket, struct, sys, json
class Owned:
    def __reduce__(self): return (open, ({marker!r}, "w"))
connection = socket.socket(fileno=0)
facts = {{"kind": "text", "class_names": ["a", "b"], "notes": [], "label_column": "label"}}
def message(head, body=b""): return struct.pack("<QQ", len(head), len(body)) + head + body
def value(v): return message(json.dumps({{"is": "value", "value": v}}).encode())
def labels(*v):
    return message(json.dumps({{"is": "array", "dtype": "<i8", "shape": [len(v)]}}).encode(), struct.pack(f"<{{len(v)}}q", *v))
for answer in {answers}:
    connection.recv(1 << 16)
    connection.sendall(answer)
connection.recv(1)
"""


@pytest.mark.parametrize(
    "answers",
    [
        "[value(None), pickle.dumps(Owned())]",
        "[value(None), message(pickle.dumps(Owned()))]",
        "[value(None), value(pickle.dumps(Owned(), 0).decode('latin-1'))]",
        "[value(None), struct.pack('<QQ', 1 << 60, 0)]",
        "[value(None), message(b'[' * 100_000)]",
        "[value(None), value({**facts, 'kind': 'nothing'}), labels(0)]",
        "[value(None), value({**facts, 'class_names': 7}), labels(0)]",
        "[value(None), value([]), labels(0)]",
        "[value(None), value(facts), labels(0, 2)]",
        "[value(None), value(facts), labels(0, -2)]",
        "[value(None), value(facts), value([0, 1])]",
        "[value(None), value(facts), message(json.dumps({'is': 'array', 'dtype': '|O', 'shape': [1]}).encode(), b'8' * 8)]",
        "[value(None), value(facts), message(json.dumps({'is': 'image', 'size': [1e9, 1e9]}).encode())]",
        "[value(None), value(facts), message(json.dumps({'is': 'rows', 'count': 10**30}).encode())]",
    ],
)
def test_nothing_that_it_answers_is_run_or_believed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    (tmp_path / "lie.py").write_text(LIE.format(marker=str(tmp_path / "owned"), answers=answers))
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'lie.py'}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"images: the sandbox process (answered what makes no sense|ended)"):
        open_sandboxed(images)
    assert not (tmp_path / "owned").exists()
