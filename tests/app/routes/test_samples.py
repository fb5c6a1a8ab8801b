"""Images and texts of samples, and what is answered where a sample has gone or changed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from app import queues, state
from app.byte_cache import ENTRY_BYTES
from app.routes import samples
from oga_core import Run, Workspace, open_dataset, score
from oga_core.sandbox import Excerpt
from tests.app.routes.conftest import SELECTION, window
from tests.sandbox.broken_decoder import END, break_decoder


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
    data, cache, made = state.dataset(run.id), samples._image_cache(), list[tuple[int, int]]()
    thumbnail = data.thumbnail

    def watch(index: int, size: int) -> Image.Image:
        made.append((index, size))
        return thumbnail(index, size)

    monkeypatch.setattr(data, "thumbnail", watch)
    largest = 0
    for size in samples.SIZES:
        for index in range(90):
            largest = max(largest, len(client.get(f"/oga/image/{run.id}/{index}/{size}").content))
            assert cache.size <= 256 << 10
    assert len(made) == 90 * len(samples.SIZES)
    assert len(cache) < len(made)
    assert cache.size > (256 << 10) - largest - ENTRY_BYTES
    answers = {client.get(f"/oga/image/{run.id}/89/{samples.SIZES[-1]}").content for _ in range(3)}
    assert len(answers) == 1
    assert len(made) == 90 * len(samples.SIZES)


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


def test_a_sample_that_has_changed_is_told_and_no_other_is_shown(client: TestClient, run: Run) -> None:
    assert run.spec.data is not None
    path = Path(run.spec.data.source)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["x"][7, 0, 0, 0] ^= 1
    np.savez(path, **arrays)
    for address in (f"image/{run.id}/7/160", f"text/{run.id}/7"):
        answer = client.get(f"/oga/{address}")
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
    assert answers[2].json()["error"].startswith("images, b/2.png: the sandbox process was ended by SIGSEGV")
    assert len(window(client, run, queues.keep(run, np.arange(4), SELECTION), start=0)["samples"]) == 4


def test_texts_that_utf_8_cannot_hold_arrive(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = state.dataset(run.id)
    monkeypatch.setattr(data, "kind", "text")
    monkeypatch.setattr(data, "text", lambda index: "\ud800" + "long " * 10_000)
    monkeypatch.setattr(data, "excerpts", lambda samples, most: [[Excerpt(data.text(i)[:most], 50_001)] for i, _ in samples])
    found = client.get(f"/oga/text/{run.id}/3").json()
    assert (found["text"][:6], len(found["text"]), found["characters"]) == ("\ud800long ", 20_000, 50_001)
    queue = queues.keep(run, np.arange(3), SELECTION)
    sample = window(client, run, queue, start=0)["samples"][0]
    assert (sample["text"], sample["long"]) == (("\ud800" + "long " * 100)[:280], True)
