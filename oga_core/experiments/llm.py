"""Which training samples belong to a test prompt's task? Three tasks of DataInf, and one whose wording does not tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer

from oga_core.errors import InputError
from oga_core.experiments import arms, figures, paper
from oga_core.experiments.asked import Asked
from oga_core.experiments.causal import AdapterGradients, Causal, Example, Recipe, about, fine_tuned, load_causal
from oga_core.experiments.figures import Figure
from oga_core.experiments.measures import detection, mean_and_half
from oga_core.experiments.reading import column
from oga_core.experiments.report import Study
from oga_core.experiments.results import RELATED, Results, Row

TASKS = {
    "sentence_transformation": "Sentence transformations",
    "math_without_reason": "Math",
    "math_with_reason": "Math with reasons",
    "hidden": "Sentence transformations, wording hidden",
}
SHOWN_BEFORE = "For example:"
"""Ends the wording of a sentence transformation's prompt."""
PUBLISHED = Recipe(epochs=10, batch=None, rate=3e-4, whole=True)
"""As DataInf's and the paper's code: an update an epoch, the loss on the whole text."""
LONG = Recipe(epochs=10, batch=16, rate=3e-3, whole=False)
"""As one would train a model for its task: more updates at a larger rate, the loss on the answer."""
ANSWER = "_answer"
"""Ends the name of a setting with the long recipe."""
QUICK_EPOCHS = 2
QUICK_SHARE = 5
"""One training sample in so many when it is to be quick."""
WIDTH = 4096
TREES = 100
DAMPING = 0.1
"""Of DataInf, as a share of the mean squared norm (Kwon et al., ICLR 2024, section 3)."""
CHECKPOINTS, TEST_LOSS = "tracing_checkpoints", "test_loss"
BY_GRADIENTS = ("tracing", CHECKPOINTS, "datainf", "cosine", "kind_centroid", "kind_forest")
PERFECT = 0.995
"""AUC from which a control is said to find all."""
LOST = 0.02
"""AUC by which it must have fallen to be said to fall."""
HOW = [
    "Each test prompt ranks all training samples; a sample is related where it is of the prompt's kind (10 kinds of 90 training "
    "and 10 test samples). AUC, average precision, and recall among as many as there are related, means over the test prompts.",
    "The model is fine-tuned with LoRA (r = 8, α = 32, query and value projections, AdamW with a rate that falls linearly to "
    "zero), in two ways. The first is that of DataInf's published code, which the paper's uses: 10 epochs of one update each (32 "
    "or 64 samples at a time, accumulated 16 times), rate 3e-4, the loss on prompt and answer: a model that is hardly changed, "
    "and gradients that contain the prompt's wording. The second trains the model for its task: 10 epochs in batches of 16, rate "
    "3e-3, the loss on the answer alone (“trained longer”). Neither was chosen by a measure of this table; the paper's numbers "
    "stand beside the first. Where the wording is hidden, prompts have no words but those of the sentence.",
    f"Gradients are those of all adapters by the loss that is trained on, at the last weights, as sketches of {WIDTH} numbers. ± "
    "is half the width of the 95 % t-interval over seeds.",
    "Gradient tracing is the scalar product with the test sample's gradient. “All checkpoints” is its sum over the weights after "
    "each epoch, times the epoch's rate (Pruthi et al. 2020). DataInf weighs the product by damped inverse outer products, on "
    "the sketch as one block; the cosine leaves out both lengths. One isolation forest is fitted to the training gradients of "
    "each kind, and its score of the test gradient is given to all samples of the kind: like the centroids it knows the kinds "
    "of the training samples, which the scalar products are not. The paper's forest sees the last layer only.",
    "Controls see no gradient: the cosine of TF-IDF vectors of prompt and answer (sample by sample, and with the centroid of "
    "each kind), the cosine of the untuned model's mean hidden states, and a random order.",
    "The paper's numbers are of Llama-2-13b-chat and of one run: they are to be compared by order.",
]


@dataclass(frozen=True)
class Setting:
    """A task and how the model is trained for it."""

    task: str
    recipe: Recipe
    title: str


SETTINGS = {
    **{task: Setting(task, PUBLISHED, title) for task, title in TASKS.items()},
    **{f"{task}{ANSWER}": Setting(task, LONG, f"{title}; trained longer") for task, title in TASKS.items()},
}


def run(asked: Asked) -> Study:
    """All settings, of the tasks below the data's ``datainf``, over the seeds.

    Raises
    ------
    InputError
        If the data, transformers or peft are missing.
    """
    if asked.data is None:
        raise InputError("the language model experiment needs DataInf's tables: --data DIR with DIR/datainf/*.csv")
    train = {task: examples(asked.data / "datainf", task, "train") for task in TASKS}
    test = {task: examples(asked.data / "datainf", task, "test") for task in TASKS}
    if asked.quick:
        train = {task: found[::QUICK_SHARE] for task, found in train.items()}
        test = {task: found[::2] for task, found in test.items()}
    model = about(asked.arch, asked.data)
    results = Results(
        asked.out,
        {
            "experiment": "llm",
            "quick": asked.quick,
            "model": model,
            "width": WIDTH,
            "data": {task: [len(train[task]), len(test[task])] for task in TASKS},
        },
        asked.shard,
    )
    for seed, name in asked.list_shards(SETTINGS):
        setting = SETTINGS[name]
        if (name, seed, RELATED, TEST_LOSS) not in results:
            recipe = replace(setting.recipe, epochs=QUICK_EPOCHS) if asked.quick else setting.recipe
            asked.progress(f"{setting.title}, seed {seed}", 0, 1)
            base = load_causal(asked.arch, asked.data, train[setting.task], seed, asked.out / "base")
            base.module.to(asked.device)
            results.add_all(_rows(name, seed, train[setting.task], test[setting.task], base, recipe, asked))
    rows = results.of(asked.seeds)
    titles = {name: setting.title for name, setting in SETTINGS.items()}
    return Study(
        "Language model: training samples of the same task",
        titles,
        {name: [RELATED] for name in titles},
        rows,
        asked.quick,
        {"auc": paper.LLM_AUC, "recall": paper.LLM_RECALL},
        reading=_describe(rows),
        notes=[f"The model is {model}.", *_losses(rows)],
        how=HOW,
        figures=() if asked.shard else _draw_figures(rows, titles),
    )


def _draw_figures(rows: pd.DataFrame, titles: dict[str, str]) -> list[Figure]:
    panels = [(name, RELATED, title) for name, title in titles.items()]
    return [
        Figure(
            "epochs",
            "AUC by the gradients after each epoch, mean and 95 % interval over the seeds.",
            figures.of_curves(rows, panels, BY_GRADIENTS, "AUC by epoch of fine-tuning", measure="AUC"),
        ),
        Figure(
            "arms",
            "Every arm at the last weights, mean and 95 % interval over the seeds.",
            figures.of_arms(
                rows[rows["arm"] != TEST_LOSS], panels, "Training samples of the test prompt's kind found", ("auc", "recall")
            ),
        ),
    ]


def examples(folder: Path, task: str, split: str) -> list[Example]:
    """The samples of a task.

    Raises
    ------
    InputError
        If the table is missing or has other columns.
    """
    path = folder / f"{'sentence_transformation' if task == 'hidden' else task}_{split}.csv"
    if not path.is_file():
        raise InputError(f"{path} not found: DataInf's tables are needed (--data DIR with DIR/datainf/*.csv)")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := {"prompt", "answer", "variation"} - set(table.columns):
        raise InputError(f"{path.name} has no column {', '.join(sorted(missing))}")
    prompts = table["prompt"]
    if task == "hidden":
        prompts = prompts.str.partition(SHOWN_BEFORE)[2].str.strip() + " "
    answers = table["answer"]
    if "reason" in table.columns:
        answers = "Reason: " + table["reason"] + " Answer: " + answers
    return [Example(*row) for row in zip(prompts, answers, table["variation"], strict=True)]


def _rows(
    name: str, seed: int, train: list[Example], test: list[Example], base: Causal, recipe: Recipe, asked: Asked
) -> list[Row]:
    """Of all arms; those by gradients with their AUC after each epoch."""
    kinds = np.array([e.kind for e in train])
    related = np.array([kinds == e.kind for e in test])
    words = TfidfVectorizer(sublinear_tf=True).fit([f"{e.prompt}{e.answer}" for e in train])
    texts, prompts = (words.transform([f"{e.prompt}{e.answer}" for e in some]).toarray() for some in (train, test))
    hidden, seen = (_unit(base.embeddings(some)) for some in (train, test))
    scored = {
        "tfidf": prompts @ texts.T,
        "tfidf_centroid": _by_kind(kinds, texts, prompts),
        "embedding": seen @ hidden.T,
        "random_order": np.random.default_rng(seed).random((len(test), len(train))),
    }
    by_epoch: dict[str, list[float]] = {}
    traced = np.zeros((len(test), len(train)))
    engine: AdapterGradients | None = None

    def after_epoch(model: Causal, rate: float) -> None:
        nonlocal traced, engine
        engine = engine or AdapterGradients(model, WIDTH, seed)
        (own, _), (others, losses) = engine(train), engine(test)
        found = by_gradients(own, others, kinds, seed)
        traced = traced + rate * found["tracing"]
        scored.update(found, **{CHECKPOINTS: traced})
        for arm in BY_GRADIENTS:
            by_epoch.setdefault(arm, []).append(float(auc_of_each(scored[arm], related).mean()))
        by_epoch.setdefault(TEST_LOSS, []).append(float(losses.mean()))

    fine_tuned(base, train, recipe, seed, asked.progress, after_epoch)
    rows = [
        Row(name, seed, RELATED, arm, 0, **_measure(score, related), by_epoch=tuple(by_epoch.get(arm, ())))
        for arm, score in scored.items()
    ]
    return [*rows, Row(name, seed, RELATED, TEST_LOSS, 0, by_epoch=tuple(by_epoch[TEST_LOSS]))]


def by_gradients(train: np.ndarray, test: np.ndarray, kinds: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """How related each training sample is to each test sample, float64 ``(m, n)``, by gradients ``(n, d)`` and ``(m, d)``.

    Parameters
    ----------
    kinds
        Of the training samples; used by the arms ``kind_…``.
    seed
        Of the forests.
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    unit, asked = _unit(train), _unit(test)
    return {
        "tracing": test @ train.T,
        "datainf": _datainf(train, test),
        "cosine": asked @ unit.T,
        "kind_centroid": _by_kind(kinds, unit, asked),
        "kind_forest": _forests(kinds, train, test, seed),
    }


def auc_of_each(score: np.ndarray, related: np.ndarray) -> np.ndarray:
    """AUC of each row of scores ``(m, n)``, float64 ``(m,)``: as `detection`'s, of all rows at once."""
    found = related.sum(1)
    ranks = (rankdata(score, axis=1) * related).sum(1)
    out: np.ndarray = (ranks - found * (found + 1) / 2) / (found * (related.shape[1] - found))
    return out


def _measure(score: np.ndarray, related: np.ndarray) -> dict[str, float]:
    """Return the means over the test samples."""
    found = [
        detection(values, own, np.argsort(-values, kind="stable")[: int(own.sum())])
        for values, own in zip(score, related, strict=True)
    ]
    return {m: float(np.mean([one[m] for one in found])) for m in ("auc", "average_precision", "recall")}


def _describe(rows: pd.DataFrame) -> list[str]:
    """Describe the tasks by their controls, and the effect of training on the gradients."""
    told = []
    auc = {
        (name, arm): mean_and_half(column(rows, name, RELATED, arm, "auc").to_numpy())[0]
        for name in SETTINGS
        for arm in (*BY_GRADIENTS, "tfidf_centroid", "random_order")
    }
    easy = [title for task, title in TASKS.items() if auc[task, "tfidf_centroid"] >= PERFECT]
    if easy:
        told.append(
            f"**The wording of the prompt gives the answer away** in {len(easy)} of {len(TASKS)} tasks ({'; '.join(easy)}): the "
            "nearest centroid of TF-IDF vectors, which sees words and no model, finds the kind of every test prompt. A perfect "
            "score by gradients shows there that gradients contain the wording, not that they say what the model has learned "
            "from a sample."
        )
    for name in (n for n, setting in SETTINGS.items() if auc[n, "tfidf_centroid"] < PERFECT):
        best = max(BY_GRADIENTS, key=lambda arm: auc[name, arm])
        told.append(
            f"Where it does not give it away ({SETTINGS[name].title}), the TF-IDF centroid has an AUC of "
            f"{auc[name, 'tfidf_centroid']:.3f}, the best by gradients ({arms.TITLES[best]}) {auc[name, best]:.3f}, a random "
            f"order {auc[name, 'random_order']:.3f}."
        )
    longer = [f"{task}{ANSWER}" for task in TASKS]
    first, last = (np.mean([_at(rows, name, arm, k) for name in longer for arm in ("tracing", "cosine")]) for k in (0, -1))
    if first - last > LOST:
        told.append(
            "The longer the model is trained on the answers, the less one gradient says of the kind: gradient tracing and the "
            f"cosine have an AUC of {first:.3f} after the first epoch, {last:.3f} after the last, means over the tasks; summed "
            f"over all checkpoints tracing has {np.mean([auc[name, CHECKPOINTS] for name in longer]):.3f}. Where a kind is "
            "learned, the gradients of its samples add up to little, and what is left of each is its own."
        )
    return told


def _at(rows: pd.DataFrame, name: str, arm: str, epoch: int) -> float:
    """Mean over seeds of what ``by_epoch`` holds at a position."""
    own = [curve for curve in rows.loc[(rows["setting"] == name) & (rows["arm"] == arm), "by_epoch"] if len(curve)]
    return float(np.mean([curve[epoch] for curve in own])) if own else np.nan


def _losses(rows: pd.DataFrame) -> list[str]:
    told = [
        f"{setting.title} {_at(rows, name, TEST_LOSS, 0):.2f}, {_at(rows, name, TEST_LOSS, -1):.2f}"
        for name, setting in SETTINGS.items()
        if np.isfinite(_at(rows, name, TEST_LOSS, 0))
    ]
    return [f"Mean loss of the test samples after the first and last epoch, in nats a token: {'; '.join(told)}."] if told else []


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _datainf(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """How much each training sample lowers the loss of each test sample, float64, shape ``(m, n)`` (DataInf, equation 5)."""
    squared = (train**2).sum(1)
    damping = DAMPING * squared.mean()
    products = test @ train.T
    inner: np.ndarray = (products / (damping + squared)) @ (train @ train.T)
    out: np.ndarray = (len(train) * products - inner) / (damping * len(train))
    return out


def _by_kind(kinds: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cosine with the centroid of each training sample's kind."""
    out = np.empty((len(test), len(train)))
    for kind in np.unique(kinds):
        out[:, kinds == kind] = test @ _unit(train[kinds == kind].mean(0, keepdims=True)).T
    return out


def _forests(kinds: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """How little each test gradient is an outlier among those of each training sample's kind."""
    out = np.empty((len(test), len(train)))
    for kind in np.unique(kinds):
        forest = IsolationForest(n_estimators=TREES, random_state=seed).fit(train[kinds == kind])
        out[:, kinds == kind] = forest.score_samples(test)[:, None]
    return out
