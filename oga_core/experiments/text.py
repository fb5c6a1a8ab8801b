"""Text: GLUE tasks with a fifth of the labels flipped, and news titles whose noise is real; 30 % trimmed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oga_core.data import Dataset, SampleError, Subset, open_dataset
from oga_core.data.examples import make_example
from oga_core.errors import InputError
from oga_core.experiments import arms, figures, paper
from oga_core.experiments.asked import Asked
from oga_core.experiments.encoder import ENCODER, TUNED_BATCH, Adapted, Base, base_of
from oga_core.experiments.figures import Figure
from oga_core.experiments.noise import flip_uniformly
from oga_core.experiments.report import TWO_CLASSES, Study
from oga_core.experiments.results import Results
from oga_core.experiments.starter import Starter
from oga_core.experiments.trial import Plan, Trial, run_trial

BUDGET, FLIPPED = 0.3, 0.2
VALIDATION = 500
"""Samples at most that influence is measured on."""
HELD_OUT = 0.15
"""Share of the samples that is not trained on, at least, where there is no file to test on."""
FULL = {"train": 1 << 62, "validation": VALIDATION, "test": 1 << 62}
QUICK = {"train": 600, "validation": 200, "test": 500}
QUICK_TASKS, QUICK_TRAINED = 2, ("l1", "iforest", "low_confidence")
CURVES = (arms.UNTRIMMED, arms.RANDOM, arms.ORACLE, "l1", "l2", "iforest", "low_confidence", *arms.OURS)
CLEAN = "clean_label"
"""Column of the true label, where the noise is the data's own."""


@dataclass(frozen=True)
class Task:
    """A data set of a folder ``train.csv``, ``dev.csv`` and ``test.csv``, each also as ``.csv.gz``.

    Attributes
    ----------
    folders
        Names it may have below the user's folder.
    train
        Training samples, drawn by the seed; None for all.
    """

    title: str
    folders: tuple[str, ...]
    train: int | None = None


TASKS = {
    "sst2": Task("SST-2", ("sst2",), 4500),
    "newsclass_yoruba": Task("Yorùbá news titles (real noise)", ("newsclass_yoruba",)),
    "mrpc": Task("MRPC", ("mrpc",)),
    "qnli": Task("QNLI", ("qnli", "qnli_dev"), 4500),
    "qqp": Task("QQP", ("qqp",), 4500),
    "newsclass_hausa": Task("Hausa news titles (real noise)", ("newsclass_hausa",)),
}
"""By name; the first that are there are done when it is to be quick."""
DOCSTRINGS, DOCSTRINGS_TRAIN = "docstrings", 1000
EMBEDDED = (
    f"Without --data: docstrings of numpy, pandas, scipy, scikit-learn and torch, by library; {DOCSTRINGS_TRAIN:,} to train "
    "on, a third of the others for validation."
)


@dataclass(frozen=True)
class Opened:
    """The samples of a task.

    Attributes
    ----------
    pool, given, true
        Those that training samples are drawn from; labels as they are given, and as they are true, int64 ``(n,)``.
    train
        Training samples; None for all.
    validation, test
        Clean samples; None for those of the pool that are not trained on.
    """

    title: str
    pool: Dataset
    given: np.ndarray
    true: np.ndarray
    train: int | None
    validation: Subset | None
    test: Subset | None

    def split(self, seed: int, most: dict[str, int]) -> tuple[Subset, np.ndarray, Subset, Subset]:
        """Training samples under their given labels, which of these are wrong, validation and test samples, as a seed draws them.

        Parameters
        ----------
        most
            Numbers of ``train``, ``validation`` and ``test`` samples that are not exceeded.
        """
        rng = np.random.default_rng(seed)
        n = len(self.true)
        reserved = HELD_OUT * n if self.test is None else min(VALIDATION, n / 10) if self.validation is None else 0
        order = rng.permutation(n)
        count = min(self.train or n, most["train"], n - int(reserved))
        rows, rest = order[:count], order[count:]
        given = self.given[rows]
        if (self.given == self.true).all():
            given = flip_uniformly(given, len(self.pool.class_names), FLIPPED, rng)
        validation, test = self.validation, self.test
        if validation is None:
            held = rest[: min(most["validation"], len(rest) if test is not None else len(rest) // 3)]
            validation, rest = Subset(self.pool, held, self.true[held]), rest[len(held) :]
        if test is None:
            test = Subset(self.pool, rest, self.true[rest])
        drawn = [
            split.take(rng.permutation(len(split))[: most[name]]) for name, split in (("validation", validation), ("test", test))
        ]
        return Subset(self.pool, rows, given), given != self.true[rows], drawn[0], drawn[1]

    def most_frequent(self) -> float:
        """Share of the most frequent class among the test samples of seed 0."""
        labels = self.split(0, FULL)[3].labels
        return float(np.bincount(labels).max() / len(labels))


def run(asked: Asked) -> Study:
    """The tasks whose files are there; without a folder, the embedded docstrings.

    Raises
    ------
    InputError
        If a folder is named and no task is in it, files do not fit, or a model is named that does not take texts.
    """
    if asked.data is None:
        tasks, notes = {DOCSTRINGS: _open_docstrings(asked.out)}, [EMBEDDED]
    else:
        tasks, notes = _find_tasks(asked.data)
    if asked.quick:
        tasks = dict(list(tasks.items())[:QUICK_TASKS])
    most = QUICK if asked.quick else FULL
    results = Results(
        asked.out,
        {
            "experiment": "text",
            "quick": asked.quick,
            "arch": asked.arch,
            "budget": BUDGET,
            "flipped": FLIPPED,
            "most": most,
            "data": {name: [str(task.pool.origin), len(task.true)] for name, task in tasks.items()},
        },
        asked.shard,
    )
    trained = (*QUICK_TRAINED, *arms.OURS) if asked.quick else arms.SCORED
    base = _prepare_base(asked, tasks)
    plan = Plan(trained=trained, twins=() if asked.quick or base else arms.SCORED)
    for seed, name in asked.list_shards(tasks):
        train, wrong, validation, test = tasks[name].split(seed, most)
        fit = (
            Adapted(train, validation, test, seed, curve=True, base=base, device=asked.device)
            if base
            else Starter(train, validation, test, seed, asked.arch, curve=True)
        )
        run_trial(Trial(name, seed, train.labels, wrong, {str(BUDGET): BUDGET}, fit), plan, results, asked.progress)
    rows = results.of(asked.seeds)
    rows = rows[rows["setting"].isin(tasks)]
    titles = {name: task.title for name, task in tasks.items()}
    return Study(
        "Text: flipped and really noisy labels",
        titles,
        {name: [str(BUDGET)] for name in tasks},
        rows,
        asked.quick,
        first=paper.TEXT_FIRST,
        notes=[*notes, *_notes(asked, rows, tasks, base)],
        figures=() if asked.shard else _draw_figures(rows, titles),
    )


def _draw_figures(rows: pd.DataFrame, titles: dict[str, str]) -> list[Figure]:
    panels = [(name, str(BUDGET), title) for name, title in titles.items()]
    return [
        Figure(
            "epochs",
            "Accuracy on clean test data after each epoch, mean and 95 % interval over the seeds.",
            figures.of_curves(rows, panels, CURVES, f"Test accuracy by epoch, {100 * BUDGET:g} % trimmed"),
        ),
        Figure(
            "arms",
            figures.ARMS_CAPTION,
            figures.of_arms(rows, panels, f"Wrong labels found, and accuracy after trimming {100 * BUDGET:g} %"),
        ),
    ]


def _prepare_base(asked: Asked, tasks: dict[str, Opened]) -> Base | None:
    """Return the transformer, where one is asked for; the small encoder is pretrained on the texts of all tasks."""
    if asked.arch != ENCODER and not Path(asked.arch or "").joinpath("config.json").is_file():
        return None
    texts = [str(task.pool.load(i)) for task in tasks.values() for i in range(len(task.pool))] if asked.arch == ENCODER else []
    return base_of(str(asked.arch), texts, asked.out / ENCODER, asked.quick, asked.progress, asked.device)


def _find_tasks(folder: Path) -> tuple[dict[str, Opened], list[str]]:
    """Return the tasks below a folder, and a note on those that are missing."""
    tasks, missing = {}, []
    for name, task in TASKS.items():
        there = next((folder / f for f in task.folders if _find_file(folder / f, "train") or _find_file(folder / f, "dev")), None)
        if there is None:
            missing.append(task.title)
        else:
            tasks[name] = _open_task(task, there)
    if not tasks:
        names = ", ".join(f for task in TASKS.values() for f in task.folders)
        raise InputError(f"{folder} has no task: a folder {names}, with train.csv, dev.csv and test.csv (or .csv.gz)")
    return tasks, [f"Not there, so not done: {', '.join(missing)}."] if missing else []


def _find_file(folder: Path, split: str) -> Path | None:
    return next((path for path in (folder / f"{split}.csv", folder / f"{split}.csv.gz") if path.is_file()), None)


def _open_task(task: Task, folder: Path) -> Opened:
    files = {split: path for split in ("train", "dev", "test") if (path := _find_file(folder, split))}
    pool = open_dataset(files.get("train") or files["dev"])
    rows = _find_readable(pool)
    given = pool.labels
    true = given
    columns: dict[str, list[str]] = getattr(pool, "columns", {})
    if CLEAN in columns:
        position = {name: i for i, name in enumerate(pool.class_names)}
        if unknown := sorted(set(columns[CLEAN]) - set(position)):
            raise InputError(f"{folder}: {CLEAN} has the class {unknown[0]!r}, which no sample is given")
        true = np.array([position[name] for name in columns[CLEAN]], np.int64)
    held = {}
    for split in ("dev", "test") if "train" in files else ():
        if split in files:
            dataset = open_dataset(files[split])
            readable = _find_readable(dataset)
            labels = _labels_in(pool.class_names, dataset, str(files[split]))
            if len(readable):  # GLUE's own test files have no labels
                held[split] = Subset(dataset, readable, labels[readable], pool.class_names)
    test = held.get("test") or held.get("dev")
    validation = held.get("dev") if "test" in held else None
    samples = Subset(pool, rows)
    samples.origin = pool.origin
    return Opened(task.title, samples, given[rows], true[rows], task.train, validation, test)


def _find_readable(dataset: Dataset) -> np.ndarray:
    """Return the positions of the samples that have a label and can be read, int64."""

    def can_be_read(index: int) -> bool:
        try:
            dataset.load(index)
        except SampleError:
            return False
        return True

    return np.array([i for i in range(len(dataset)) if dataset.labels[i] >= 0 and can_be_read(i)], np.int64)


def _labels_in(names: list[str], dataset: Dataset, what: str) -> np.ndarray:
    """A data set's labels as positions in another one's class names, int64, shape ``(n,)``.

    Raises
    ------
    InputError
        If it has a class that is not among them.
    """
    position = {name: i for i, name in enumerate(names)}
    unknown = next((name for name in dataset.class_names if name not in position), None)
    if unknown is not None:
        raise InputError(f"{what} has the class {unknown!r}, which is none of the training data: {', '.join(names[:20])}")
    table = np.array([*(position[name] for name in dataset.class_names), -1], np.int64)
    return np.asarray(table[dataset.labels])


def _open_docstrings(out: Path) -> Opened:
    """Return the embedded example under its true labels."""
    path = make_example(DOCSTRINGS, out / "example")
    pool = open_dataset(path)
    truth = pd.read_csv(path.with_name(f"{DOCSTRINGS}_truth.csv"), keep_default_na=False)
    position = {name: i for i, name in enumerate(pool.class_names)}
    true = truth["true_label"].map(position).to_numpy(np.int64)
    return Opened("Docstrings by library", pool, true, true, DOCSTRINGS_TRAIN, None, None)


def _notes(asked: Asked, rows: pd.DataFrame, tasks: dict[str, Opened], base: Base | None) -> list[str]:
    epochs = " or ".join(map(str, sorted({len(curve) for curve in rows["by_epoch"] if len(curve)})))
    most = {task.title: task.most_frequent() for task in tasks.values()}
    model = (
        f"{base.about}, fine-tuned with LoRA (r = 4 on the values' projections) and its head: AdamW, rate {base.rate:g} that "
        f"falls linearly, batches of {TUNED_BATCH}, {epochs} epochs; gradients are those of the last layer. Of random trims only "
        "the arm of that name was trained"
        if base
        else f"{asked.arch or 'the starter text model'} (`oga train`), no sample held out, {epochs} epochs: the same number for "
        "every arm of a task"
    )
    notes = [
        f"Model: {model}.",
        f"{100 * FLIPPED:g} % of the training labels were flipped to another class, uniformly and by the seed, where the data "
        f"are clean; tasks with a column {CLEAN} keep their own noise.",
        "Of the test samples of seed 0 the most frequent class has "
        f"{', '.join(f'{100 * share:.1f} % ({title})' for title, share in most.items())}: a model that is no better has learned "
        "little, and its gradients say little.",
    ]
    if any(len(task.pool.class_names) == 2 for task in tasks.values()):
        notes.append(TWO_CLASSES)
    return notes
