"""Files are whole or absent, whatever happens in between, and are known by their hash."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oga_core.files import save_array, sha256, write_whole, write_whole_folder


def test_a_file_is_written_under_its_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def half(path: Path) -> None:
        path.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.txt", half)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def killed_before_the_rename(path: Path) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    write_whole(path, lambda temporary: temporary.write_text("new"))


def test_a_kill_between_write_and_rename_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    child = multiprocessing.get_context("fork").Process(target=killed_before_the_rename, args=(tmp_path / "a.txt",))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_content_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert calls[0].endswith(".part")
    assert calls[1:] == ["rename", str(tmp_path.resolve())]


def test_a_name_at_the_limit_of_the_file_system_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), lambda path: path.write_text("new"))
    assert (tmp_path / ("n" * 255)).read_text() == "new"


def test_a_symbolic_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    write_whole(tmp_path / "link.txt", lambda path: path.write_text("new"))
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_array_is_written_under_exactly_the_name_given(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    save_array(values, tmp_path / "a.part")
    loaded = np.load(tmp_path / "a.part")
    assert loaded.dtype == np.float16
    assert np.array_equal(loaded, values)


def test_a_folder_is_whole_or_absent_and_of_two_writers_the_first_stays(tmp_path: Path) -> None:
    folder = tmp_path / "made"

    def write(text: str) -> Callable[[Path], None]:
        def into(at: Path) -> None:
            at.mkdir()
            (at / "a.txt").write_text(text)
            assert text == "late" or not folder.exists()

        return into

    def broken(at: Path) -> None:
        write("half")(at)
        raise OSError

    with pytest.raises(OSError):
        write_whole_folder(folder, broken)
    assert list(tmp_path.iterdir()) == []
    write_whole_folder(folder, write("first"))
    write_whole_folder(folder, write("late"))
    assert (folder / "a.txt").read_text() == "first"
    assert list(tmp_path.iterdir()) == [folder]
