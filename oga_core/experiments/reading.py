"""Sentences computed from the numbers: which results repeated, which did not, which stay open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oga_core.experiments import arms
from oga_core.experiments.measures import mean_and_half
from oga_core.experiments.paper import Numbers

AGAINST = (arms.UNTRIMMED, "low_confidence", "hessian", "tracing", "datainf")
"""Arms with which the paper's detectors are compared, where it has numbers for both."""
AMONG = {"ocsvm_test": ("l1", "l2", "iforest")}
"""And those that are compared with others of them."""
REPEATED, CONTRARY, OPEN = "repeated", "the other way round", "open"
SAME = ("trimmed", "auc", "precision", "accuracy", "validation_accuracy", "random_accuracy")
"""Two arms with the same of these in every seed have trimmed the same samples."""
PLURAL = {
    arms.OGA: "paper's detectors",
    arms.OWN: "detectors beyond it",
    arms.CONTROL: "controls",
    arms.BY_INFLUENCE: "influence methods",
}
MEASURES = {"accuracy": "test accuracy", "detection_accuracy": "detection accuracy", "auc": "AUC", "recall": "recall"}


@dataclass(frozen=True)
class Difference:
    """Of two arms, paired by seed: mean, half the width of its 95 % interval, and number of seeds."""

    mean: float
    half: float
    seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return int(np.sign(self.mean)) if abs(self.mean) > self.half else 0


@dataclass(frozen=True)
class Claim:
    """A difference in the paper's table, and ours.

    Attributes
    ----------
    paper
        First less second arm in the paper, in points; not a number where it only says which is higher.
    """

    setting: str
    measure: str
    first: str
    second: str
    paper: float
    here: Difference

    @property
    def verdict(self) -> str:
        expected = 1 if np.isnan(self.paper) else int(np.sign(self.paper))
        return {1: REPEATED, 0: OPEN, -1: CONTRARY}[self.here.sign * expected]


def column(rows: pd.DataFrame, setting: str, budget: str, arm: str, measure: str) -> pd.Series:
    """One measure of an arm by seed; the untrimmed arm and the oracle have no budget."""
    own = "" if arm in (arms.UNTRIMMED, arms.ORACLE) else budget
    chosen = rows[(rows["setting"] == setting) & (rows["budget"] == own) & (rows["arm"] == arm)]
    return chosen.set_index("seed")[measure].astype(float).dropna()


def difference(first: pd.Series, second: pd.Series) -> Difference:
    """First less second, over the seeds that both have."""
    apart = (first - second).dropna()
    return Difference(*mean_and_half(apart.to_numpy()), len(apart))


def claims(rows: pd.DataFrame, budgets: dict[str, str], paper: dict[str, Numbers]) -> list[Claim]:
    """The paper's detectors against others, wherever the paper has two different numbers and here both arms were trained.

    Parameters
    ----------
    rows
        One a setting, seed, budget and arm, as `Results.of` gives them.
    budgets
        The budget that is compared, by setting.
    paper
        Its numbers by measure.
    """
    found = []
    for measure, numbers in paper.items():
        for setting, budget in budgets.items():
            known = numbers.get(setting, {})
            ours = [arm for arm in known if arms.KINDS.get(arm) == arms.OGA]
            for first, second in ((f, s) for f in ours for s in (*AGAINST, *AMONG.get(f, ())) if s in known):
                apart = known[first][0] - known[second][0]
                here = _difference(rows, setting, budget, first, second, measure)
                if apart and here.seeds:
                    found.append(Claim(setting, measure, first, second, apart, here))
    return found


def first_in(rows: pd.DataFrame, budgets: dict[str, str], first: dict[str, str]) -> list[Claim]:
    """The arm that the paper's curves have on top against every other that was trained here, the oracle left out."""
    found = []
    for setting, arm in first.items():
        if setting in budgets:
            others = [o for o in list_trained(rows, setting, budgets[setting]) if o not in (arm, arms.ORACLE)]
            found += [
                Claim(
                    setting, "accuracy", arm, other, np.nan, _difference(rows, setting, budgets[setting], arm, other, "accuracy")
                )
                for other in others
            ]
    return [claim for claim in found if claim.here.seeds]


def list_trained(rows: pd.DataFrame, setting: str, budget: str) -> list[str]:
    """The arms that a model was trained for, in the order of their rows; one that is the same as an earlier one is left out."""
    here = rows[(rows["setting"] == setting) & rows["budget"].isin(["", budget]) & rows["accuracy"].notna()]
    found: dict[str, pd.DataFrame] = {}
    for arm in dict.fromkeys(here["arm"]):
        own = here.loc[here["arm"] == arm, ["seed", *SAME]].set_index("seed").sort_index()
        if arm == arms.RANDOM or not any(own.equals(other) for other in found.values()):
            found[arm] = own
    return list(found)


def sentence(rows: pd.DataFrame, setting: str, budget: str, title: str) -> str:
    """Describe the results of one setting at one budget: detection, accuracy beside the untrimmed model, beside random trims."""
    out = [_detection(rows, setting, budget), *_accuracy(rows, setting, budget)]
    return f"**{title}.** {' '.join(filter(None, out))}"


def overall(rows: pd.DataFrame, budgets: dict[str, str]) -> str:
    """Over all settings and arms of a kind: how often the accuracy is above or below that of the other two ways to go.

    Parameters
    ----------
    budgets
        The budget that is read, by setting.
    """
    lines = []
    for kind in (arms.OGA, arms.OWN, arms.CONTROL, arms.BY_INFLUENCE):
        beside: dict[str, list[int]] = {"of the untrimmed model": [], "of a random trim of the same size and class shares": []}
        for setting, budget in budgets.items():
            untrimmed = column(rows, setting, budget, arms.UNTRIMMED, "accuracy")
            for arm in (a for a in list_trained(rows, setting, budget) if arms.KINDS[a] == kind):
                own = column(rows, setting, budget, arm, "accuracy")
                twin = column(rows, setting, budget, arm, "random_accuracy")
                for signs, other in zip(beside.values(), (untrimmed, twin)):
                    apart = difference(own, other)
                    signs += [apart.sign] * bool(apart.seeds)
        told = [
            f"above that {other} in {signs.count(1)} of {len(signs)} comparisons, below it in {signs.count(-1)}"
            for other, signs in beside.items()
            if signs
        ]
        if told:
            lines.append(f"* Trimmed by the {PLURAL[kind]}, test accuracy is {', and '.join(told)}.")
    return "\n".join([*lines, "", "Above or below: the 95 % interval of the difference leaves out zero."]) if lines else ""


def summary(found: Sequence[Claim]) -> str:
    """How many of the paper's differences repeated."""
    if not found:
        return ""
    count = {v: sum(c.verdict == v for c in found) for v in (REPEATED, CONTRARY, OPEN)}
    return (
        f"Of {len(found)} differences that the paper's tables or curves show, {count[REPEATED]} repeated (same sign, the 95 % "
        f"interval leaves out zero), {count[CONTRARY]} came out the other way round, {count[OPEN]} stay open (the interval "
        "contains zero)."
    )


def _difference(rows: pd.DataFrame, setting: str, budget: str, first: str, second: str, measure: str) -> Difference:
    return difference(*(column(rows, setting, budget, arm, measure) for arm in (first, second)))


def _detection(rows: pd.DataFrame, setting: str, budget: str) -> str:
    here = rows[(rows["setting"] == setting) & (rows["budget"] == budget)].dropna(subset=["average_precision"])
    if here.empty:
        return ""
    means = here.groupby("arm", sort=False)["average_precision"].mean()
    best = {
        kind: str(found.idxmax())
        for kind in (arms.OGA, arms.OWN, arms.CONTROL, arms.BY_INFLUENCE)
        if len(found := means[[arms.KINDS[str(arm)] == kind for arm in means.index]])
    }
    told = [
        f"{arms.TITLES[arm]} among the {PLURAL[kind]} ({_plain(column(rows, setting, budget, arm, 'average_precision'))})"
        for kind, arm in best.items()
    ]
    text = f"Average precision is highest for {_list(told)}."
    if arms.OGA in best and arms.CONTROL in best:
        first, second = best[arms.OGA], best[arms.CONTROL]
        apart = _difference(rows, setting, budget, first, second, "average_precision")
        text += f" {arms.TITLES[first]} − {arms.TITLES[second]}: {_sign(apart, 1, 3)}, {_describe(apart)}."
    return text


def _accuracy(rows: pd.DataFrame, setting: str, budget: str) -> list[str]:
    there = list_trained(rows, setting, budget)
    if arms.UNTRIMMED not in there:
        return []
    base = column(rows, setting, budget, arms.UNTRIMMED, "accuracy")
    out = [f"The untrimmed model has a test accuracy of {_percent(base)}."]
    if arms.ORACLE in there:
        apart = _difference(rows, setting, budget, arms.ORACLE, arms.UNTRIMMED, "accuracy")
        out.append(f"Trained without exactly the wrong samples it changes by {_sign(apart, 100, 2)} points ({_describe(apart)}).")
    trims = [arm for arm in there if arm not in (arms.UNTRIMMED, arms.ORACLE)]
    against = {arm: _difference(rows, setting, budget, arm, arms.UNTRIMMED, "accuracy") for arm in trims}
    out.append(f"Beside the untrimmed model: {_sort(against)}.")
    twins = {}
    for arm in trims:
        twin = column(rows, setting, budget, arm, "random_accuracy")
        if len(twin):
            twins[arm] = difference(column(rows, setting, budget, arm, "accuracy"), twin)
    if twins:
        out.append(f"Beside a random trim of the same size and class shares: {_sort(twins)}.")
    return out


def _sort(found: dict[str, Difference]) -> str:
    """Arms by whether they are better or worse, with their differences in points; the others are counted."""
    sentences = []
    for sign, word in ((1, "better"), (-1, "worse")):
        told = [f"{arms.TITLES[arm]} ({_sign(d, 100, 2)})" for arm, d in found.items() if d.sign == sign]
        sentences.append(f"{word}: {_list(told) if told else 'none'}")
    rest = sum(d.sign == 0 for d in found.values())
    return "; ".join([*sentences, f"interval contains zero: {rest} of {len(found)}"])


def _describe(d: Difference) -> str:
    if np.isnan(d.half):
        return "one seed, no interval"
    return "the interval leaves out zero" if d.sign else "the interval contains zero"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _plain(values: pd.Series) -> str:
    mean, half = mean_and_half(values.to_numpy())
    return f"{mean:.3f}" if np.isnan(half) else f"{mean:.3f} ± {half:.3f}"


def _percent(values: pd.Series) -> str:
    mean, half = mean_and_half(values.to_numpy())
    return f"{100 * mean:.1f} %" if np.isnan(half) else f"{100 * mean:.1f} ± {100 * half:.1f} %"


def _sign(d: Difference, factor: float, digits: int) -> str:
    mean = f"{factor * d.mean:+.{digits}f}"
    return mean if np.isnan(d.half) else f"{mean} ± {factor * d.half:.{digits}f}"
