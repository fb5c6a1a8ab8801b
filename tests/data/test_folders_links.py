"""Symbolic links in the folders of data and models: an owner's command follows them, a server only within the allowed folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from oga_core.data import SampleError, folders, open_dataset
from oga_core.data.folders import Directory, LinkError
from oga_core.errors import InputError
from oga_core.limits import SETTINGS_BYTES
from oga_core.roots import REFUSAL, ROOTS
from oga_core.sandbox import open_sandboxed
from tests.data.test_torchvision_sets import mnist

pytestmark = pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")


def png(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, 0, 0)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images, in a folder that is a root of a server; beside it lies what is none of its business."""
    for i, name in enumerate(("cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png")):
        png(tmp_path / "root" / "data" / name, 50 * i)
    png(tmp_path / "secret" / "s.png", 250)
    png(tmp_path / "root" / "other" / "o.png", 251)
    return tmp_path / "root"


@pytest.fixture
def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data, as a server that was started with the root sees them."""
    monkeypatch.setenv(ROOTS, str(root))
    return root / "data"


def link_to_file(data: Path, secret: Path) -> str:
    (data / "dog" / "link.png").symlink_to(secret / "s.png")
    return "dog/link.png"


def link_with_dots(data: Path, secret: Path) -> str:
    (data / "dog" / "link.png").symlink_to("../../../secret/s.png")
    return "dog/link.png"


def link_to_link(data: Path, secret: Path) -> str:
    (data.parent / "inner.png").symlink_to(secret / "s.png")
    (data / "dog" / "link.png").symlink_to(data.parent / "inner.png")
    return "dog/link.png"


def link_through_folder(data: Path, secret: Path) -> str:
    (data.parent / "way").symlink_to(secret)
    (data / "dog" / "link.png").symlink_to("../../way/s.png")
    return "dog/link.png"


def link_through_a_folder_and_back(data: Path, secret: Path) -> str:
    """``way/..`` is the folder above what it leads to, not the one above the link."""
    (secret / "inner").mkdir()
    (data.parent / "way").symlink_to(secret / "inner")
    (data / "dog" / "link.png").symlink_to("../../way/../s.png")
    return "dog/link.png"


def link_to_nothing(data: Path, secret: Path) -> str:
    (data / "dog" / "link.png").symlink_to(secret / "nothing.png")
    return "dog/link.png"


def link_to_a_folder_of_like_name(data: Path, secret: Path) -> str:
    png(data.parent.parent / "root-of-others" / "s.png", 9)
    (data / "dog" / "link.png").symlink_to(data.parent.parent / "root-of-others" / "s.png")
    return "dog/link.png"


OUT = [
    link_to_file,
    link_with_dots,
    link_to_link,
    link_through_folder,
    link_through_a_folder_and_back,
    link_to_nothing,
    link_to_a_folder_of_like_name,
]


@pytest.mark.parametrize("make", OUT)
def test_a_server_refuses_a_file_that_leads_out_and_reads_the_others(
    served: Path, tmp_path: Path, make: Callable[[Path, Path], str]
) -> None:
    name = make(served, tmp_path / "secret")
    dataset = open_dataset(served)
    index = list(dataset.sources).index(name)
    for read in (dataset.content, dataset.load, dataset.sample_id, dataset.thumbnail):
        with pytest.raises(SampleError) as caught:
            read(index)
        assert str(caught.value) == f"{name} {REFUSAL}"
    assert "oga serve with --root" in REFUSAL
    assert dataset.notes == [
        "1 files are symbolic links that lead out of the allowed folders and are not read (oga serve --root)"
    ]
    others = [i for i in range(len(dataset)) if i != index]
    assert [np.asarray(dataset.load(i))[0, 0, 0] for i in others] == [0, 50, 100, 150]


@pytest.mark.parametrize("make", [make for make in OUT if make is not link_to_nothing])
def test_an_owners_command_follows_it_and_notes_it(
    root: Path, tmp_path: Path, make: Callable[[Path, Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ROOTS, raising=False)
    name = make(root / "data", tmp_path / "secret")
    dataset = open_dataset(root / "data")
    assert np.asarray(dataset.load(list(dataset.sources).index(name)))[0, 0, 0] in (250, 9)
    assert dataset.notes == ["1 files are symbolic links that lead out of the folder"]


def test_links_within_the_allowed_folders_are_read(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (served / "dog" / "a.png").symlink_to("../cat/1.png")
    (served / "dog" / "b.png").symlink_to(served.parent / "other" / "o.png")
    (served / "dog" / "c.png").symlink_to(tmp_path / "secret" / "s.png")
    dataset = open_dataset(served)
    levels = {name: i for i, name in enumerate(dataset.sources)}
    assert [np.asarray(dataset.load(levels[f"dog/{n}.png"]))[0, 0, 0] for n in "ab"] == [50, 251]
    monkeypatch.setenv(ROOTS, os.pathsep.join([str(served.parent), str(tmp_path / "secret")]))
    dataset = open_dataset(served)
    assert np.asarray(dataset.load(levels["dog/c.png"]))[0, 0, 0] == 250
    assert dataset.notes == []


def test_the_data_folder_itself_may_be_read_also_outside_the_roots_and_by_a_link(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOTS, str(tmp_path / "secret"))
    (tmp_path / "shortcut").symlink_to(served)
    for path in (served, tmp_path / "shortcut"):
        dataset = open_dataset(path)
        assert [dataset.load(i).size for i in range(4)] == [(8, 8)] * 4
    files = Directory(tmp_path / "shortcut")
    assert files.read("cat/0.png")


def test_a_folder_that_is_moved_while_it_is_open_stays_readable(served: Path) -> None:
    files = Directory(served)
    away = served.rename(served.parent.parent / "moved")
    served.symlink_to(away)
    assert files.read("cat/0.png") == (away / "cat" / "0.png").read_bytes()


def test_a_folder_above_that_becomes_a_link_after_the_listing_is_not_followed(served: Path, tmp_path: Path) -> None:
    dataset = open_dataset(served)
    (served / "dog").rename(tmp_path / "dog")
    png(tmp_path / "secret" / "2.png", 200)
    (served / "dog").symlink_to(tmp_path / "secret")
    with pytest.raises(SampleError, match=r"^dog/2\.png leads out of the allowed folders"):
        dataset.content(2)
    assert dataset.load(0).size == (8, 8)


def test_a_file_that_becomes_a_link_between_check_and_opening_is_not_read(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, opened = Directory(served), folders._open_plain

    def swap(path: str, flags: int) -> int:
        Path(path).unlink()
        Path(path).symlink_to(tmp_path / "secret" / "s.png")
        return opened(path, flags)

    monkeypatch.setattr(folders, "_open_plain", swap)
    with pytest.raises(LinkError):
        files.read("cat/0.png")


def test_without_proc_the_same_is_refused(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readlink = os.readlink

    def no_proc(path: str | Path) -> str:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory")
        return readlink(path)

    monkeypatch.setattr(os, "readlink", no_proc)
    files = Directory(served)
    assert files.read("cat/0.png")
    (served / "dog").rename(tmp_path / "dog")
    (served / "dog").symlink_to(tmp_path / "secret")
    with pytest.raises(LinkError):
        files.read("dog/s.png")


def test_what_lies_outside_is_not_even_asked_for(served: Path, tmp_path: Path) -> None:
    """Whether it is there, a pipe or a folder: the answer is the same."""
    os.mkfifo(tmp_path / "secret" / "pipe")
    answers = set()
    for i, target in enumerate(("s.png", "nothing", "pipe", "../secret")):
        (served / "cat" / f"l{i}").symlink_to(tmp_path / "secret" / target)
        files = Directory(served)
        with pytest.raises(SampleError) as caught:
            files.read(f"cat/l{i}")
        answers.add((str(caught.value).replace(f"l{i}", "l"), files.has(f"cat/l{i}")))
    assert answers == {(f"cat/l {REFUSAL}", True)}


def test_pipes_sockets_and_loops_are_told_at_once(served: Path) -> None:
    os.mkfifo(served / "dog" / "pipe")
    (served / "dog" / "loop").symlink_to("loop")
    files = Directory(served)
    for name, reason in (
        ("dog/pipe", "not an ordinary file"),
        ("dog", "not an ordinary file"),
        ("dog/loop", "symbolic links"),
        ("dog/nothing", "No such file"),
        ("dog/\0", "null byte"),
    ):
        with pytest.raises(SampleError, match=reason):
            files.read(name)
        assert not files.has(name)


def test_the_process_that_reads_for_a_server_refuses_it_too(served: Path, tmp_path: Path) -> None:
    name = link_to_file(served, tmp_path / "secret")
    data = open_sandboxed(served)
    index = list(data.sources).index(name)
    with pytest.raises(SampleError, match=r"^dog/link\.png leads out"):
        data.thumbnail(index)
    assert data.thumbnail(0).size == (160, 160)
    assert not data.holds(index, "0" * 32)


# ---- neighbours ------------------------------------------------------------------------------------------------------------
def test_settings_and_tables_of_a_saved_dataset_are_refused(served: Path, tmp_path: Path) -> None:
    folder = served.parent / "saved"
    folder.mkdir()
    table = pa.table({"text": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]})
    with pa.OSFile(str(tmp_path / "secret" / "t.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "t.arrow"}]}')
    (folder / "dataset_info.json").write_text("{}")
    (folder / "t.arrow").symlink_to(tmp_path / "secret" / "t.arrow")
    with pytest.raises(InputError, match=r"^saved/train: t\.arrow leads out|^saved: t\.arrow leads out"):
        open_dataset(folder)
    (folder / "t.arrow").unlink()
    (tmp_path / "secret" / "t.arrow").rename(folder / "t.arrow")
    assert len(open_dataset(folder)) == 4
    (folder / "state.json").rename(tmp_path / "secret" / "state.json")
    (folder / "state.json").symlink_to(tmp_path / "secret" / "state.json")
    with pytest.raises(InputError, match=r"^saved: state\.json leads out"):
        open_dataset(folder)


def test_a_torchvision_set_with_links_that_lead_out_is_refused(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mnist(served.parent / "sets")
    raw = folder / "MNIST" / "raw"
    assert len(open_dataset(f"torchvision:MNIST:{folder}")) == 6
    (raw / "train-images-idx3-ubyte").rename(tmp_path / "secret" / "images")
    (raw / "train-images-idx3-ubyte").symlink_to(tmp_path / "secret" / "images")
    with pytest.raises(InputError, match=r"MNIST under .*: MNIST/raw/train-images-idx3-ubyte leads out"):
        open_dataset(f"torchvision:MNIST:{folder}")
    (raw / "train-images-idx3-ubyte").unlink()
    (tmp_path / "secret" / "images").rename(raw / "train-images-idx3-ubyte")
    raw.rename(tmp_path / "secret" / "raw")
    raw.symlink_to(tmp_path / "secret" / "raw")
    with pytest.raises(InputError, match=r"MNIST/raw leads out"):
        open_dataset(folder)
    monkeypatch.delenv(ROOTS)
    dataset = open_dataset(folder)
    assert (len(dataset), dataset.notes) == (6, ["1 symbolic links lead out of the folder"])


def test_a_folder_of_the_hubs_cache_may_have_its_blobs_beside_it_and_no_others(served: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "f00").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/f00")
    assert Directory(snapshot).read("config.json", SETTINGS_BYTES) == b'{"a": 1}'
    (snapshot / "other.json").symlink_to(tmp_path / "secret" / "s.png")
    with pytest.raises(LinkError):
        Directory(snapshot).read("other.json", SETTINGS_BYTES)
    (repository / "blobs" / "f00").unlink()
    (repository / "blobs" / "f00").symlink_to(tmp_path / "secret" / "s.png")
    with pytest.raises(LinkError):
        Directory(snapshot).read("config.json", SETTINGS_BYTES)


def test_thousands_of_plain_files_are_read_about_as_fast_as_python_reads_them(served: Path) -> None:
    for i in range(3000):
        (served / "cat" / f"x{i}.png").write_bytes(b"x" * 20_000)
    files = Directory(served)
    names = [name for name in files.names if "/x" in name]

    def plain() -> None:
        for name in names:
            with open(served / name, "rb") as handle:
                handle.read()

    def ours() -> None:
        for name in names:
            files.read(name)

    def seconds(work: Callable[[], None]) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    times = [(seconds(plain), seconds(ours)) for _ in range(5)]
    assert min(t for _, t in times) < 3 * min(t for t, _ in times) + 0.05
