"""Means over seeds with their intervals, beside the paper's numbers, as a table for programs and one for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oga_core.experiments import arms
from oga_core.experiments.measures import mean_and_half
from oga_core.experiments.paper import Numbers
from oga_core.experiments.results import AT_NOISE_RATE, RELATED, VALIDATED

SHOWN = {
    "auc": "AUC",
    "average_precision": "average precision",
    "precision": "precision at budget",
    "recall": "recall",
    "detection_accuracy": "detection accuracy, %",
    "accuracy": "test accuracy, %",
    "random_accuracy": "random trim like it, %",
}
"""Measures and what they are called."""
BUDGET_NAMES = {
    VALIDATED: "budget chosen on validation data",
    AT_NOISE_RATE: "as many trimmed as are wrong",
    RELATED: "as many found as are of the kind",
}
ONLY_BESIDE_THE_PAPER = ("detection_accuracy",)
IN_PERCENT = ("detection_accuracy", "accuracy", "random_accuracy")


def summarise(
    rows: pd.DataFrame, settings: Sequence[str], budgets: dict[str, Sequence[str]], paper: dict[str, Numbers]
) -> pd.DataFrame:
    """One row a setting, budget and arm: number of seeds, mean and half of the interval of each measure, the paper's numbers.

    Parameters
    ----------
    rows
        As `Results.of` gives them.
    budgets
        Those of each setting, in the order of the table; the arms without a budget stand in each block.
    paper
        Its numbers by measure, in percent.
    """
    out = []
    for setting in settings:
        for budget in budgets[setting]:
            here = rows[(rows["setting"] == setting) & rows["budget"].isin(["", budget])]
            known = {arm for numbers in paper.values() for arm in numbers.get(setting, {})}
            for arm in (a for a in arms.TITLES if a in known or a in set(here["arm"])):
                own = here[here["arm"] == arm]
                line = {"setting": setting, "budget": budget, "arm": arm, "seeds": len(own), "trimmed": own["trimmed"].mean()}
                for measure in SHOWN:
                    line[measure], line[f"{measure}_half"] = mean_and_half(own[measure].to_numpy(np.float64))
                for measure, numbers in paper.items():
                    value, spread = numbers.get(setting, {}).get(arm, (None, None))
                    line[f"paper_{measure}"] = np.nan if value is None else value / 100
                    line[f"paper_{measure}_half"] = np.nan if spread is None else spread / 100
                out.append(line)
    return pd.DataFrame(out)


def format_tables(table: pd.DataFrame, settings: dict[str, str]) -> str:
    """One Markdown table a setting and budget, with the measures that are known.

    Parameters
    ----------
    table
        As `summarise` gives it.
    settings
        What they are called.
    """
    blocks = []
    for (setting, budget), block in table.groupby(["setting", "budget"], sort=False):
        papers = [m for m in SHOWN if f"paper_{m}" in block and block[f"paper_{m}"].notna().any()]
        measures = [m for m in SHOWN if block[m].notna().any() and (m not in ONLY_BESIDE_THE_PAPER or f"paper_{m}" in block)]
        heads = ["arm", *(SHOWN[m] for m in measures), *(f"paper: {SHOWN[m]}" for m in papers)]
        lines = [f"**{settings[str(setting)]}**, {budget_title(str(budget))}, {block['seeds'].max()} seeds", "", _line(heads)]
        lines.append(f"|{'-|' * len(heads)}")
        for row in block.to_dict("records"):
            cells = [_cell(row[m], row[f"{m}_half"], m) for m in measures]
            cells += [_cell(row[f"paper_{m}"], row[f"paper_{m}_half"], m, 2 if row[f"paper_{m}_half"] > 0 else 1) for m in papers]
            lines.append(_line([arms.TITLES[row["arm"]], *cells]))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def budget_title(budget: str) -> str:
    """A budget in words."""
    return BUDGET_NAMES.get(budget) or f"{100 * float(budget):.3g} % trimmed"


def _cell(mean: float, half: float, measure: str, digits: int = 1) -> str:
    if np.isnan(mean):
        return ""
    factor, places = (100, digits) if measure in IN_PERCENT else (1, 3)
    text = f"{factor * mean:.{places}f}"
    return text if np.isnan(half) else f"{text} ± {factor * half:.{places}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
