"""Files are whole or absent, whatever happens in between, and are known by their hash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from oga_core import InputError, Workspace, decide, export
from oga_core.data.examples import make_example
from oga_core.files import make_private, resolve_path, save_array, sha256, write_whole, write_whole_folder
from oga_core.maps import do_map
from oga_core.runs.workspace import restore
from oga_core.scoring import do_run, prepare


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
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    write_whole(path, lambda temporary: temporary.write_text("new"))


def test_a_kill_between_write_and_rename_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    child = multiprocessing.get_context("fork").Process(target=killed_before_the_rename, args=(tmp_path / "a.txt",))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_content_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def fsync_recorded(fd: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    def replace_recorded(a: Path, b: Path) -> None:
        calls.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", fsync_recorded)
    monkeypatch.setattr(os, "replace", replace_recorded)
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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0, 0o022], ids=["umask 0", "umask 022"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("old", [0o640, 0o444, 0o600, 0o666, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, umask: int, old: int) -> None:
    path, seen = tmp_path / "a.txt", []
    path.write_text("old")
    path.chmod(old)

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append(mode(temporary))

    write_whole(path, write)
    assert (path.read_text(), mode(path)) == ("new", old)
    assert seen[0] & ~old & 0o077 == 0  # at no time may more people read it


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert mode(tmp_path / "a.txt") == 0o666 & ~umask


def test_a_private_file_is_private_before_anything_is_in_it(tmp_path: Path, umask: int) -> None:
    path, seen = tmp_path / "a.txt", []
    path.write_text("old")

    def write(temporary: Path) -> None:
        seen.append(mode(temporary))
        temporary.unlink()  # a library may write in its own way
        temporary.write_text("new")

    write_whole(path, write, private=True)
    assert (seen, mode(path)) == ([0o600], 0o600)


class Umap:
    """What `umap` has, without its compiling: it leaves a file in numba's cache with the permissions that the umask leaves."""

    def __init__(self, **_: object) -> None: ...

    def fit_transform(self, start: np.ndarray) -> np.ndarray:
        (cache := Workspace().path / "numba" / "of_umap").mkdir()
        (cache / "compiled.nbc").write_text("code")
        return start


Umap.UMAP = Umap  # type: ignore[attr-defined]


def test_a_workspace_is_private_with_all_that_comes_into_it(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "below" / "workspace"
    monkeypatch.setenv("OGA_WORKSPACE", str(folder))
    monkeypatch.setitem(sys.modules, "umap", Umap)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(60, 3)), y=np.arange(60) % 2)
    run = prepare(Workspace(), tmp_path / "data.npz", detectors="l1", folds=0)
    do_run(run)
    do_map(run)
    decide(run, run.table.iloc[:2], "remove", reviewer="ann")
    export(run, "removed", "csv", tmp_path / "out.csv")
    with run.workspace.upload("data.csv") as upload:
        upload.write(b"a,b")
        upload.keep()
    (cut := run.workspace.upload("cut.csv")).write(b"a")
    make_example("digits", folder / "examples")
    Workspace()  # makes the backup
    database = folder / "oga.sqlite"
    database.write_bytes(b"damaged" * 1000)
    restore()
    found = {path.relative_to(folder).as_posix(): mode(path) for path in folder.rglob("*")}
    assert {f"runs/{run.id}/{name}" for name in ("table.parquet", "features.npy", "score.lock", "exports.jsonl")} <= set(found)
    assert {"oga.sqlite", "oga.sqlite.backup", "examples/digits.zip", "numba/of_umap/compiled.nbc"} <= set(found)
    assert any(name.startswith("oga.sqlite.damaged-") for name in found)
    assert any(name.endswith(".part") for name in found)
    wrong = {name: oct(m) for name, m in found.items() if m != (0o700 if (folder / name).is_dir() else 0o600)}
    assert wrong == {}
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o777 & ~umask
    assert mode(tmp_path / "out.csv") == 0o666 & ~umask
    cut.drop()


def test_a_folder_that_was_there_keeps_its_permissions(tmp_path: Path, umask: int) -> None:
    tmp_path.chmod(0o750)
    Workspace(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "runs"), mode(tmp_path / "oga.sqlite")) == (0o750, 0o700, 0o600)


def test_a_link_in_what_is_made_private_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    (tmp_path / "other").chmod(0o644)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "other")
    make_private(tmp_path / "folder")
    assert (mode(tmp_path / "folder"), mode(tmp_path / "other")) == (0o700, 0o644)


@pytest.mark.parametrize("path", ["n" * 300, "n/" * 2100, "a\0b", "loop/x"])
def test_what_can_be_no_path_is_refused_with_its_name_shortened(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError) as refused:
        resolve_path(path, "weights")
    assert str(refused.value).startswith(f"weights {path[:1]}")
    assert len(str(refused.value)) < 250


def test_a_missing_file_is_a_path_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert resolve_path("missing", "data") == tmp_path.resolve() / "missing"
    assert resolve_path("file/below", "data") == tmp_path.resolve() / "file" / "below"


def test_a_relative_path_in_a_folder_that_has_been_deleted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="data x: the current folder has been deleted"):
        resolve_path("x", "data")
    assert resolve_path("/etc", "data") == Path("/etc")
