"""Distribution shift: a table from one time and place, a test from another; budgets from 5 to 20 %."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from oga_core.data import Subset, from_arrays
from oga_core.detectors import Gradients, make_detector, of_head
from oga_core.experiments import arms, census, figures, paper
from oga_core.experiments.asked import Asked
from oga_core.experiments.census import LABEL, Shift
from oga_core.experiments.figures import Figure
from oga_core.experiments.report import TWO_CLASSES, Study
from oga_core.experiments.results import VALIDATED, Results
from oga_core.experiments.starter import Starter
from oga_core.experiments.trial import Plan, Scorer, Trained, Trial, run_trial

BUDGETS = {"0.05": 0.05, "0.1": 0.1, "0.15": 0.15, "0.2": 0.2}
QUICK_BUDGETS = {"0.05": 0.05, "0.2": 0.2}
TRAIN, VALIDATION, TEST = 4000, 1000, 20_000
"""Rows at most, drawn by the seed."""
QUICK_TRAIN, QUICK_TEST = 1000, 4000
RESAMPLED = 0.8
"""Share of a given training table that a seed draws, so that seeds differ."""
LOGISTIC = "logistic"
STEPS = 1000
CURVES = (arms.RANDOM, arms.ORACLE, "l1", "l2", "iforest", "low_confidence", "ocsvm_test", "ocsvm_validation", *arms.OURS)
SIMULATED = (
    "Simulated: a made-up population, not a census (without --data). What is called wrong is a label that the same person would "
    "not have at the time and place of the test; the oracle removes these."
)


@dataclass(frozen=True)
class Tables:
    """The training and test data of one seed: features, float64 ``(n, d)``, and positions of the classes.

    Attributes
    ----------
    rows
        Positions of the training rows in their table.
    """

    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    rows: np.ndarray
    classes: int


@dataclass(frozen=True)
class Regression:
    """A logistic regression: see `oga_core.experiments.trial.Trained`."""

    tables: Tables
    model: LogisticRegression
    accuracy: float
    validation_accuracy: float
    by_epoch: tuple[float, ...] = ()

    def gradients(self, split: str) -> Gradients:
        x = self.tables.x[split]
        logits = np.full((len(x), self.tables.classes), -50.0)  # a class that was trimmed whole
        found = self.model.decision_function(x)
        logits[:, self.model.classes_] = found if found.ndim == 2 else np.stack([np.zeros(len(x)), found], 1)
        return of_head(logits, x, self.tables.y[split])


@dataclass(frozen=True)
class Regressions:
    """Fits logistic regressions, scikit-learn's defaults, to some of the training rows."""

    tables: Tables

    def __call__(self, rows: np.ndarray) -> Regression:
        x, y = self.tables.x, self.tables.y
        model = LogisticRegression(max_iter=STEPS).fit(x["train"][rows], y["train"][rows])
        test, validation = (float(model.score(x[p], y[p])) for p in ("test", "validation"))
        return Regression(self.tables, model, test, validation)


def run(asked: Asked) -> Study:
    """The shifts below the user's folder; without one, a simulated population.

    Raises
    ------
    InputError
        If tables do not fit, or a model is named that does not take features.
    """
    real = None if asked.data is None else census.find_shifts(asked.data)
    budgets = QUICK_BUDGETS if asked.quick else BUDGETS
    sizes = (QUICK_TRAIN, QUICK_TEST) if asked.quick else (TRAIN, TEST)
    results = Results(
        asked.out,
        {
            "experiment": "shift",
            "quick": asked.quick,
            "arch": asked.arch,
            "sizes": [*sizes, VALIDATION],
            "data": real and {name: [shift.title, len(shift.train), len(shift.test)] for name, shift in real.items()},
        },
    )
    plan = Plan(more={"ocsvm_test": _inliers("test"), "ocsvm_validation": _inliers("validation")})
    titles: dict[str, str] = {}
    for seed in range(asked.seeds):
        for name, shift in (real or census.simulate(seed, sizes[0], sizes[1] + VALIDATION)).items():
            titles[name] = shift.title
            tables = draw(shift, seed, *sizes)
            fit = Regressions(tables) if asked.arch in (None, LOGISTIC) else _starter(tables, seed, asked.arch)
            wrong = None if shift.wrong is None else shift.wrong[tables.rows]
            run_trial(Trial(name, seed, tables.y["train"], wrong, budgets, fit), plan, results, asked.progress)
    rows = results.of(asked.seeds)
    rows = validate(rows[rows["setting"].isin(titles) & rows["budget"].isin(["", *budgets])])
    panels = [(name, VALIDATED, title) for name, title in titles.items()]
    return Study(
        "Distribution shift: trained here, tested there",
        titles,
        {name: [VALIDATED, *budgets] for name in titles},
        rows,
        asked.quick,
        {"accuracy": paper.SHIFT_ACCURACY},
        notes=_notes(asked, real is None, sizes),
        figures=[
            Figure(
                "arms",
                f"{figures.ARMS_CAPTION} For each arm and seed the budget with the best accuracy on validation data.",
                figures.of_arms(rows, panels, "Accuracy after the trim, budget chosen on validation data"),
            ),
            Figure(
                "budgets",
                "Accuracy on the test data from elsewhere by the share that is trimmed, mean and 95 % interval.",
                figures.of_budgets(rows, titles, budgets, CURVES, "Test accuracy by budget"),
            ),
        ],
    )


def draw(shift: Shift, seed: int, train: int, test: int) -> Tables:
    """Rows of one seed: some of the training table, and of the test table some to validate on and others to test on."""
    rng = np.random.default_rng(seed)
    most = len(shift.train) if shift.wrong is not None else round(RESAMPLED * len(shift.train))
    rows = np.sort(rng.permutation(len(shift.train))[: min(train, most)])
    order = rng.permutation(len(shift.test))
    held = min(VALIDATION, len(order) // 4)
    chosen = {
        "train": shift.train.iloc[rows],
        "validation": shift.test.iloc[order[:held]],
        "test": shift.test.iloc[order[held:][:test]],
    }
    classes = sorted(set(shift.train[LABEL]))
    position = {label: i for i, label in enumerate(classes)}
    x = dict(zip(chosen, census.features(chosen["train"], [chosen["validation"], chosen["test"]])))
    y = {split: table[LABEL].map(position).to_numpy(np.int64) for split, table in chosen.items()}
    return Tables(x, y, rows, len(classes))


def validate(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and for each arm and seed once more the one whose budget has the best accuracy on validation data."""
    own = rows[(rows["budget"] != "") & rows["validation_accuracy"].notna()]
    best = own.groupby(["setting", "seed", "arm"], sort=False)["validation_accuracy"].idxmax()
    return pd.concat([rows, own.loc[best].assign(budget=VALIDATED)], ignore_index=True)


def _inliers(split: str) -> Scorer:
    """Scores by a one-class SVM that has learned what gradients look like elsewhere."""

    def score(base: Trained, seed: int) -> np.ndarray:
        return make_detector("ocsvm").fit(base.gradients(split), seed=seed).score_samples(base.gradients("train"))

    return score


def _starter(tables: Tables, seed: int, arch: str | None) -> Starter:
    names = [str(i) for i in range(tables.classes)]
    train, validation, test = (
        Subset(from_arrays(tables.x[p], tables.y[p], names), np.arange(len(tables.y[p]))) for p in ("train", "validation", "test")
    )
    return Starter(train, validation, test, seed, arch)


def _notes(asked: Asked, simulated: bool, sizes: tuple[int, int]) -> list[str]:
    notes = [
        f"Model: {asked.arch or 'logistic regression, scikit-learn’s defaults'}; numbers standardised, categories as columns of "
        "0 and 1.",
        f"Each seed draws at most {sizes[0]:,} training rows; of the table from elsewhere up to {VALIDATION:,} rows, or a "
        f"quarter, are for validation and at most {sizes[1]:,} others for the test.",
        f"“{VALIDATED}” is, for each arm and seed, the budget with the best accuracy on the validation rows; the paper picks it "
        "on the test set and has no untrimmed row.",
        f"“{arms.TITLES['ocsvm_test']}” learns the gradients of the test rows, their labels included, as the paper does: who has "
        f"those labels could train on them, so it is no fair arm. “{arms.TITLES['ocsvm_validation']}” is its honest form; it and "
        "influence do use labels from elsewhere, those of the validation rows.",
        TWO_CLASSES,
    ]
    if simulated:
        notes.insert(0, SIMULATED)
    return notes
