"""A workspace is made where it is asked for, and finds its runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from oga_core.errors import InputError
from oga_core.runs import DataSource, RunSpec, Workspace, workspace


def test_the_folder_is_made_with_its_database_and_runs(tmp_path: Path) -> None:
    made = Workspace(tmp_path / "deep" / "er")
    assert made.path == tmp_path / "deep" / "er"
    assert (made.path / "runs").is_dir()
    assert made.database.is_file()
    assert made.runs() == []


def test_without_a_path_it_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "mine"))
    assert Workspace().path == tmp_path / "mine"
    assert Workspace(tmp_path / "other").path == tmp_path / "other"


def test_without_either_it_is_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OGA_WORKSPACE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Workspace().path.is_relative_to(tmp_path)
    assert Workspace().path.name == "oga"


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_path_that_cannot_be_a_folder_is_refused_in_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the workspace") as caught:
        Workspace(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_a_run_is_found_by_its_id_and_by_a_unique_beginning(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    run = made.new_run("digits", RunSpec(seed=3))
    found = Workspace(tmp_path).run(run.id[:-2])
    assert (found.id, found.title, found.spec) == (run.id, "digits", RunSpec(seed=3))
    assert made.run(run.id).path.is_dir()


def test_an_id_that_another_id_begins_with_still_names_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Workspace(tmp_path)
    short = made.new_run("short")
    with workspace.database.writing(made.database) as connection:
        connection.execute("INSERT INTO runs (id, created, title, settings) VALUES (?, '', 'long', '{}')", (short.id + "0",))
    assert made.run(short.id).title == "short"


def test_an_unknown_an_empty_and_an_ambiguous_id_are_refused(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    for chosen in ("", "nope", "%", "_"):
        with pytest.raises(InputError, match=f"no run '{chosen}'"):
            made.run(chosen)
    first, second = made.new_run("a"), made.new_run("b")
    for chosen in ("%", "_", first.id + "x"):
        with pytest.raises(InputError, match="no run"):
            made.run(chosen)
    with pytest.raises(InputError, match="2 runs begin with '2'") as caught:
        made.run("2")
    assert first.id in str(caught.value)
    assert second.id in str(caught.value)


def test_runs_are_listed_newest_first_even_after_the_clock_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Workspace(tmp_path)
    ids = [made.new_run(str(i)).id for i in range(5)]
    monkeypatch.setattr(workspace, "now", lambda: "1999-12-31T23:59:59+00:00")
    ids.append(made.new_run("clock back").id)
    assert [run.id for run in made.runs()] == ids[::-1]


def test_a_title_shows_what_cannot_be_seen_and_the_settings_keep_it(tmp_path: Path) -> None:
    name = "r\u202egpj\n\ud800.csv"
    run = Workspace(tmp_path).new_run(name, RunSpec(DataSource(name)))
    assert run.title == r"r\u202egpj \ud800.csv"
    assert run.spec.data == DataSource(name)
