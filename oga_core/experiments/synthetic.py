"""The paper's synthetic experiments: two blobs with logistic regression, half moons with a 2-2-2-1 network, and a few flips.

All of it takes seconds, so nothing is resumed: every call starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import make_moons
from sklearn.linear_model import LogisticRegression

from oga_core.detectors import Gradients, flag_rows, of_head
from oga_core.errors import InputError
from oga_core.experiments import arms, figures, paper, toy_network
from oga_core.experiments.asked import Asked
from oga_core.experiments.figures import Figure
from oga_core.experiments.measures import detection
from oga_core.experiments.noise import flip_each
from oga_core.experiments.panels import Shown, four_panels
from oga_core.experiments.reading import column
from oga_core.experiments.report import TWO_CLASSES, Study
from oga_core.experiments.results import RESULTS, Results, Row
from oga_core.progress import Progress

BUDGET = 0.1
DRAWN = "iforest"
"""The detector whose flags are drawn in the figure of one seed."""
TEST, VALIDATION = 10_000, 500
BLOBS, CENTRE = 150, 1.5
MOONS, NOISE = 250, 0.2
LEARNED = 0.6
"""Accuracy below which a network has learned nothing."""

Fitted = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Logits ``(n,)`` and inputs of the last layer ``(n, 2)`` of points ``(n, 2)``."""


@dataclass(frozen=True)
class Drawn:
    """The data of one seed.

    Attributes
    ----------
    points, given, wrong
        Of the training samples: float64 ``(n, 2)``, given labels 0 and 1, and which of these were flipped.
    test, validation
        Points and true labels.
    """

    points: np.ndarray
    given: np.ndarray
    wrong: np.ndarray
    test: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]


FitAll = Callable[[list[Drawn], np.ndarray, Progress], list[list[Fitted]]]
"""Models of all seeds and of all trims of each, from bool ``(seeds, trims, n)``: which samples they are trained on."""


@dataclass(frozen=True)
class Setting:
    """A distribution, how many labels of each class are flipped, and the model."""

    title: str
    draw: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    samples: int
    flips: int
    fit: FitAll


def _blobs(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two round normal distributions of variance 1, half of the points each."""
    labels = rng.permutation(np.arange(n) % 2)
    return rng.normal(size=(n, 2)) + CENTRE * (2 * labels[:, None] - 1), labels


def _moons(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    points, labels = make_moons(n, noise=NOISE, random_state=int(rng.integers(1 << 31)))
    return points, labels


def _regressions(drawn: list[Drawn], masks: np.ndarray, progress: Progress) -> list[list[Fitted]]:
    out: list[list[Fitted]] = []
    for done, (data, trims) in enumerate(zip(drawn, masks), 1):
        out.append([_linear(LogisticRegression().fit(data.points[rows], data.given[rows])) for rows in trims])
        progress("fitting regressions", done, len(drawn))
    return out


def _linear(model: LogisticRegression) -> Fitted:
    return lambda points: (model.decision_function(points), points)


def _networks(drawn: list[Drawn], masks: np.ndarray, progress: Progress) -> list[list[Fitted]]:
    """The trims of a seed begin with the same weights."""
    trims = masks.shape[1]
    points, given = (np.repeat(np.stack(v), trims, 0) for v in ([d.points for d in drawn], [d.given for d in drawn]))
    start = toy_network.Networks.drawn(np.repeat(np.arange(len(drawn)), trims))
    fitted = toy_network.fit(start, points, given, masks.reshape(len(points), -1), toy_network.EPOCHS, progress)

    def one(index: int) -> Fitted:
        return fitted.one(index).run_alone

    return [[one(s * trims + t) for t in range(trims)] for s in range(len(drawn))]


SETTINGS = {
    "blobs": Setting("Two blobs, logistic regression", _blobs, BLOBS, 5, _regressions),
    "moons": Setting("Half moons, network 2-2-2-1", _moons, MOONS, 10, _networks),
}


def draw(setting: Setting, seed: int) -> Drawn:
    """The data of one seed."""
    rng = np.random.default_rng(seed)
    points, true = setting.draw(setting.samples, rng)
    given = flip_each(true, setting.flips, rng)
    return Drawn(points, given, given != true, setting.draw(TEST, rng), setting.draw(VALIDATION, rng))


def gradients(model: Fitted, points: np.ndarray, labels: np.ndarray) -> Gradients:
    """Of the last layer's weight. The one logit z is written as two, [0, z]: the same gradient twice, with either sign, so every
    order is that of the paper's two numbers (σ(z) − y) h."""
    logits, features = model(points)
    return of_head(np.stack([np.zeros(len(logits)), logits], 1), features, labels)


def compare(setting: Setting, name: str, seeds: int, progress: Progress) -> tuple[list[Row], Shown]:
    """Rows of all seeds, and what is drawn of seed 0."""
    data = [draw(setting, seed) for seed in range(seeds)]
    models = [fitted[0] for fitted in setting.fit(data, np.ones((seeds, 1, setting.samples), bool), progress)]
    scores, trims = [], []
    for seed, (d, model) in enumerate(zip(data, models)):
        train, validation = gradients(model, d.points, d.given), gradients(model, *d.validation)
        scores.append({arm: arms.score(arm, train, validation, seed) for arm in (*arms.SCORED, arms.RANDOM)})
        trims.append(_trims(scores[-1], d, seed))
        progress(f"{name}: scoring", seed + 1, seeds)
    masks = np.ones((seeds, len(trims[0]), setting.samples), bool)
    for s, own in enumerate(trims):
        for t, dropped in enumerate(own.values()):
            masks[s, t, dropped] = False
    refitted = setting.fit(data, masks, progress)
    rows = []
    for seed, (d, model) in enumerate(zip(data, models)):
        fitted = dict(zip(trims[seed], refitted[seed]))
        rows.append(Row(name, seed, "", arms.UNTRIMMED, 0, **_accuracies(model, d)))
        dropped = trims[seed][arms.ORACLE]
        rows.append(Row(name, seed, "", arms.ORACLE, len(dropped), **_accuracies(fitted[arms.ORACLE], d)))
        for arm, score in scores[seed].items():
            found: dict[str, Any] = detection(score, d.wrong, trims[seed][arm]) | _accuracies(fitted[arm], d)
            if arm != arms.RANDOM:
                found["random_accuracy"] = _accuracies(fitted[_twin(arm)], d)["accuracy"]
            rows.append(Row(name, seed, str(BUDGET), arm, len(trims[seed][arm]), **found))
    first, before, after = data[0], models[0], dict(zip(trims[0], refitted[0]))[DRAWN]
    logits, features = before(first.points)
    shown = Shown(
        first.points,
        first.given,
        first.wrong,
        (1 / (1 + np.exp(-logits)) - first.given)[:, None] * features,
        trims[0][DRAWN],
        lambda points: before(points)[0],
        lambda points: after(points)[0],
    )
    return rows, shown


def run(asked: Asked) -> Study:
    """Both settings.

    Raises
    ------
    InputError
        If data or a model are named: there is a choice of neither.
    """
    if asked.data is not None or asked.arch is not None:
        raise InputError("the synthetic experiment draws its own data and has its own models; leave out --data and --arch")
    (asked.out / RESULTS).unlink(missing_ok=True)
    results = Results(asked.out, {"experiment": "synthetic", "quick": asked.quick, "epochs": toy_network.EPOCHS})
    drawings = []
    for name, setting in SETTINGS.items():
        found, shown = compare(setting, name, asked.seeds, asked.progress)
        results.add_all(found)
        drawings.append(
            Figure(
                name,
                f"{setting.title}, seed 0. A: the training data, flipped labels ringed, and the model's boundary. B: the "
                f"gradients of its last layer. C: those that {arms.TITLES[DRAWN]} flags. D: the data without them, and the "
                "boundary of the model trained again.",
                four_panels(shown, f"{setting.title}: seed 0", arms.TITLES[DRAWN]),
            )
        )
    rows = results.of(asked.seeds)
    stuck = int((column(rows, "moons", "", arms.UNTRIMMED, "accuracy") < LEARNED).sum())
    titles = {name: setting.title for name, setting in SETTINGS.items()}
    panels = [(name, str(BUDGET), title) for name, title in titles.items()]
    overview = figures.of_arms(rows, panels, f"Flips found, and accuracy after trimming {100 * BUDGET:g} %")
    drawings.insert(0, Figure("arms", figures.ARMS_CAPTION, overview))
    return Study(
        "Synthetic data: blobs and half moons",
        titles,
        {name: [str(BUDGET)] for name in titles},
        rows,
        asked.quick,
        {"detection_accuracy": paper.SYNTHETIC_DETECTION, "accuracy": paper.SYNTHETIC_ACCURACY},
        notes=[
            f"Blobs: {BLOBS} training points, {2 * SETTINGS['blobs'].flips} flipped, normal distributions of variance 1 around "
            f"±({CENTRE}, {CENTRE}); scikit-learn's logistic regression with its defaults.",
            f"Half moons: {MOONS} training points, noise {NOISE}, {2 * SETTINGS['moons'].flips} flipped, half of them in each "
            f"class; ReLU, Adam 1e-3, weight decay 1e-4, {toy_network.EPOCHS:,} full-batch epochs.",
            f"{TEST:,} test points in place of the paper's 100, whose standard error is about 3 points; {VALIDATION} validation "
            "points.",
            f"The untrimmed network of the half moons stayed below {100 * LEARNED:g} % in {stuck} of {asked.seeds} seeds, its "
            "units dead; no seed is left out.",
            TWO_CLASSES,
            "Detection accuracy is the paper's: the share of all samples for which flagged or not is right.",
        ],
        figures=drawings,
    )


def _twin(arm: str) -> str:
    return f"random like {arm}"


def _trims(scores: dict[str, np.ndarray], data: Drawn, seed: int) -> dict[str, np.ndarray]:
    """Return the samples that each model is trained without."""
    own = {arm: flag_rows(score, BUDGET) for arm, score in scores.items()}
    out = own | {_twin(arm): arms.random_like(rows, data.given, seed) for arm, rows in own.items() if arm != arms.RANDOM}
    return out | {arms.RANDOM: out[_twin(arms.RANDOM_IS_LIKE)], arms.ORACLE: np.flatnonzero(data.wrong)}


def _accuracies(model: Fitted, data: Drawn) -> dict[str, Any]:
    """As `Row` takes them."""
    splits: dict[str, Sequence[np.ndarray]] = {"accuracy": data.test, "validation_accuracy": data.validation}
    return {name: float(((model(points)[0] > 0) == labels).mean()) for name, (points, labels) in splits.items()}
