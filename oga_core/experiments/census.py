"""Tables for the experiment on distribution shift: the user's own, American census files, or a simulated population."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from oga_core.errors import InputError

LABEL = "label"
MOST_VALUES = 30
"""Values of a category that get a column of their own; rarer ones share one."""
SETTINGS = {"time": "another time", "place": "another place", "both": "another time and place"}
PUMS = re.compile(r"psam_p\d\d\.csv|ss\d\dp[a-z]{2}\.csv")
"""Names of the census's files of persons since 2017, and before."""
NUMBERS, CATEGORIES = ["AGEP", "WKHP"], ["COW", "SCHL", "MAR", "OCCP", "POBP", "RELP", "RELSHIPP", "SEX", "RAC1P"]
"""Columns of the American Community Survey's person files that the income task uses (Ding et al., arXiv 2108.04884)."""
INCOME, RICH = "PINCP", 50_000
ADULT = {"AGEP": 16, "WKHP": 0, INCOME: 100}
"""Rows above these values are kept."""


@dataclass(frozen=True)
class Shift:
    """A table to train on and one from elsewhere.

    Attributes
    ----------
    train, test
        Columns, one of them ``label``.
    wrong
        Which training labels would be others in the place and at the time of the test, bool; None where nobody knows.
    """

    title: str
    train: pd.DataFrame
    test: pd.DataFrame
    wrong: np.ndarray | None = None


def find_shifts(folder: Path) -> dict[str, Shift]:
    """The shifts below a folder: ``train.csv`` and ``test.csv``, or census files ``YEAR/…/psam_pNN.csv`` or ``ssYYpST.csv``.

    Of census files the first state in the earliest year is trained on; the test is the latest year, the last state, and both.

    Raises
    ------
    InputError
        If there is neither, or a table does not fit.
    """
    if (folder / "train.csv").is_file() and (folder / "test.csv").is_file():
        train, test = (_table(folder / f"{split}.csv") for split in ("train", "test"))
        if list(train.columns) != list(test.columns):
            raise InputError(f"{folder}: train.csv and test.csv do not have the same columns")
        if more := sorted(set(test[LABEL]) - set(train[LABEL])):
            raise InputError(f"{folder}/test.csv has the label {more[0]!r}, which train.csv has not")
        return {"given": Shift(f"{folder.name}: train.csv to test.csv", train, test)}
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*.csv")):
        year = next((name for name in reversed(path.parts[:-1]) if re.fullmatch(r"20\d\d", name)), None)
        if year and PUMS.fullmatch(path.name):
            files[year, _state(path)] = path
    if len(files) < 2:
        raise InputError(f"{folder} has neither train.csv and test.csv nor two census files YEAR/…/psam_pNN.csv or ssYYpST.csv")
    (year, state), first = next(iter(sorted(files.items())))
    later = [y for y, s in sorted(files) if s == state and y != year]
    elsewhere = [s for y, s in sorted(files) if y == year and s != state]
    both = [key for key in sorted(files) if key[0] != year and key[1] != state]
    wanted = {
        "time": (later[-1], state) if later else None,
        "place": (year, elsewhere[-1]) if elsewhere else None,
        "both": both[-1] if both else None,
    }
    train = _census(first)
    return {
        name: Shift(f"census, state {state} in {year} to state {to[1]} in {to[0]}", *_alike(train, _census(files[to])))
        for name, to in wanted.items()
        if to
    }


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if LABEL not in table:
        raise InputError(f"{path} has no column {LABEL!r}; it has {', '.join(map(str, table.columns[:20]))}")
    table = table.dropna(subset=[LABEL]).reset_index(drop=True)
    table[LABEL] = table[LABEL].astype(str)
    if len(table) < 50 or table[LABEL].nunique() < 2:
        raise InputError(f"{path}: {len(table)} rows of {table[LABEL].nunique()} class; 50 rows and two classes are needed")
    return table


def _census(path: Path) -> pd.DataFrame:
    """Employed adults, and whether they earn more than 50,000 dollars."""
    try:
        there = pd.read_csv(path, nrows=0).columns
        wanted = [c for c in (*NUMBERS, *CATEGORIES, INCOME) if c in there]
        table = pd.read_csv(path, usecols=wanted)
        for column, least in ADULT.items():
            table = table[table[column] > least]
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a census file of persons: {' '.join(str(error).split())[:200]}") from error
    table[LABEL] = np.where(table.pop(INCOME) > RICH, "above", "below")
    names = [c for c in CATEGORIES if c in table]
    table[names] = table[names].astype(str)
    return table.reset_index(drop=True)


def _state(path: Path) -> str:
    """The number of the state that a census file is of."""
    try:
        return f"{int(pd.read_csv(path, usecols=['ST'], nrows=1)['ST'].iloc[0]):02d}"
    except (IndexError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a census file of persons: {' '.join(str(error).split())[:200]}") from error


def _alike(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with the columns that they share: some were renamed over the years."""
    shared = [c for c in first if c in second]
    return first[shared], second[shared]


def features(train: pd.DataFrame, others: Sequence[pd.DataFrame]) -> list[np.ndarray]:
    """Columns other than the label as numbers, float64 ``(n, d)`` each, by what is known of the training rows.

    Numbers are standardised, missing ones taken for the mean; of everything else each value gets a column of its own.
    """
    inputs = train.drop(columns=LABEL)
    numbers = [str(c) for c in inputs if pd.api.types.is_numeric_dtype(inputs[c]) and not pd.api.types.is_bool_dtype(inputs[c])]
    names = [str(c) for c in inputs if c not in numbers]
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), numbers),
            (
                "names",
                OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_VALUES, sparse_output=False),
                names,
            ),
        ]
    )
    encoder.fit(_texts(inputs, names))
    return [np.nan_to_num(encoder.transform(_texts(t.drop(columns=LABEL), names))) for t in (train, *others)]


def _texts(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return table.assign(**{name: table[name].astype(str) for name in names})


def simulate(seed: int, train: int, test: int) -> dict[str, Shift]:
    """A made-up population whose incomes depend on age, schooling, trade, hours and more; wages, trades and schooling differ by
    year and place. What is wrong is known: the label that the same person would have there and then is another."""
    rng = np.random.default_rng([seed, 11])
    out = {}
    for name, title in SETTINGS.items():
        later, elsewhere = name in ("time", "both"), name in ("place", "both")
        people, luck = _people(train, False, False, rng), rng.normal(size=train)
        here, there = _rich(people, luck, False, False), _rich(people, luck, later, elsewhere)
        others = _people(test, later, elsewhere, rng)
        others[LABEL] = _names(_rich(others, rng.normal(size=test), later, elsewhere))
        people[LABEL] = _names(here)
        out[name] = Shift(f"simulated population, {title}", people, others, here != there)
    return out


TRADES = {
    "office": (0.26, 0.20),
    "trade": (0.20, 0.24),
    "health": (0.14, 0.12),
    "factory": (0.10, 0.24),
    "school": (0.10, 0.08),
    "software": (0.12, 0.03),
    "farm": (0.08, 0.09),
}
"""Shares here and elsewhere."""
PAY = {
    "office": (0.10, 0.05),
    "trade": (-0.15, -0.10),
    "health": (0.20, 0.25),
    "factory": (-0.10, 0.25),
    "school": (-0.05, 0.0),
    "software": (0.45, 0.15),
    "farm": (-0.35, -0.15),
}
"""Part of the logarithm of the income, here and elsewhere."""


def _people(n: int, later: bool, elsewhere: bool, rng: np.random.Generator) -> pd.DataFrame:
    shares = np.array([share[elsewhere] for share in TRADES.values()])
    age = np.clip(rng.normal(42 + 2.5 * later + 2 * elsewhere, 13, n), 17, 85)
    years = np.clip(rng.normal(13.2 + 0.5 * later - 0.6 * elsewhere, 2.6, n), 6, 21)
    return pd.DataFrame(
        {
            "age": age.round(),
            "schooling": years.round(),
            "hours": np.clip(rng.normal(39 - 1.5 * later, 10, n), 2, 80).round(),
            "trade": rng.choice(list(TRADES), n, p=shares / shares.sum()),
            "married": rng.random(n) < 0.5 - 0.04 * later,
            "sex": rng.choice(["f", "m"], n),
            "sector": rng.choice(["private", "public", "own business"], n, p=[0.72, 0.16, 0.12]),
            "born_abroad": rng.random(n) < (0.12 if elsewhere else 0.22),
        }
    ).astype({"married": str, "born_abroad": str})


def _rich(people: pd.DataFrame, luck: np.ndarray, later: bool, elsewhere: bool) -> np.ndarray:
    """Whether the logarithm of the income is above a line."""
    age = people["age"].to_numpy(float)
    pay = people["trade"].map({trade: both[elsewhere] for trade, both in PAY.items()}).to_numpy(float)
    income = (
        (0.095 + 0.015 * later - 0.02 * elsewhere) * (people["schooling"].to_numpy(float) - 13)
        + 0.035 * (age - 42)
        - 0.0009 * (age - 42) ** 2
        + 0.022 * (people["hours"].to_numpy(float) - 39)
        + pay
        + 0.12 * (people["married"] == "True").to_numpy()
        + (0.22 - 0.06 * later) * (people["sex"] == "m").to_numpy()
        - 0.08 * (people["born_abroad"] == "True").to_numpy()
        + 0.14 * later
        - 0.05 * elsewhere
    )
    return np.asarray(income + 0.35 * luck > 0.15)


def _names(rich: np.ndarray) -> np.ndarray:
    return np.where(rich, "above", "below")
