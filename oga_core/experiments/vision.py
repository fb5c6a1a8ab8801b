"""Vision: noisy labels of images, human or class-dependent; 5 % trimmed, and as much as there is noise."""

from __future__ import annotations

import numpy as np

from oga_core.data import Subset
from oga_core.experiments import arms, figures, paper
from oga_core.experiments.asked import Asked
from oga_core.experiments.figures import Figure
from oga_core.experiments.paper import Numbers
from oga_core.experiments.pictures import Pictures, embedded_digits, find_images
from oga_core.experiments.report import Study
from oga_core.experiments.results import AT_NOISE_RATE, Results
from oga_core.experiments.starter import Starter
from oga_core.experiments.tables import budget_title
from oga_core.experiments.trial import Plan, Trial, run_trial

BUDGET = 0.05
TRAINED = ("l1", "l2", "iforest", "low_confidence", *arms.OURS)
"""Arms that a model is trained for: minutes each."""
TWINS = (arms.RANDOM_IS_LIKE,)
VALIDATION = 1000
QUICK = {"train": 500, "validation": 100, "test": 400}
QUICK_TRAINED, QUICK_EPOCHS, QUICK_SETTINGS = ("l1", "low_confidence", *arms.OURS), 5, 2


def run(asked: Asked) -> Study:
    """The settings of the images that are there.

    Raises
    ------
    InputError
        If a folder is named and has no images that are known, or a model is named that does not take images.
    """
    pictures = embedded_digits(asked.out) if asked.data is None else find_images(asked.data)
    names = list(pictures.given)
    if asked.quick:
        names = names[:: max(1, len(names) - 1)][:QUICK_SETTINGS]  # the first and the last
    most = QUICK if asked.quick else {"train": 1 << 62, "validation": VALIDATION, "test": 1 << 62}
    most |= {"train": asked.samples} if asked.samples else {}
    epochs = QUICK_EPOCHS if asked.quick else None
    results = Results(
        asked.out,
        {
            "experiment": "vision",
            "quick": asked.quick,
            "arch": asked.arch,
            "most": most,
            "epochs": epochs,
            "data": [str(asked.data and asked.data.resolve()), len(pictures.train), len(pictures.test)],
        },
    )
    plan = Plan(trained=QUICK_TRAINED if asked.quick else TRAINED, twins=TWINS)
    shares = {}
    for name in names:
        for seed in range(asked.seeds):
            train, wrong, validation, test = split(pictures, name, seed, most)
            budgets = {str(BUDGET): BUDGET} | ({} if asked.quick else {AT_NOISE_RATE: float(wrong.mean())})
            fit = Starter(train, validation, test, seed, asked.arch, epochs)
            run_trial(Trial(name, seed, train.labels, wrong, budgets, fit), plan, results, asked.progress)
            shares[name] = float(wrong.mean())
    rows = results.of(asked.seeds)
    rows = rows[rows["setting"].isin(names)]
    titles = {name: f"{pictures.titles[name]} ({100 * shares[name]:.1f} % wrong)" for name in names}
    budgets_shown = [b for b in (str(BUDGET), AT_NOISE_RATE) if (rows["budget"] == b).any()]
    panels = [(name, b, f"{titles[name]}, {budget_title(b)}") for name in names for b in budgets_shown]
    return Study(
        "Vision: noisy labels of images",
        titles,
        {name: budgets_shown for name in names},
        rows,
        asked.quick,
        {"accuracy": _beside(pictures)},
        notes=[*pictures.notes, *_notes(asked)],
        figures=[
            Figure("arms", figures.ARMS_CAPTION, figures.of_arms(rows, panels, "Wrong labels found, and accuracy after the trim"))
        ],
    )


def split(pictures: Pictures, name: str, seed: int, most: dict[str, int]) -> tuple[Subset, np.ndarray, Subset, Subset]:
    """Training images under their given labels, which of these are wrong, validation and test images, as a seed draws them."""
    rng = np.random.default_rng(seed)
    given = pictures.given[name](rng)
    rows = np.sort(rng.permutation(len(given))[: most["train"]])
    order = rng.permutation(len(pictures.test))
    held = min(most["validation"], len(order) // 5)
    validation, test = (Subset(pictures.test, some) for some in (order[:held], order[held:][: most["test"]]))
    return Subset(pictures.train, rows, given[rows]), (given != pictures.train.labels)[rows], validation, test


def _beside(pictures: Pictures) -> Numbers:
    return {name: paper.VISION_ACCURACY[like] for name, like in pictures.likes.items()}


def _notes(asked: Asked) -> list[str]:
    trained = QUICK_TRAINED if asked.quick else TRAINED
    return [
        f"Model: {asked.arch or 'small_resnet, the starter model for images'} (`oga train`), no sample held out, last epoch; the "
        "paper has a ResNet-34 of 100 epochs.",
        "Gradients are taken on the images as they are, without augmentation.",
        "Class-dependent noise: each class has its own distribution over wrong labels, drawn once from Dirichlet(1).",
        "Validation images are drawn from the clean test set and left out of the test. Models are trained again for "
        f"{', '.join(arms.TITLES[arm] for arm in trained)}; of the other arms the detection is measured.",
    ]
