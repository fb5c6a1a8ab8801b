"""The folders whose files a server may open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oga_core import InputError, serving


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders that may be opened, each with a file, beside a file that may not."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("")
    (tmp_path / "secret.csv").write_text("")
    (tmp_path / "one" / "link.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "one" / "near.csv").symlink_to(tmp_path / "one" / "one.csv")
    monkeypatch.setenv(serving.ROOTS, os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    return tmp_path


def test_a_path_below_a_root_may_be_opened_by_its_whole_or_its_relative_name(roots: Path) -> None:
    for written in (str(roots / "two" / "two.csv"), "two.csv", str(roots / "one" / ".." / "two" / "two.csv")):
        assert serving.check_path(written) == roots / "two" / "two.csv"
    assert serving.check_path("near.csv") == roots / "one" / "one.csv"
    assert serving.check_path(str(roots / "one")) == roots / "one"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("n" * 300, "File name too long"),
        ("n/" * 2100, "File name too long"),
        ("a\0b", "null"),
        ("~nobody-here/x", "home directory"),
    ],
)
def test_what_is_no_path_is_refused_in_one_short_line(roots: Path, written: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        serving.check_path(written)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("written", ["../secret.csv", "link.csv", "/etc", "/etc/passwd", "~", "/", "../missing.csv", "/missing"])
def test_a_path_out_of_the_roots_may_not_be_opened_by_any_way(roots: Path, written: str) -> None:
    with pytest.raises(InputError, match="is outside the folders that may be opened"):
        serving.check_path(written)


def test_a_sibling_whose_name_begins_as_a_root_is_outside(roots: Path) -> None:
    (roots / "one more").mkdir()
    with pytest.raises(InputError, match="is outside"):
        serving.check_path(str(roots / "one more"))


def test_a_file_missing_below_a_root_is_said_to_be(roots: Path) -> None:
    with pytest.raises(InputError, match="not found: "):
        serving.check_path(str(roots / "one" / "missing.csv"))


def test_without_roots_nothing_may_be_opened(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(serving.ROOTS)
    with pytest.raises(InputError, match=r"\(none\)"):
        serving.check_path(str(roots / "one" / "one.csv"))
