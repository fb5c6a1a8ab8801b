"""Why a sample was flagged, or was not: every number that speaks for and against it, and what each of them means."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from oga_core.detectors import flag_count
from oga_core.gradients.factors import find_largest
from oga_core.gradients.scope import HEAD
from oga_core.review.selection import Selection
from oga_core.runs import Run

NEIGHBOURS = 8
TOP = 5
"""Number of classes whose probability is listed."""
PAPER = "Chhabra et al., arXiv 2405.03869, section 3"
BY_RESIDUAL = ("l1", "l2", "el2n")
"""Scores that are ‖p − e_y‖ times what does not depend on p."""


@dataclass(frozen=True)
class Number:
    """A number about a sample, for people.

    Attributes
    ----------
    name, title
        A key, and a few words.
    value
        Finite.
    form
        How it is to be written: ``number``, ``share`` (of 1), ``count``.
    meaning
        One sentence: what it is, its formula and source.
    percentile
        Share of the samples of the same given label where it is no higher, in percent; None where that says nothing.
    flagged
        Whether the sample is flagged by this score at the budget; None where it is no score.
    """

    name: str
    title: str
    value: float
    form: str
    meaning: str
    percentile: float | None = None
    flagged: bool | None = None


@dataclass(frozen=True)
class Probability:
    """The probability that the model gives a class."""

    name: str
    value: float
    given: bool
    predicted: bool


@dataclass(frozen=True)
class Neighbour:
    """A sample with a similar gradient: its row, and the cosine of the two gradients."""

    row: int
    sample_id: str
    label: str
    predicted: str
    cosine: float


@dataclass(frozen=True)
class Why:
    """Everything that speaks for and against a flag.

    Attributes
    ----------
    row, sample_id, label, predicted
        The sample: its row in ``run.table``, its id, its given label and the predicted class. Where nothing is predicted,
        ``label`` is the group and ``predicted`` empty.
    detector, flagged
        The score that was chosen, and whether it flags the sample at the budget.
    place
        Rank by that score, and how many samples there are and are flagged.
    scores
        What each score of the run says.
    gradient
        Length of the gradient, and of its two factors where it is that of the head.
    probabilities
        Of the given label, the predicted class and the next likely ones, most likely first; none where nothing is predicted.
    threshold
        What it would take to lose the flag, or to get it.
    near, near_label
        Samples with the most similar gradients, of all classes and of the given label.
    meanings
        One sentence each for ``probabilities``, ``near`` and ``near_label``.
    """

    row: int
    sample_id: str
    label: str
    predicted: str
    detector: str
    flagged: bool
    place: list[Number]
    scores: list[Number]
    gradient: list[Number]
    probabilities: list[Probability]
    threshold: list[Number]
    near: list[Neighbour]
    near_label: list[Neighbour]
    meanings: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def why(run: Run, row: int, selection: Selection) -> Why:
    """Everything that speaks for and against a flag on a row of ``run.table``, by the score and budget of a selection."""
    entry = run.table.iloc[row]
    rank, count = _rank(run, selection.detector, row), flag_count(selection.budget, len(run.table))
    alike = run.codes("label") == run.codes("label")[row]
    cosines = run.factors.cosines(row)
    cosines[row] = -np.inf
    predicted = str(entry.get("predicted", ""))
    return Why(
        row=int(row),
        sample_id=str(entry["sample_id"]),
        label=str(entry["label"]),
        predicted=predicted,
        detector=selection.detector,
        flagged=rank <= count,
        place=_place(rank, count, len(run.table), selection.budget),
        scores=_scores(run, row, alike, count),
        gradient=_gradient(run, row, alike),
        probabilities=_probabilities(run, row) if run.task.class_probabilities else [],
        threshold=_threshold(run, row, rank, count, selection),
        near=_near(run, cosines),
        near_label=_near(run, np.where(alike, cosines, -np.inf)),
        meanings=MEANINGS | dict(run.task.meanings),
    )


MEANINGS = {
    "probabilities": "The model's probability of a class, p = softmax(z) of its outputs z, in eval mode at the final checkpoint; "
    "that of the given label is exp(−loss), exact, the others are read from the stored p − e_y: three digits from 0.0001 on.",
    "near": "The samples whose loss gradients have the largest cosine with this one's: they pull the model the same way. Of the "
    "head, cos(p − e_y, p′ − e_y′) · cos(h, h′) with the features h; beyond it, the cosine of random projections to 512 numbers.",
    "near_label": "The same among the samples of its given label: where they look right and this one does not, its label is the "
    "more suspicious.",
}


def _place(rank: int, count: int, n: int, budget: float) -> list[Number]:
    return [
        Number(
            "rank",
            "Rank",
            rank,
            "count",
            "Place in the order of the chosen score, 1 = most suspicious; equal scores keep the order of the data.",
        ),
        Number("samples", "Samples", n, "count", "How many samples were scored."),
        Number("flags", "Flagged", count, "count", f"How many are flagged: budget times samples, {budget:.4g} × {n:,}, rounded."),
    ]


def _percentile(values: np.ndarray, row: int, alike: np.ndarray) -> float:
    return 100 * float(np.mean(values[alike] <= values[row]))


def _rank(run: Run, detector: str, row: int) -> int:
    """Place of a row in ``run.ranked(detector)``, from 1."""
    values = run.table[detector].to_numpy()
    return int(np.count_nonzero(values > values[row]) + np.count_nonzero(values[: row + 1] == values[row]))


def _scores(run: Run, row: int, alike: np.ndarray, count: int) -> list[Number]:
    out = []
    for detector in run.detectors:
        values = run.table[detector.name].to_numpy()
        out.append(
            Number(
                detector.name,
                detector.title,
                float(values[row]),
                "number",
                detector.meaning,
                _percentile(values, row, alike),
                _rank(run, detector.name, row) <= count,
            )
        )
    return out


def _gradient(run: Run, row: int, alike: np.ndarray) -> list[Number]:
    factors = run.factors
    residuals, features = factors.residual_norms, factors.feature_norms
    if is_beyond_head(run):
        meaning = f"‖g‖₂, the length of the loss gradient g in the parameters of scope {run.summary.scope}, exact ({PAPER})."
        return [_of_all("norm", "Gradient norm", np.asarray(features), row, alike, meaning)]
    return [
        _of_all(
            "norm",
            "Gradient norm",
            residuals * features,
            row,
            alike,
            f"‖g‖₂ = ‖p − e_y‖₂ · ‖h‖₂, the length of the loss gradient of the head's weight, g = (p − e_y) hᵀ ({PAPER}).",
        ),
        _of_all(
            "residual_norm",
            "Error",
            np.asarray(residuals),
            row,
            alike,
            "‖p − e_y‖₂, how far the model's probabilities p are from the given label y: 0 = sure of it, √2 = sure of "
            "another class (EL2N; Paul et al., NeurIPS 2021).",
        ),
        _of_all(
            "feature_norm",
            "Feature norm",
            np.asarray(features),
            row,
            alike,
            "‖h‖₂, the length of what the head is given of this sample: it makes the gradient long for any label.",
        ),
    ]


def _of_all(name: str, title: str, values: np.ndarray, row: int, alike: np.ndarray, meaning: str) -> Number:
    return Number(name, title, float(values[row]), "number", meaning, _percentile(values, row, alike))


def _probabilities(run: Run, row: int) -> list[Probability]:
    label, predicted = (str(run.table[column].iloc[row]) for column in ("label", "predicted"))
    given = float(run.table["confidence"].iloc[row])
    if is_beyond_head(run):
        return [Probability(label, given, True, label == predicted)]
    mapping = run.summary.mapping
    names = {int(output): name for name, output, _ in mapping}
    p = run.factors.residuals[row].astype(np.float64) * float(run.factors.residual_norms[row])
    own = next(int(output) for name, output, _ in mapping if name == label)
    p[own] = given
    if predicted not in names.values():  # a class that only the model has
        names[max((i for i in range(len(p)) if i not in names), key=p.__getitem__)] = predicted
    shown = dict.fromkeys([*find_largest(p, min(TOP, len(p))).tolist(), own])
    return [Probability(names.get(i, f"output {i}"), float(p[i]), i == own, names.get(i) == predicted) for i in shown]


def _threshold(run: Run, row: int, rank: int, count: int, selection: Selection) -> list[Number]:
    """Thresholds of the flag for this sample: by score, by budget, and by the probability of its given label."""
    ranked, flagged = run.ranked(selection.detector), rank <= count
    n, other = len(ranked), count if flagged else count - 1
    title = "To lose the flag" if flagged else "To be flagged"
    edge = (rank - 0.5) / n
    found = [
        Number(
            "budget",
            f"{title}: budget",
            edge,
            "share",
            f"{'Below' if flagged else 'Above'} this budget the sample would "
            f"{'not ' if flagged else ''}be flagged: (rank − ½) / samples.",
        )
    ]
    if not 0 <= other < n:
        return found
    values = run.table[selection.detector].to_numpy()
    score, needed = float(values[row]), float(values[ranked[other]])
    found += [
        Number(
            "score",
            f"{title}: score",
            needed,
            "number",
            f"The score of the {'most suspicious sample that is not' if flagged else 'last sample that is'} flagged: "
            f"{'below' if flagged else 'above'} it this one would change places with it.",
        ),
        Number("gap", "Distance from there", score - needed, "number", "Its score minus that one."),
    ]
    if not run.task.class_probabilities:
        return found
    loss = float(run.table["loss"].iloc[row])
    wanted = _given_probability(selection.detector, score, needed, loss, is_beyond_head(run))
    if wanted is not None:
        probability, formula = wanted
        found.append(
            Number(
                "given_probability",
                f"{title}: probability of the given label",
                probability,
                "share",
                f"{'Above' if flagged else 'Below'} this probability of its given label: {formula}.",
            )
        )
    return found


def _given_probability(detector: str, score: float, needed: float, loss: float, beyond: bool) -> tuple[float, str] | None:
    """The probability of the given label at which a score would be another one, with its formula; None where there is none."""
    if detector == "loss":
        return float(np.exp(-needed)), "p = exp(−t), t that score"
    if detector == "low_confidence":
        return 1 - needed, "p = 1 − t, t that score"
    if detector not in BY_RESIDUAL or (beyond and detector != "el2n") or score <= 0:
        return None
    # 1 − p_y, in which all digits of a small loss are kept; l1 and l2 are proportional to it.
    probability = 1 + float(np.expm1(-loss)) * needed / score
    formula = (
        "p = 1 − (1 − p_y) t / s, s its score, t that score, with the features and the shares of the other classes as they are"
    )
    return (probability, formula) if probability >= 0 else None


def _near(run: Run, cosines: np.ndarray) -> list[Neighbour]:
    rows = find_largest(cosines, min(NEIGHBOURS, int(np.isfinite(cosines).sum())))
    found = run.table.iloc[rows]
    predicted = found.get("predicted", [""] * len(rows))
    return [
        Neighbour(int(row), str(sample_id), str(label), str(name), float(cosines[row]))
        for row, sample_id, label, name in zip(rows, found["sample_id"], found["label"], predicted)
    ]


def is_beyond_head(run: Run) -> bool:
    """Return whether gradients are known by their sketches only."""
    return run.summary.scope != HEAD or not run.task.head_in_closed_form
