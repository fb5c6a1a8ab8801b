"""Files that arrive in parts: whole under their own name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from oga_core import InputError, Workspace
from oga_core.runs import upload as module

HOSTILE = ("r\u202egpj.zip", "line\nbreak.csv", "ü" * 125 + ".csv", "n" * 255, "![x](e.test).csv", " ", "-rf", "a\\b", ".part")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def keep(workspace: Workspace, name: str, *parts: bytes, announced: int = 0) -> Path:
    with workspace.upload(name, announced) as upload:
        for part in parts:
            upload.write(part)
        return upload.keep()


def files(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.path / "uploads").rglob("*") if p.is_file())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(parts=st.lists(st.binary(max_size=50)).filter(any))
def test_the_parts_make_the_file_in_a_folder_named_by_its_content(workspace: Workspace, parts: list[bytes]) -> None:
    path = keep(workspace, "my data.csv", *parts)
    assert path.read_bytes() == b"".join(parts)
    assert path.relative_to(workspace.path).parts == ("uploads", hashlib.sha256(b"".join(parts)).hexdigest()[:32], "my data.csv")
    assert workspace.uploaded(path.parent.name, path.name) == path


def test_the_same_file_is_kept_once_and_another_of_its_name_beside_it(workspace: Workspace) -> None:
    first = keep(workspace, "a.csv", b"a")
    before = first.stat()
    again, other = keep(workspace, "a.csv", b"", b"a"), keep(workspace, "a.csv", b"b")
    assert first == again != other
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(workspace) == sorted([first, other])


def test_a_kept_file_that_was_cut_short_is_put_right_by_dropping_it_again(workspace: Workspace) -> None:
    path = keep(workspace, "a.csv", b"whole")
    path.write_bytes(b"wh")
    assert keep(workspace, "a.csv", b"whole").read_bytes() == b"whole"


def test_two_that_arrive_at_once_do_not_mix(workspace: Workspace) -> None:
    with workspace.upload("a.csv") as one, workspace.upload("a.csv") as two:
        for part in (b"1", b"2", b"3"):
            one.write(part)
            two.write(part * 2)
        assert [one.keep().read_bytes(), two.keep().read_bytes()] == [b"123", b"112233"]


def test_nothing_stays_of_what_did_not_arrive_whole(workspace: Workspace) -> None:
    with workspace.upload("a.csv") as upload:
        upload.write(b"half")
    assert files(workspace) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strange_name_is_kept_as_it_is(workspace: Workspace, name: str) -> None:
    path = keep(workspace, name, b"data")
    assert path.name == name
    assert workspace.uploaded(path.parent.name, name).read_bytes() == b"data"


@pytest.mark.parametrize("name", ["", ".", "..", "../x.csv", "a/b.csv", "/etc/passwd", "a\0b", "\ud800.csv"])
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(workspace: Workspace, name: str) -> None:
    before = sorted(workspace.path.rglob("*"))
    with pytest.raises(InputError, match="no plain file name"):
        workspace.upload(name)
    assert sorted(workspace.path.rglob("*")) == before


@pytest.mark.parametrize("name", ["n" * 256, "ü" * 128])
def test_a_name_too_long_for_a_file_system_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError, match="at most 255 bytes, this one 256"):
        workspace.upload(name)


def test_an_empty_file_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"'a\.csv' is empty \(0 bytes\)"):
        keep(workspace, "a.csv", b"")
    assert files(workspace) == []


@pytest.mark.parametrize("announced", [0, 100])
def test_more_than_the_limit_is_refused_by_what_is_announced_and_by_what_comes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, announced: int
) -> None:
    monkeypatch.setenv("OGA_LIMIT_UPLOAD_BYTES", "4")
    assert keep(workspace, "a.csv", b"1234", announced=4).read_bytes() == b"1234"
    with pytest.raises(InputError, match=r"or more; the limit upload_bytes is 4 bytes \(--limit upload_bytes=N"):
        keep(workspace, "b.csv", b"123", b"45", announced=announced)
    assert [p.name for p in files(workspace)] == ["a.csv"]


def test_what_the_disk_has_no_room_for_is_refused_before_it_comes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(InputError, match=r"'a\.csv' has 11 bytes; the disk of the workspace has 10 bytes free"):
        workspace.upload("a.csv", 11)


def test_a_full_disk_leaves_nothing(workspace: Workspace) -> None:
    class Full:
        def write(self, part: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    with workspace.upload("a.csv") as upload:
        upload._handle.close()
        upload._handle = Full()  # type: ignore[assignment]
        with pytest.raises(OSError, match="No space"):
            upload.write(b"data")
    assert files(workspace) == []


def test_what_a_killed_server_has_left_goes_with_the_next_upload_and_what_still_comes_does_not(workspace: Workspace) -> None:
    with workspace.upload("coming.csv") as coming:
        left = workspace.path / "uploads" / ".0123.part"
        left.write_bytes(b"half")
        old = time.time() - module.ABANDONED - 1
        os.utime(left, (old, old))
        keep(workspace, "a.csv", b"a")
        assert not left.exists()
        coming.write(b"b")
        assert coming.keep().read_bytes() == b"b"


@pytest.mark.parametrize(
    ("content", "name"),
    [("0" * 32, "a.csv"), ("..", "oga.sqlite"), (".", "a.csv"), ("a/b", "c"), ("", "a.csv"), ("\0", "a"), ("0" * 32, "..")],
)
def test_what_was_never_kept_is_not_found_and_no_way_leads_out(workspace: Workspace, content: str, name: str) -> None:
    keep(workspace, "a.csv", b"a")
    with pytest.raises(InputError, match=r"was not found|no plain file name"):
        workspace.uploaded(content, name)
