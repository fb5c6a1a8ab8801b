"""Which training samples belong to a test prompt's task? Three tasks of DataInf, and one whose wording does not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer

from oga_core.errors import InputError
from oga_core.experiments import paper
from oga_core.experiments.asked import Asked
from oga_core.experiments.causal import Causal, Example, adapter_gradients, fine_tuned, loaded
from oga_core.experiments.measures import detection
from oga_core.experiments.report import Study
from oga_core.experiments.results import RELATED, Results, Row

TASKS = {
    "sentence_transformation": "Sentence transformations", "math_without_reason": "Math", "math_with_reason": "Math with reasons",
    "hidden": "Sentence transformations, the prompt's wording taken out",
}  # fmt: skip
SHOWN_BEFORE = "For example:"
"""Ends the wording of a sentence transformation's prompt."""
RANDOM_ORDER = "random_order"
EPOCHS, QUICK_EPOCHS = 10, 2
QUICK_SHARE = 5
"""One training sample in so many when it is to be quick."""
WIDTH = 512
TREES = 100
DAMPING = 0.1
"""Of DataInf, as a share of the mean squared norm (Kwon et al., ICLR 2024, section 3)."""
HOW = [
    "Each test prompt ranks all training samples; a sample is related where it is of the prompt's kind (10 kinds of 90 training "
    "and 10 test samples). AUC, average precision, and recall among as many as there are related, means over the test prompts.",
    "The model is fine-tuned with LoRA (r = 8, α = 32, query and value projections; loss on the answer alone); gradients are "
    f"those of the adapters at the end, as sketches of {WIDTH} numbers. ± is half the width of the 95 % t-interval over seeds.",
    "Gradient tracing is the scalar product with the test sample's gradient at the last weights; DataInf weighs it by damped "
    "inverse outer products, on the sketch as one block; the cosine leaves out both lengths. One isolation forest is fitted to "
    "the training gradients of each kind, and its score of the test gradient is given to all samples of the kind: like the "
    "centroids it is told the kinds of the training samples, which the scalar products are not.",
    "Controls see no gradient: the cosine of TF-IDF vectors of prompt and answer (sample by sample, and with the centroid of "
    "each kind), and the cosine of the untuned model's mean hidden states.",
    "The paper's numbers are of Llama-2-13b-chat: they are to be compared by order.",
]  # fmt: skip


def run(asked: Asked) -> Study:
    """All tasks below the data's ``datainf``, over the seeds.

    Raises
    ------
    InputError
        If the data are not there, or transformers and peft are not.
    """
    if asked.data is None:
        raise InputError("the language model experiment needs DataInf's tables: --data DIR with DIR/datainf/*.csv")
    train = {task: examples(asked.data / "datainf", task, "train") for task in TASKS}
    test = {task: examples(asked.data / "datainf", task, "test") for task in TASKS}
    if asked.quick:
        train = {task: found[::QUICK_SHARE] for task, found in train.items()}
        test = {task: found[::2] for task, found in test.items()}
    results = Results(asked.out, {"experiment": "llm", "quick": asked.quick, "arch": asked.arch,
                                  "data": {task: [len(train[task]), len(test[task])] for task in TASKS}})  # fmt: skip
    notes: dict[str, None] = {}
    for seed in range(asked.seeds):
        for task, title in TASKS.items():
            if (task, seed, RELATED, RANDOM_ORDER) in results:
                continue
            asked.progress(f"{title}, seed {seed}", 0, 1)
            base = loaded(asked.arch, asked.data, train[task], seed, asked.out / "base")
            embedded = [base.embeddings(some) for some in (train[task], test[task])]
            model, losses = fine_tuned(base, train[task], QUICK_EPOCHS if asked.quick else EPOCHS, seed, asked.progress)
            notes[f"The model is {model.about}."] = None
            asked.progress(f"{title}, seed {seed}: loss of the first epoch {losses[0]:.2f}, of the last {losses[-1]:.2f}", 1, 1)
            results.add_all(_rows(task, seed, train[task], test[task], model, embedded))
    rows = results.of(asked.seeds)
    return Study(
        "Language model: training samples of the same task", TASKS, {task: [RELATED] for task in TASKS}, rows, asked.quick,
        {"auc": paper.LLM_AUC, "recall": paper.LLM_RECALL}, notes=list(notes), how=HOW,
    )  # fmt: skip


def examples(folder: Path, task: str, part: str) -> list[Example]:
    """The samples of a task.

    Raises
    ------
    InputError
        If the table is not there or has other columns.
    """
    path = folder / f"{'sentence_transformation' if task == 'hidden' else task}_{part}.csv"
    if not path.is_file():
        raise InputError(f"{path} is not there: DataInf's tables are needed (--data DIR with DIR/datainf/*.csv)")
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
    task: str, seed: int, train: list[Example], test: list[Example], model: Causal, embedded: list[np.ndarray]
) -> list[Row]:
    kinds = np.array([e.kind for e in train])
    gradients, asked = (adapter_gradients(model, some, WIDTH, seed) for some in (train, test))
    words = TfidfVectorizer(sublinear_tf=True).fit([f"{e.prompt}{e.answer}" for e in train])
    texts, prompts = (words.transform([f"{e.prompt}{e.answer}" for e in some]).toarray() for some in (train, test))
    scored: dict[str, Callable[[], np.ndarray]] = {
        "tracing": lambda: asked @ gradients.T,
        "datainf": lambda: _datainf(gradients, asked),
        "cosine": lambda: _unit(asked) @ _unit(gradients).T,
        "kind_centroid": lambda: _by_kind(kinds, _unit(gradients), _unit(asked)),
        "kind_forest": lambda: _forests(kinds, gradients, asked, seed),
        "tfidf": lambda: prompts @ texts.T,
        "tfidf_centroid": lambda: _by_kind(kinds, texts, prompts),
        "embedding": lambda: _unit(embedded[1]) @ _unit(embedded[0]).T,
        RANDOM_ORDER: lambda: np.random.default_rng(seed).random((len(test), len(train))),
    }
    rows = []
    for arm, score in scored.items():
        found = []
        for values, example in zip(score(), test, strict=True):
            related = kinds == example.kind
            found.append(detection(values, related, np.argsort(-values, kind="stable")[: int(related.sum())]))
        auc, precision, recall = (float(np.mean([one[m] for one in found])) for m in ("auc", "average_precision", "recall"))
        rows.append(Row(task, seed, RELATED, arm, 0, auc=auc, average_precision=precision, recall=recall))
    return rows


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _datainf(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """How much each training sample lowers the loss of each test sample, float64, shape ``(m, n)`` (DataInf, equation 5)."""
    train, test = train.astype(np.float64), test.astype(np.float64)
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
