"""Images in class folders of a zip: the same samples, names, and zips that lie about their entries."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from oga_core.data import SampleError, open_dataset
from oga_core.errors import InputError
from tests.data.image_files import BLUE, RED, folder, ids, zipped
from tests.data.opened import refusal


def test_a_zip_holds_the_same_samples_as_its_folder(tmp_path: Path) -> None:
    root = folder(
        tmp_path / "d", {"cat/1.png": RED, "cat/sub/2.png": BLUE, "dog/3.png": RED, "dog/x.txt": b"x", "/MACOSX/a.png": b"x"}
    )
    (root / "empty").mkdir()
    entries = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    path = zipped(tmp_path / "d.zip", {"empty/": b"", **dict(reversed(entries.items()))}, zipfile.ZIP_DEFLATED)
    ours, theirs = open_dataset(path), open_dataset(root)
    assert ids(ours) == ids(theirs)
    assert (ours.class_names, ours.labels.tolist(), ours.notes) == (theirs.class_names, theirs.labels.tolist(), theirs.notes)
    assert ours.class_names == ["cat", "dog", "empty"]
    assert ours.load(1).tobytes() == theirs.load(1).tobytes()


def test_a_zip_opens_without_being_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {f"{c}/{i}.png": b"broken" for c in "ab" for i in range(1500)})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was opened"))
    assert len(open_dataset(path)) == 3000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "a/../../x.png",
        "/etc/x.png",
        "\\x.png",
        "..\\x.png",
        "a\\..\\..\\x.png",
        "C:\\x.png",
        "C:/x.png",
        "c:x.png",
        "a/..",
        "..",
    ],
)
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path: Path, name: str) -> None:
    message = refusal(zipped(tmp_path / "a.zip", {"a/1.png": RED, "b/2.png": BLUE, name: RED}))
    assert f"entry {name!r} leads out of the archive" in message


def test_backslashes_between_folders_are_read_as_windows_means_them_and_noted(tmp_path: Path) -> None:
    entries = {"data/cat/": b"", "data/cat/1.png": RED, "data/dog/": b"", "data/dog/2.png": BLUE}
    theirs = open_dataset(zipped(tmp_path / "a.zip", entries))
    ours = open_dataset(zipped(tmp_path / "b.zip", {name.replace("/", "\\"): data for name, data in entries.items()}))
    assert (ours.class_names, list(ours.sources), ids(ours)) == (theirs.class_names, list(theirs.sources), ids(theirs))
    note = "the folders of the zip are separated by backslashes, as some programs on Windows write them"
    assert (theirs.notes, ours.notes) == ([], [note])
    both = zipped(tmp_path / "c.zip", {"a/1.png": RED, "a\\1.png": RED, "b/1.png": BLUE})
    assert "have the same name" in refusal(both)


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a/1.png": RED, "b/2QQ.png": BLUE})
    path.write_bytes(path.read_bytes().replace(b"2QQ.png", b"2.p\0png"))
    assert r"'b/2.p\x00png' leads out" in refusal(path)


@pytest.mark.parametrize("twin", ["a/1.png", "A/1.PNG", "a/1.PNG"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_the_same_but_for_case_are_refused(tmp_path: Path, twin: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/1.png", "b/2.png", twin):
            archive.writestr(name, RED)
    assert f"entries 'a/1.png' and {twin!r} have the same name" in refusal(tmp_path / "a.zip")


def central(data: bytes, name: str) -> int:
    """Where the central directory's record of an entry begins."""
    return data.rindex(name.encode()) - 46


def changed(path: Path, name: str, at: int, fmt: str, value: int) -> Path:
    """The zip with a field of an entry's central record overwritten."""
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, central(bytes(data), name) + at, value)
    path.write_bytes(data)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return zipped(tmp_path / "two.zip", {"a/1.png": RED, "b/2.png": BLUE})


def test_overlapping_entries_are_refused(two: Path) -> None:
    whole = two.read_bytes()
    assert "'a/1.png' and 'b/2.png' overlap" in refusal(changed(two, "b/2.png", 42, "<I", 0))
    two.write_bytes(whole)
    assert "'a/1.png' and 'b/2.png' overlap" in refusal(changed(two, "a/1.png", 20, "<I", len(RED) + 40))


def test_a_size_that_lies_gives_an_error_or_the_stored_bytes(two: Path) -> None:
    dataset = open_dataset(changed(two, "a/1.png", 24, "<I", 10))
    with pytest.raises(SampleError, match="cannot be unpacked: Bad CRC-32"):
        dataset.load(0)
    assert dataset.content(1) == BLUE
    assert open_dataset(changed(two, "a/1.png", 24, "<I", 2**31)).content(0) == RED


def test_of_an_entry_over_the_limit_no_more_than_the_limit_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1000000")
    path = zipped(tmp_path / "a.zip", {"a/1.png": b"\0" * 30_000_000, "b/2.png": BLUE}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    dataset = open_dataset(path)
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match="the limit file_bytes is 1,000,000 bytes"):
            dataset.load(0)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert dataset.load(1).size == (6, 5)


def test_an_entry_whose_bytes_were_changed_is_listed(two: Path) -> None:
    data = bytearray(two.read_bytes())
    data[60] ^= 1
    two.write_bytes(data)
    dataset = open_dataset(two)
    with pytest.raises(SampleError, match="cannot be unpacked: Bad CRC-32"):
        dataset.load(0)
    assert dataset.load(1).size == (6, 5)


def test_long_names_are_refused(tmp_path: Path) -> None:
    assert "has 305 characters; the limit name_characters is 255" in refusal(
        zipped(tmp_path / "a.zip", {"b/" + "x" * 299 + ".png": RED})
    )
    deep = "/".join(["x" * 250] * 5) + "/1.png"
    assert "has 1,260 characters; the limit name_characters is 255" in refusal(zipped(tmp_path / "b.zip", {deep: RED}))


def test_what_is_no_zip_or_half_a_zip_is_refused(tmp_path: Path, two: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"\x1f\x8b\x08 a tar in disguise")
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(two.read_bytes()[:-30])
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(b"")
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    assert "no images found" in refusal(zipped(tmp_path / "b.zip", {}))


def without_utf8_flag(path: Path, encoding: str) -> Path:
    """The zip as old programs write it: names in an encoding that it doesn't state."""
    data = path.read_bytes().replace("é".encode(), "é".encode(encoding).ljust(2, b"_"))
    for signature, at in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        parts = data.split(signature)
        data = signature.join([parts[0], *(p[: at - 4] + b"\0" + p[at - 3 :] for p in parts[1:])])
    path.write_bytes(data)
    return path


def test_names_in_utf8_are_read_whether_the_zip_says_so_or_not(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"café/1.png": RED, "thé/2.png": BLUE})
    stated = ids(open_dataset(path))
    dataset = open_dataset(without_utf8_flag(path, "utf-8"))
    assert dataset.class_names == ["café", "thé"]
    assert ids(dataset) == stated
    assert dataset.notes == []


def test_names_in_an_old_code_page_are_read_and_said(tmp_path: Path) -> None:
    dataset = open_dataset(without_utf8_flag(zipped(tmp_path / "a.zip", {"café/1.png": RED, "thé/2.png": BLUE}), "cp437"))
    assert dataset.class_names == ["café_", "thé_"]
    assert dataset.load(1).getpixel((0, 0)) == (0, 0, 255)
    assert dataset.notes == ["the file names are not UTF-8; they were read in the old code page 437"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_zip_is_refused_or_its_samples_are_listed(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = zipped(tmp_path_factory.mktemp("zip") / "a.zip", {"a/1.png": RED, "b/2.png": BLUE}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    for at, value in damage:
        data[-1 - at % len(data)] = value
    path.write_bytes(data)
    messages = []
    try:
        dataset = open_dataset(path)
        for i in range(len(dataset)):
            try:
                dataset.load(i)
                assert dataset.content(i) in (RED, BLUE)
            except SampleError as error:
                messages.append(str(error))
    except InputError as error:
        messages.append(str(error))
    assert "\n" not in "".join(messages)
