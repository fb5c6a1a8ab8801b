"""A trial: what each arm is trained without, what is measured, and that an interrupted one goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from oga_core.detectors import Gradients, flag_rows, of_head
from oga_core.errors import InputError
from oga_core.experiments import arms
from oga_core.experiments.results import RESULTS, Results, Row
from oga_core.experiments.trial import Plan, Trained, Trial, run_trial
from oga_core.progress import Cancelled, silent

N = 240
PLAN = Plan(scored=("l1", "l2", "low_confidence", "tracing"), trained=("l1", "l2"), twins=("l1",))


class Blobs:
    """Three blobs with some labels flipped; remembers what was trained on."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.true = np.arange(N) % 3
        self.x = rng.normal(size=(N, 4)) + 2.5 * np.eye(4)[self.true]
        self.given = self.true.copy()
        self.given[:30] = (self.true[:30] + 1) % 3
        self.trained_on: list[np.ndarray] = []

    def fit(self, rows: np.ndarray) -> Trained:
        self.trained_on.append(rows)
        return Fitted(self, LogisticRegression().fit(self.x[rows], self.given[rows]))

    def trial(self, wrong: bool = True, budgets: dict[str, float] | None = None) -> Trial:
        truth = self.given != self.true if wrong else None
        return Trial("blobs", 0, self.given, truth, budgets or {"0.1": 0.1}, self.fit)


class Fitted:
    def __init__(self, blobs: Blobs, model: LogisticRegression) -> None:
        self.blobs, self.model = blobs, model
        self.accuracy = float(model.score(blobs.x, blobs.true))
        self.validation_accuracy, self.by_epoch = self.accuracy / 2, (0.25, self.accuracy)

    def gradients(self, split: str) -> Gradients:
        labels = self.blobs.given if split == "train" else self.blobs.true
        return of_head(self.model.decision_function(self.blobs.x), self.blobs.x, labels)


def left_out(blobs: Blobs) -> list[set[int]]:
    return [set(range(N)) - set(rows.tolist()) for rows in blobs.trained_on]


def test_the_arms_are_trained_without_what_they_promise(tmp_path: Path) -> None:
    blobs = Blobs()
    results = Results(tmp_path, {})
    run_trial(blobs.trial(), PLAN, results, silent)
    untrimmed, oracle, l1, twin, *rest = left_out(blobs)
    assert untrimmed == set()
    assert oracle == set(range(30))  # exactly the wrong ones
    base = Blobs().fit(np.arange(N)).gradients("train")
    assert l1 == set(flag_rows(base.l1, 0.1).tolist())
    assert twin == set(arms.random_like(np.array(sorted(l1)), blobs.given, 0).tolist())
    l2 = set(flag_rows(base.l2, 0.1).tolist())
    assert rest == ([l2] if l2 != l1 else [])  # the random arm is l1's twin, and the same trim is not trained twice


def test_every_row_has_what_was_measured_and_no_more(tmp_path: Path) -> None:
    results = Results(tmp_path, {})
    run_trial(Blobs().trial(), PLAN, results, silent)
    rows = results.of(1).set_index("arm")
    assert set(rows.index) == {"untrimmed", "oracle", "random", "l1", "l2", "low_confidence", "tracing"}
    measured = rows[["auc", "accuracy", "random_accuracy"]].notna().T
    assert measured["l1"].tolist() == [True, True, True]
    assert measured["l2"].tolist() == [True, True, False]
    assert measured["low_confidence"].tolist() == [True, False, False]
    assert measured["random"].tolist() == [True, True, False]
    assert measured["oracle"].tolist() == [False, True, False]
    assert rows["random_accuracy"]["l1"] == rows["accuracy"]["random"]
    assert rows["budget"].to_dict() | {} == {a: "" if a in ("untrimmed", "oracle") else "0.1" for a in rows.index}
    assert rows["trimmed"].to_dict()["oracle"] == 30
    assert rows.loc["l1", "by_epoch"] == (0.25, rows.loc["l1", "accuracy"])


def test_without_truth_there_is_no_oracle_and_no_detection(tmp_path: Path) -> None:
    results = Results(tmp_path, {})
    run_trial(Blobs().trial(wrong=False), PLAN, results, silent)
    rows = results.of(1)
    assert "oracle" not in set(rows["arm"])
    assert rows["auc"].isna().all()
    assert rows["accuracy"].notna().sum() == 4


def test_scores_of_ones_own_are_trimmed_and_trained_like_any_other(tmp_path: Path) -> None:
    results = Results(tmp_path, {})
    plan = Plan(scored=("l1",), trained=(), twins=(), more={"ocsvm_test": lambda base, seed: base.gradients("train").losses})
    run_trial(Blobs().trial(), plan, results, silent)
    row = results.of(1).set_index("arm").loc["ocsvm_test"]
    assert row[["accuracy", "random_accuracy", "auc"]].notna().all()


def test_an_interrupted_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    budgets = {"0.05": 0.05, "0.1": 0.1}
    run_trial(Blobs().trial(budgets=budgets), PLAN, Results(whole, {}), silent)

    def stop(stage: str, done: int, total: int) -> None:
        if stage.endswith("low_confidence"):
            raise Cancelled

    first, second, third = Blobs(), Blobs(), Blobs()
    with pytest.raises(Cancelled):
        run_trial(first.trial(budgets=budgets), PLAN, Results(parts, {}), stop)
    kept = (parts / RESULTS).read_text()
    run_trial(second.trial(budgets=budgets), PLAN, Results(parts, {}), silent)
    assert (parts / RESULTS).read_text().startswith(kept.rstrip())
    assert (parts / RESULTS).read_text() == (whole / RESULTS).read_text()
    assert len(second.trained_on) < len(first.trained_on) + 4
    run_trial(third.trial(budgets=budgets), PLAN, Results(parts, {}), silent)
    assert third.trained_on == []  # nothing was missing


def test_an_arm_that_is_new_is_added_to_old_results(tmp_path: Path) -> None:
    run_trial(Blobs().trial(), Plan(scored=("l1",), trained=(), twins=()), Results(tmp_path, {}), silent)
    run_trial(Blobs().trial(), Plan(scored=("l1", "l2"), trained=(), twins=()), Results(tmp_path, {}), silent)
    assert set(Results(tmp_path, {}).of(1)["arm"]) == {"untrimmed", "oracle", "random", "l1", "l2"}


def test_results_come_back_from_disk_to_the_last_digit(tmp_path: Path) -> None:
    row = Row("a", 3, "0.3", "l1", 7, auc=1 / 3, accuracy=2 / 3, by_epoch=(0.1, 1 / 7))
    Results(tmp_path, {"x": 1}).add(row)
    back = Results(tmp_path, {"x": 1}).rows["a", 3, "0.3", "l1"]
    assert (back.auc, back.accuracy, back.by_epoch, back.trimmed) == (1 / 3, 2 / 3, (0.1, 1 / 7), 7)
    assert np.isnan(back.recall)
    assert len(Results(tmp_path, {"x": 1}).of(3)) == 0  # of seeds 0, 1 and 2


def test_results_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    Results(tmp_path, {"quick": True}).add(Row("a", 0, "", "untrimmed", 0, accuracy=0.5))
    with pytest.raises(InputError, match="results made under other settings"):
        Results(tmp_path, {"quick": False})


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    Results(tmp_path, {}).add(Row("a", 0, "", "untrimmed", 0))
    (tmp_path / RESULTS).write_text("name,value\na,1\n")
    with pytest.raises(InputError, match="not a table that this command wrote"):
        Results(tmp_path, {})
