"""Images in class folders: classes, ids, and what is skipped, listed or refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder as TorchvisionImageFolder

from oga_core.data import SampleError, folders, images, open_dataset
from oga_core.data.images import decode_image
from tests.data.image_files import BLUE, RED, encoded, folder, ids, noise, zipped
from tests.data.opened import refusal


def test_a_folder_is_one_class_a_folder(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"dog/1.png": RED, "cat/2.png": BLUE, "cat/deep/3.png": RED}))
    assert dataset.kind == "image"
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == ["cat/2.png", "cat/deep/3.png", "dog/1.png"]
    assert dataset.labels.tolist() == [0, 0, 1]
    assert (dataset.labels.dtype, dataset.notes) == (np.int64, [])
    assert dataset.content(2) == RED
    assert dataset.load(0).getpixel((0, 0)) == (0, 0, 255)
    assert dataset.original(2) == {"source": "dog/1.png", "label": "dog"}
    assert dataset.text(2) == "dog/1.png"


def test_classes_have_the_order_of_torchvision(tmp_path: Path) -> None:
    for name in ("10", "2", "1", "B", "a", "é", "Z z", "_x", "日本"):
        folder(tmp_path / name, {"one.png": RED, "sub/two.png": BLUE})
    theirs, ours = TorchvisionImageFolder(str(tmp_path)), open_dataset(tmp_path)
    assert ours.class_names == theirs.classes
    labels = {Path(path).relative_to(tmp_path).as_posix(): label for path, label in theirs.samples}
    assert dict(zip(ours.sources, ours.labels.tolist(), strict=True)) == labels


def test_numbers_as_classes_in_text_order_are_said(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {f"{i}/a.png": RED for i in (1, 2, 10)}))
    assert dataset.class_names == ["1", "10", "2"]
    assert any("text order" in note and "1, 10, 2" in note for note in dataset.notes)


def test_folders_above_the_classes_are_passed_over(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"data/train/cat/1.png": RED, "data/train/dog/2.png": BLUE}))
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == ["data/train/cat/1.png", "data/train/dog/2.png"]


def test_side_files_and_files_of_other_kinds_are_skipped_and_counted(tmp_path: Path) -> None:
    kept = {"cat/1.png": RED, "dog/2.JPG": encoded(noise(), "JPEG")}
    hidden = [".DS_Store", "cat/.hidden.png", "cat/Thumbs.db", "__MACOSX/cat/1.png", ".git/x/a.png"]
    other = ["cat/v.svg", "dog/h.heic", "dog/t.tiff", "dog/z.zip", "readme.txt"]
    dataset = open_dataset(folder(tmp_path, kept | dict.fromkeys(hidden + other, b"x")))
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == list(kept)
    first, second = dataset.notes
    assert first.startswith("5 hidden or side files")
    assert second.startswith("5 files that are not images")
    assert all(f"1 {kind}" in second for kind in (".svg", ".heic", ".tiff", ".zip", "beside the class folders"))


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    files = {"cat/a.jpg": RED, "cat/noending": BLUE, "dog/b.png": encoded(noise(), "TIFF")}
    dataset = open_dataset(folder(tmp_path, files))
    assert list(dataset.sources) == list(files)
    assert [dataset.load(i).getpixel((0, 0)) for i in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    with pytest.raises(SampleError, match="not an image in a supported format"):
        dataset.load(2)


def test_an_empty_class_keeps_its_place_and_is_said(tmp_path: Path) -> None:
    (folder(tmp_path, {"cat/1.png": RED, "dog/1.png": BLUE}) / "cow\nbird").mkdir()
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["cat", "cow\nbird", "dog"]
    assert dataset.labels.tolist() == [0, 2]
    assert dataset.notes == ["classes without an image: cow bird"]


def test_images_whose_class_would_be_a_guess_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", {"cat/1.png": RED, "dog/1.png": BLUE, "loose.png": RED})
    assert "1 images lie beside the class folders (the first: 'loose.png')" in refusal(root)
    root = folder(tmp_path / "b", {"train/cat/1.png": RED, "Val/dog/1.png": BLUE})
    assert "splits (Val, train), not classes" in refusal(root)
    assert "only one class ('cat')" in refusal(folder(tmp_path / "c", {"cat/1.png": RED, "cat/2.png": BLUE}))
    assert "no images found" in refusal(folder(tmp_path / "d", {"cat/1.txt": RED}))
    (tmp_path / "e").mkdir()
    assert "no images found" in refusal(tmp_path / "e")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["seg_train/seg_train", "seg_test/seg_test"], "seg_test, seg_train"),
        (["data-train", "data-valid"], "data-train, data-valid"),
        (["fold1", "fold2", "fold3"], "fold1, fold2, fold3"),
        (["Training Set", "Test Set", "notes"], "Test Set, Training Set"),
    ],
)
def test_folders_with_the_same_folders_in_them_that_are_named_as_splits_are_refused(
    tmp_path: Path, folders: list[str], splits: str
) -> None:
    files = {f"{name}/{kind}/{i}.png": RED for name in folders for kind in ("cat", "dog") for i in range(2)}
    assert f"the folders are splits ({splits}), not classes; give one of them" in refusal(folder(tmp_path / "d", files))


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "car/2.png", "plane/3.png"],
        ["train/steam/1.png", "train/diesel/2.png", "test_tube/glass/3.png", "test_tube/plastic/4.png"],
        ["cat/indoor/1.png", "cat/outdoor/2.png", "dog/indoor/3.png", "dog/outdoor/4.png"],
    ],
)
def test_classes_that_are_named_as_splits_or_have_the_same_folders_are_classes(tmp_path: Path, names: list[str]) -> None:
    dataset = open_dataset(folder(tmp_path / "d", dict.fromkeys(names, RED)))
    assert dataset.class_names == sorted({name.split("/")[0] for name in names})


def test_thousands_of_images_open_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(1500):
            (tmp_path / name / f"{i}.png").write_bytes(RED if i == 700 else b"broken")
    counted: list[str] = []
    read = folders.Directory.read

    def read_counted(files: folders.Directory, name: str) -> bytes:
        counted.append(f"read {name}")
        return read(files, name)

    def decode_counted(data: bytes) -> Image.Image:
        counted.append("decode")
        return decode_image(data)

    monkeypatch.setattr(folders.Directory, "read", read_counted)
    monkeypatch.setattr(images, "decode_image", decode_counted)
    dataset = open_dataset(tmp_path)
    assert (len(dataset), counted) == (3000, [])
    assert dataset.load(dataset.sources.index("dog/700.png")).size == (6, 5)
    assert counted == ["read dog/700.png", "decode"]
    with pytest.raises(SampleError, match="not an image"):
        dataset.load(0)


def test_an_id_follows_content_and_label_and_not_name_or_place(tmp_path: Path) -> None:
    before = ids(open_dataset(folder(tmp_path / "a", {"cat/1.png": RED, "cat/2.png": BLUE, "dog/3.png": RED})))
    after = ids(open_dataset(folder(tmp_path / "b", {"cat/9.png": RED, "cat/0.png": BLUE, "dog/x/3.png": RED, "ant/1.png": RED})))
    assert after["cat/9.png"] == before["cat/1.png"]
    assert after["cat/0.png"] == before["cat/2.png"]
    assert after["dog/x/3.png"] == before["dog/3.png"]
    assert len({*before.values(), after["ant/1.png"]}) == 4


def test_a_file_that_changes_is_another_sample_and_one_that_goes_is_listed(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}))
    before = dataset.sample_id(0)
    (tmp_path / "cat" / "1.png").write_bytes(BLUE)
    assert dataset.sample_id(0) != before
    (tmp_path / "cat" / "1.png").unlink()
    with pytest.raises(SampleError, match="cannot be read: No such file"):
        dataset.load(0)


def test_a_file_over_the_limit_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1000")
    dataset = open_dataset(folder(tmp_path, {"cat/1.png": RED + b"\0" * 1000, "dog/2.png": BLUE}))
    with pytest.raises(SampleError, match="the limit file_bytes is 1,000 bytes"):
        dataset.content(0)
    assert dataset.load(1).size == (6, 5)


def test_more_files_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILES", "2")
    root = folder(tmp_path / "a", {"cat/1.png": RED, "dog/2.png": BLUE})
    assert len(open_dataset(root)) == 2
    folder(root, {"dog/3.png": RED})
    assert "the limit files is 2 files" in refusal(root)
    path = zipped(tmp_path / "a.zip", {f"cat/{i}.png": RED for i in range(3)})
    assert "has 3 entries; the limit files is 2" in refusal(path)


def test_linked_folders_are_not_followed_and_this_is_said(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", {"secret.png": RED})
    root = folder(tmp_path / "data", {"cat/1.png": RED, "dog/2.png": BLUE})
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    dataset = open_dataset(root)
    assert len(dataset) == 2
    assert dataset.notes == ["1 folders are symbolic links and were not followed"]


def test_a_folder_that_cannot_be_read_stops_and_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scan = folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}), os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "dog cannot be read: Permission denied" in refusal(root)


def test_a_pipe_is_listed_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}) / "cat" / "0.png")
    dataset, reasons = open_dataset(tmp_path), []

    def load() -> None:
        with pytest.raises(SampleError) as caught:
            dataset.load(0)
        reasons.append(str(caught.value))

    reader = threading.Thread(target=load, daemon=True)
    reader.start()
    reader.join(10)
    assert reasons == ["is not an ordinary file"]


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE})
    Path(os.fsdecode(os.fsencode(root) + b"/cat/caf\xe9.png")).write_bytes(RED)
    assert r"'cat/caf\udce9.png' is not UTF-8" in refusal(root)
