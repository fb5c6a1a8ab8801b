"""Data in a process of their own are the same data, and what a hostile file does to that process stays there."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from oga_core import models
from oga_core.data import Dataset, SampleError, open_dataset
from oga_core.errors import InputError
from oga_core.sandbox import SandboxedDataset, SandboxedModel, list_architectures, open_sandboxed
from oga_core.scoring import estimate
from tests.sandbox.sandboxed_data import SECONDS, SHELL, _one_process, images, outcome, pid_of, png

__all__ = ["_one_process", "images"]


# ---- the same data ---------------------------------------------------------------------------------------------------------
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
