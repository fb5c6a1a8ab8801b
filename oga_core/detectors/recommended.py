"""Which detector on these data, how far it can be trusted, how many labels are wrong, and how much to trim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from oga_core.detectors.canaries import BUDGETS, CANDIDATES, Found, trial
from oga_core.detectors.detector import OfFitted
from oga_core.detectors.gradients import Gradients
from oga_core.detectors.noise import Noise, NoiseModel, draw_rows
from oga_core.detectors.out_of_fold import PREFIX, out_of_fold, scores_by_fold
from oga_core.errors import InputError
from oga_core.progress import Progress, silent

NAME = "recommended"
BETTER = 0.02
"""Average precision on canaries by which a detector must beat the probability of a wrong label, in the mean less two standard
errors, before it is averaged with it."""
RESAMPLED, RESAMPLED_FROM = 20, 5_000
"""Poisson bootstraps of the noise model, and the samples that each is fitted to at most."""
INTERVAL = (0.05, 0.95)
SURE, CERTAIN = 0.1, 0.75
"""A label is suggested for trimming where this quantile of the bootstraps still says that it is wrong with this probability."""
FEWEST_WRONG = 3
"""Suggested samples below which there is nothing to trim."""
FEWEST = 50
"""Samples below which nothing can be recommended."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the 5th to 95th percentile of its bootstraps."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AtBudget:
    """Expected precision and recall if so many samples are trimmed in the recommended order.

    ``budget`` is a share of the samples; ``precision`` the share of the trimmed that are wrong; ``recall`` the share of the
    wrong that are trimmed.
    """

    budget: float
    precision: Interval
    recall: float


@dataclass(frozen=True)
class Canaries:
    """How well a detector found canaries: mean and standard error of the average precision; means at each of `BUDGETS`."""

    detector: str
    kind: str
    average_precision: float
    standard_error: float
    precision: list[float]
    recall: list[float]


@dataclass(frozen=True)
class Recommendation:
    """The recommended score of a data set, and why.

    Attributes
    ----------
    detectors
        Names of the out-of-fold detectors whose ranks are averaged; of one, its score is taken as it is.
    out_of_fold
        Whether the predictions are by models trained without the samples, not by heads fitted again on frozen features.
    wrong
        Estimated share of wrong labels.
    budget
        Suggested share of the samples to trim; 0 means that there is nothing to trim.
    at_budget
        What is expected at the suggested budget; None where it is 0.
    curve
        The same at each of `BUDGETS`.
    canaries
        The trial of each detector with each kind of canary.
    mistaken
        Most frequent mistakes: true class, given label, expected number of samples. Classes are their positions in the logits
        until `in_words`.
    """

    detectors: list[str]
    out_of_fold: bool
    wrong: Interval
    budget: float
    at_budget: AtBudget | None
    curve: list[AtBudget]
    canaries: list[Canaries]
    mistaken: list[tuple[str, str, float]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = asdict(self)
        return {"unseen" if key == "out_of_fold" else key: value for key, value in found.items()}

    def in_words(self, names: Sequence[str]) -> Recommendation:
        """The same with the names of the outputs, in their order."""
        return replace(self, mistaken=[(names[int(true)], names[int(given)], n) for true, given, n in self.mistaken])

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Recommendation:
        """Return the recommendation from the result of `to_dict`."""

        def at(one: dict[str, Any]) -> AtBudget:
            return AtBudget(one["budget"], Interval(**one["precision"]), one["recall"])

        return cls(
            found["detectors"],
            found["unseen"],
            Interval(**found["wrong"]),
            found["budget"],
            at(found["at_budget"]) if found["at_budget"] else None,
            [at(one) for one in found["curve"]],
            [Canaries(**one) for one in found["canaries"]],
            [(t, g, n) for t, g, n in found["mistaken"]],
        )


class Recommended(OfFitted):
    """The detector that finds canaries best on these data, with a `Recommendation` once it is fitted."""

    name = NAME
    title = "Recommended"
    of_classes = True
    meaning = "The score that does best on these data, by flipped labels planted among them; see the evidence on the Scores page."

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        if not gradients.classes:
            raise InputError("the samples have no class labels, so that no label error can be estimated")
        if len(gradients) < FEWEST or len(np.unique(gradients.labels)) < 2:
            raise InputError(f"nothing can be recommended for fewer than {FEWEST} samples of two classes")
        self.gradients, base = gradients, out_of_fold(gradients, seed)
        model = Noise().fit(base, seed=seed).model
        found = trial(gradients, base, model, seed, progress)
        names = _choose(found)
        scores = [scores_by_fold(CANDIDATES[n], base, seed, progress) for n in names]
        from scipy.stats import rankdata  # half a second, for those only who fit

        self.scores = scores[0] if len(scores) == 1 else np.mean([rankdata(s) for s in scores], axis=0) / len(scores[0])
        wrong, resampled = model.wrong(base.logits, base.labels), _resample(base, model, seed, progress)
        order = np.argsort(-self.scores, kind="stable")
        counts = [max(1, round(b * len(order))) for b in BUDGETS]
        count = _suggest_trim(np.quantile(resampled, SURE, axis=0)[order])
        mistaken = model.mistaken(base.logits, base.labels)
        pairs = [divmod(int(i), gradients.classes) for i in np.argsort(-mistaken, axis=None, kind="stable")[:10]]
        self.recommendation = Recommendation(
            detectors=[PREFIX + n for n in names],
            out_of_fold=gradients.out_of_fold is not None,
            wrong=_interval(wrong.mean(), resampled.mean(1)),
            budget=count / len(order),
            at_budget=_at(count, wrong, resampled, order) if count else None,
            curve=[_at(k, wrong, resampled, order) for k in counts],
            canaries=[_summary(f) for f in found],
            mistaken=[(str(t), str(g), float(mistaken[t, g])) for t, g in pairs if mistaken[t, g] >= 0.5],
        )
        return self


def _choose(found: list[Found]) -> list[str]:
    """The probability of a wrong label, with the detector that clearly beats it on canaries, where there is one."""
    by_name: dict[str, np.ndarray] = {}
    for one in found:
        by_name[one.detector] = np.append(by_name.get(one.detector, np.empty(0)), one.average_precision)
    ahead = {name: values - by_name[Noise.name] for name, values in by_name.items() if name != Noise.name}
    surely = {name: d.mean() - 2 * d.std(ddof=1) / np.sqrt(len(d)) for name, d in ahead.items()}
    best = max(surely, key=lambda name: surely[name])
    return [Noise.name, best] if surely[best] > BETTER else [Noise.name]


def _resample(base: Gradients, fitted: NoiseModel, seed: int, progress: Progress) -> np.ndarray:
    """P(wrong) by each bootstrap of the noise model, float32, shape ``(RESAMPLED, n)``."""
    from oga_core.detectors.noise_search import fit_noise  # torch, for those only who fit

    rng = np.random.default_rng(seed)
    resampled = np.empty((RESAMPLED, len(base)), np.float32)
    for i in range(RESAMPLED):
        rows = draw_rows(len(base), RESAMPLED_FROM, rng)
        model = fit_noise(base.logits[rows], base.labels[rows], rng.poisson(1.0, len(rows)), fitted)
        resampled[i] = model.wrong(base.logits, base.labels)
        progress("estimating wrong labels", i + 1, RESAMPLED)
    return resampled


def _suggest_trim(surely: np.ndarray) -> int:
    """How many samples to trim of those in order: as far as the last ones are surely enough wrong."""
    gain = np.cumsum(surely - CERTAIN)
    count = int(gain.argmax()) + 1 if len(gain) and gain.max() > 0 else 0
    return count if count >= FEWEST_WRONG else 0


def _at(count: int, wrong: np.ndarray, resampled: np.ndarray, order: np.ndarray) -> AtBudget:
    first = order[:count]
    recall = float(wrong[first].sum() / max(wrong.sum(), 1e-12))
    return AtBudget(count / len(order), _interval(wrong[first].mean(), resampled[:, first].mean(1)), recall)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, INTERVAL)
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def _summary(found: Found) -> Canaries:
    values = found.average_precision
    return Canaries(
        found.detector,
        found.kind,
        float(values.mean()),
        float(values.std(ddof=1) / np.sqrt(len(values))),
        found.precision.mean(0).tolist(),
        found.recall.mean(0).tolist(),
    )
