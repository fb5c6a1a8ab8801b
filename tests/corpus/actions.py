"""66 to 75: settings and actions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import save

from oga_core import InputError, Workspace, decide, decisions, undo
from oga_core.export import list_exports
from oga_core.runs import Run
from tests.corpus.archives import BLUE, GREEN, RED, images
from tests.corpus.case import Answer, Case, Given, Oga
from tests.corpus.models import features, state
from tests.corpus.tables import file, table


def told(*arguments: str) -> Callable[[Path], Given]:
    """A good table with further arguments."""
    return file("t.csv", table("x", "y"), *arguments)


def command(*arguments: str, message: str) -> Callable[[Path, Oga], None]:
    """Another command than score on a run, which is refused."""

    def act(folder: Path, oga: Oga) -> None:
        run = scored(folder, oga)
        code, out, err = oga(*[{"RUN": run.id, "DATA": str(folder / "t.csv")}.get(a, a) for a in arguments])
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err

    return act


def scored(folder: Path, oga: Oga, given: Given | None = None) -> Run:
    given = given or told()(folder)
    code, out, err = oga(*given.command, "--json")
    assert code == 0, err
    found = json.loads(out)
    return Workspace(os.environ["OGA_WORKSPACE"]).run(found["run"])


def the_model_changes(folder: Path, oga: Oga) -> None:
    """Decisions stay; the scores are said to be stale until the data are scored again, where the decisions still stand."""
    weights = folder / "w.safetensors"
    weights.write_bytes(save(state()))
    given = Given(features(folder), "feature_mlp", weights)
    run = scored(folder, oga, given)
    decide(run, run.table.iloc[:2], "remove", reviewer="ann")
    os.utime(weights, (1, 1))  # the same bytes at another time are the same model
    assert oga("export", run.id, "--format", "csv", "--out", folder / "out.csv")[2] == ""
    weights.write_bytes(save({k: v + 1 for k, v in state().items()}))
    code, _, err = oga("export", run.id, "--format", "csv", "--out", folder / "out.csv")
    assert (code, err.count("\n")) == (0, 1)
    assert f"the weights in w.safetensors have changed since run {run.id} was scored: its scores are stale" in err
    again = scored(folder, oga, given)
    assert {d.action for d in decisions(again).values()} == {"remove"}
    assert len(decisions(again)) == len(decisions(run)) == 2
    assert oga("export", again.id, "--format", "csv", "--out", folder / "out.csv")[2] == ""


def an_undo_after_an_export(folder: Path, oga: Oga) -> None:
    run = scored(folder, oga)
    decide(run, run.table.iloc[:1], "remove", reviewer="ann")
    assert oga("export", run.id, "--format", "csv", "--out", folder / "out.csv")[0] == 0
    assert [(e.what, e.rows, e.to, e.superseded) for e in list_exports(run)] == [("removed", 1, str(folder / "out.csv"), False)]
    undo(run, reviewer="ann")
    assert [e.superseded for e in list_exports(run)] == [True]
    assert oga("export", run.id, "--format", "csv", "--out", folder / "out.csv")[0] == 0
    assert [e.superseded for e in list_exports(run)] == [False, True]


def relabel_to_an_unknown_class(folder: Path, oga: Oga) -> None:
    run = scored(folder, oga)
    with pytest.raises(InputError, match="cannot relabel to 'z': not a class of this data; there are: x, y"):
        decide(run, run.table.iloc[:1], "relabel", reviewer="ann", new_label="z")
    assert not decisions(run)


ODD = ("new\nline.png", "\u202egnp.exe.png", "x" * 251 + ".png", "=1+1.png", "![x](http:x).png")


def odd_names_are_exact(answer: Answer) -> None:
    assert set(answer.run.table["source"]) == {"b/good.png", *(f"a/{name}" for name in ODD)}


def odd_names_in_an_export(folder: Path, oga: Oga) -> None:
    run = scored(folder, oga, odd()(folder))
    decide(run, run.table, "remove", reviewer="ann")
    assert oga("export", run.id, "--format", "jsonl", "--out", folder / "out.jsonl")[0] == 0
    sources = [json.loads(line)["source"] for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    assert sources == run.table["source"].tolist()


def odd() -> Callable[[Path], Given]:
    colours: Sequence[bytes] = (RED, GREEN, BLUE)
    return images({"b/good.png": RED, **{f"a/{name}": colours[i % 3] + bytes([i]) for i, name in enumerate(ODD)}})


START = "tests/app/app_pages/test_start.py"
ROAD, REVIEW = "tests/browser/test_road.py", "tests/browser/test_review.py"
REVIEW_FAULTS = "tests/browser/test_review_faults.py"

CASES = [
    Case(66, "path out of the roots", elsewhere=f"{START}::test_a_path_opens_only_below_the_roots"),
    Case(67, "negative folds", told("--folds", "-1"), ["-1 folds: at least two are needed, or 0 for none"]),
    Case(67, "seed that is no number", told("--seed", "nan"), ["argument --seed: 'nan' is not a whole number from 0 to"]),
    Case(67, "limit of nothing", told("--limit", "files=0"), ["limit files: '0' is not a whole number above 0"]),
    Case(
        67,
        "no epochs",
        act=command("train", "DATA", "--out", "w.safetensors", "--epochs", "0", message="0 epochs: at least one is needed"),
    ),
    Case(
        67,
        "NaN budget",
        act=command(
            "export",
            "RUN",
            "--format",
            "csv",
            "--out",
            "x.csv",
            "--detector",
            "l1",
            "--budget",
            "nan",
            message="budget nan is not a share",
        ),
    ),
    Case(67, "error at the field", elsewhere=f"{START}::test_one_more_starter_is_an_error_box_and_no_run"),
    Case(68, "held key", elsewhere=f"{REVIEW}::test_every_key_does_what_it_says"),
    Case(68, "the same operation twice", elsewhere="tests/review/test_decisions.py::test_the_same_operation_twice_counts_once"),
    Case(69, "refresh", elsewhere=f"{ROAD}::test_a_refresh_shows_the_same_sample_again"),
    Case(
        69,
        "server gone meanwhile",
        elsewhere=f"{REVIEW_FAULTS}::test_a_server_that_is_gone_is_told_and_the_review_goes_on_when_it_is_back",
    ),
    Case(70, "two tabs", elsewhere=f"{ROAD}::test_a_second_tab_sees_what_the_first_has_decided"),
    Case(70, "two reviewers", elsewhere=f"{REVIEW_FAULTS}::test_two_browsers_are_two_reviewers_from_the_moment_the_second_comes"),
    Case(
        71,
        "data in another order",
        elsewhere="tests/review/test_decisions.py::test_decisions_follow_the_content_into_a_run_over_the_data_in_another_order",
    ),
    Case(72, "model changed after the review", act=the_model_changes),
    Case(73, "undo after export", act=an_undo_after_an_export),
    Case(74, "relabel to an unknown class", act=relabel_to_an_unknown_class),
    Case(75, "odd names", odd(), samples=6, check=odd_names_are_exact),
    Case(75, "odd names in an export", act=odd_names_in_an_export),
    Case(75, "escaped on a terminal", elsewhere="tests/test_cli_terminal.py::test_names_that_a_terminal_would_obey_are_escaped"),
]
