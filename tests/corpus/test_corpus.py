"""Every numbered bad input, from the command line and on the page: the answer is the promised one, and the rest is unharmed."""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.components import start_form
from app.components.literal import literal
from oga_core import Workspace
from oga_core.cli import main
from tests.corpus import actions, archives, found, images, models, tables
from tests.corpus.case import Answer, Case, Oga

pytestmark = pytest.mark.filterwarnings("ignore")  # that a user sees none is case 81, in a process of its own
ROOT = Path(__file__).resolve().parents[2]
CASES = [case for chapter in (models, images, archives, tables, actions, found) for case in chapter.CASES]
MADE = [case for case in CASES if case.make is not None]
SHOWN = (1, 10, 41, 43, 46, 49, 52, 57, 61, 64)
"""Refusals that are shown on the page too, some of each chapter: there a process of its own is started for each, which takes
seconds where it needs torch."""
ON_THE_PAGE = list({case.number: case for case in reversed(MADE) if case.refused and case.number in SHOWN}.values())


@pytest.fixture
def workspace() -> Iterator[Path]:
    """In memory where there is room for that: most of the time would go into waiting for a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def oga(capsys: pytest.CaptureFixture[str], tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Oga:
    """Run a command in this process, in an empty folder: exit code, stdout and stderr."""
    monkeypatch.setenv("OGA_WORKSPACE", str(workspace))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


def folder_for(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with the limits of a case."""
    for name, value in case.limits.items():
        monkeypatch.setenv(f"OGA_LIMIT_{name.upper()}", str(value))
    folder = tmp_path / "given"
    folder.mkdir()
    return folder


def test_every_number_is_there() -> None:
    assert sorted({case.number for case in CASES}) == list(range(1, 101))
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.elsewhere], ids=str)
def test_what_is_tested_elsewhere_is_there(case: Case) -> None:
    file, _, name = case.elsewhere.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("case", MADE, ids=str)
def test_a_bad_input_on_the_command_line(case: Case, tmp_path: Path, oga: Oga, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.make is not None
    given = case.make(folder_for(case, tmp_path, monkeypatch))
    code, out, err = oga(*given.command, "--json")
    assert not models.WITNESS.exists()
    if case.refused:
        assert (code, out) == (2, "")
        lines = err.splitlines()
        assert lines[-1].startswith("oga: ")
        assert not [line for line in lines[:-1] if line not in ("opening the data", "looking at every sample", "scoring")]
        assert [words for words in case.refused if words not in lines[-1]] == []
        assert not [run for run in Workspace().runs() if run.has_file("table.parquet")]
        return
    assert code == 0, err
    told = json.loads(out)
    run = Workspace().run(told["run"])
    reasons = dict(zip(run.not_scored["source"], run.not_scored["reason"], strict=True))
    assert (told["samples"], told["scored"], told["not_scored"]) == (case.samples, len(run.table), len(reasons))
    assert told["scored"] + told["not_scored"] == told["samples"]
    assert reasons.keys() == case.listed.keys()
    assert [source for source, words in case.listed.items() if words not in reasons[source]] == []
    assert [words for words in case.noted if not any(words in note for note in told["notes"])] == []
    dataset = run.open_dataset()
    for i, sample_id in zip(run.table["index"], run.table["sample_id"], strict=True):
        assert dataset.holds(int(i), sample_id)
        dataset.load(int(i))
    if case.check:
        case.check(Answer(run, dataset, told))


@pytest.mark.parametrize("case", [case for case in CASES if case.act], ids=str)
def test_a_bad_action(case: Case, tmp_path: Path, oga: Oga, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.act is not None
    case.act(folder_for(case, tmp_path, monkeypatch), oga)


@pytest.mark.parametrize("case", ON_THE_PAGE, ids=str)
def test_a_bad_input_on_the_page(case: Case, tmp_path: Path, oga: Oga, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.make is not None
    given = case.make(folder_for(case, tmp_path, monkeypatch))
    monkeypatch.setenv("OGA_ROOTS", str(tmp_path))
    said = oga(*given.command)[2].splitlines()[-1].removeprefix("oga: ")
    st.cache_resource.clear()
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60).run()
    at.segmented_control(key="way").set_value(start_form.WAYS[2]).run()
    if given.weights:
        at.segmented_control(key="model").set_value(start_form.OWN).run()
        at.text_input(key="weights_path").set_value(str(given.weights))
        at.selectbox(key="architecture").set_value(given.model)
    at.text_input(key="data_path").set_value(str(given.data)).run()
    assert [error.value for error in at.error] == [literal(said)]
    assert not at.exception
    assert "score" not in {button.key for button in at.button}
    assert not [run for run in Workspace().runs() if run.has_file("table.parquet")]
