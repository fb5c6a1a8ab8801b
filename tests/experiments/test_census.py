"""Tables of the shift experiment: the user's own, census files, and the simulated population."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oga_core.errors import InputError
from oga_core.experiments import census
from oga_core.experiments.shift import Regressions, draw, validate

RNG = np.random.default_rng(0)


def table(n: int = 200) -> pd.DataFrame:
    x = RNG.normal(size=n)
    return pd.DataFrame(
        {
            "x": x,
            "colour": RNG.choice(["red", "blue"], n),
            "flag": RNG.random(n) < 0.5,
            "label": np.where(x + RNG.normal(size=n) > 0, "yes", "no"),
        }
    )


def write(folder: Path, train: pd.DataFrame, test: pd.DataFrame) -> Path:
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    return folder


def test_a_table_of_ones_own_becomes_numbers_by_what_is_known_of_the_training_rows(tmp_path: Path) -> None:
    train, test = table(), table()
    test.loc[0, "colour"], test.loc[1, "x"] = "green", np.nan
    shift = census.find_shifts(write(tmp_path, train, test))["given"]
    assert shift.wrong is None
    x, other = census.features(shift.train, [shift.test])
    assert x.shape == (200, 5)  # the number, two colours, two flags
    assert (x[:, 0].mean(), x[:, 0].std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert other[0, 1:3].tolist() == [0, 0]  # a colour that nobody knows
    assert other[1, 0] == 0  # a missing number is the mean
    assert np.isfinite(other).all()


def test_seeds_draw_other_rows_and_none_is_tested_that_was_validated_on(tmp_path: Path) -> None:
    shift = census.find_shifts(write(tmp_path, table(), table(400)))["given"]
    first, again, other = (draw(shift, seed, 4000, 10_000) for seed in (0, 0, 1))
    assert len(first.rows) == 160  # four fifths of a given table
    assert np.array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)
    assert (len(first.y["validation"]), len(first.y["test"])) == (100, 300)
    model = Regressions(first)(np.arange(160))
    assert 0.6 < model.accuracy < 0.95
    gradients = model.gradients("test")
    assert (len(gradients), gradients.classes) == (300, 2)
    predicted = np.asarray(gradients.logits).argmax(1)
    assert (predicted == first.y["test"]).mean() == pytest.approx(model.accuracy)


def test_a_class_that_was_trimmed_whole_is_never_predicted(tmp_path: Path) -> None:
    train = table()
    train["label"] = np.resize(["a", "b", "c"], 200)
    tables = draw(census.find_shifts(write(tmp_path, train, train))["given"], 0, 4000, 10_000)
    model = Regressions(tables)(np.flatnonzero(tables.y["train"] != 1))
    logits = np.asarray(model.gradients("test").logits)
    assert logits.shape[1] == 3
    assert set(logits.argmax(1)) <= {0, 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="label"), "no column 'label'; it has x, colour, flag"),
        (lambda t: t.head(10), "10 rows of 2 class"),
        (lambda t: t.assign(label="yes"), "200 rows of 1 class"),
        (lambda t: t.assign(more=1), "do not have the same columns"),
        (lambda t: t.assign(label=np.where(t["x"] > 1, "perhaps", t["label"])), "the label 'perhaps', which train.csv has not"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        census.find_shifts(write(tmp_path, table(), change(table())))


def persons(state: int, n: int = 300) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ST": state,
            "AGEP": RNG.integers(10, 80, n),
            "WKHP": RNG.integers(0, 60, n),
            "COW": RNG.integers(1, 9, n),
            "SCHL": RNG.integers(1, 24, n),
            "SEX": RNG.integers(1, 3, n),
            "PINCP": RNG.integers(0, 120_000, n),
            "SERIALNO": 1,
        }
    )


def test_census_files_give_another_year_another_state_and_both(tmp_path: Path) -> None:
    for year, name, state in (("2014", "ss14pca", 6), ("2014", "ss14pmi", 26), ("2018", "psam_p06", 6), ("2018", "psam_p26", 26)):
        (tmp_path / year / "1-Year").mkdir(parents=True, exist_ok=True)
        people = persons(state)
        if year == "2018":
            people["RELSHIPP"] = 20
        people.to_csv(tmp_path / year / "1-Year" / f"{name}.csv", index=False)
    shifts = census.find_shifts(tmp_path)
    assert {name: shift.title for name, shift in shifts.items()} == {
        "time": "census, state 06 in 2014 to state 06 in 2018",
        "place": "census, state 06 in 2014 to state 26 in 2014",
        "both": "census, state 06 in 2014 to state 26 in 2018",
    }
    for shift in shifts.values():
        assert list(shift.train) == list(shift.test)
        assert set(shift.train) == {"AGEP", "COW", "SCHL", "SEX", "WKHP", "label"}
        assert (shift.train["AGEP"] > 16).all()
        assert set(shift.train["label"]) == {"above", "below"}
        assert pd.api.types.is_string_dtype(shift.train["COW"])  # a category


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither train.csv and test.csv nor two census files"):
        census.find_shifts(tmp_path)


def test_the_simulated_population_shifts_and_knows_what_is_wrong() -> None:
    shifts = census.simulate(0, 2000, 3000)
    again = census.simulate(0, 2000, 3000)
    assert list(shifts) == ["time", "place", "both"]
    for name, shift in shifts.items():
        pd.testing.assert_frame_equal(shift.train, again[name].train)
        assert "simulated" in shift.title
        assert shift.wrong is not None
        assert 0.02 < shift.wrong.mean() < 0.25
        assert 0.25 < (shift.train["label"] == "above").mean() < 0.75
    assert shifts["both"].test["age"].mean() > shifts["both"].train["age"].mean() + 2


def test_the_budget_is_chosen_on_validation_data_for_each_arm_and_seed() -> None:
    lines = [
        ("a", 0, "0.05", "l1", 0.7, 0.9),
        ("a", 0, "0.1", "l1", 0.8, 0.6),
        ("a", 1, "0.05", "l1", 0.9, 0.5),
        ("a", 1, "0.1", "l1", 0.8, 0.9),
        ("a", 0, "", "untrimmed", 0.9, 0.9),
        ("a", 0, "0.05", "el2n", np.nan, np.nan),
    ]
    rows = pd.DataFrame(lines, columns=["setting", "seed", "budget", "arm", "validation_accuracy", "accuracy"])
    chosen = validate(rows).query("budget == 'validated'")
    assert chosen[["seed", "arm", "accuracy"]].to_numpy().tolist() == [[0, "l1", 0.6], [1, "l1", 0.5]]
    assert len(validate(rows)) == len(rows) + 2
