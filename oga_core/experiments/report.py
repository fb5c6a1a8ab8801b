"""The files that an experiment writes: the table, the figures, and a report on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from oga_core.errors import InputError
from oga_core.experiments import arms, tables
from oga_core.experiments.figures import Figure, save
from oga_core.experiments.paper import Numbers
from oga_core.experiments.reading import MEASURES, Claim, claims, first_in, overall, sentence, summary
from oga_core.experiments.tables import SHOWN, budget_title
from oga_core.files import write_whole

REPORT, TABLE, READABLE = "report.md", "table.csv", "table.md"

HOW = [
    "Every arm has the same recipe and, within a seed, the same data, starting weights and random numbers; the model is "
    "trained again from scratch on what is left, for as many epochs: so in fewer steps, as after a random trim of the same size.",
    "Accuracy is that of the last epoch on clean test data; nothing is chosen on test data. Influence is measured on validation "
    "data that are neither trained on nor tested on.",
    f"The arm “{arms.TITLES[arms.RANDOM]}” removes as many samples of each given label as {arms.TITLES[arms.RANDOM_IS_LIKE]} "
    f"does, drawn at random. The column “{SHOWN['random_accuracy']}” is the same for the arm of that row, with its own class "
    "shares. The oracle removes exactly the samples that are truly wrong, for every budget.",
    "± is half the width of the 95 % t-interval over seeds; differences are paired by seed. No correction is made for the number "
    "of comparisons: about one in twenty intervals misses by chance.",
    "The paper's numbers are its own, with its ± where it gives one (over 5 runs, not an interval): other data, models and "
    "choices, so they are to be compared by sign and order.",
]
TWO_CLASSES = (
    "With two classes normalized margin, confidence entropy and EL2N put the samples in the same order as given-label "
    "confidence; such arms are counted once."
)


@dataclass(frozen=True)
class Study:
    """An experiment that is done.

    Attributes
    ----------
    settings
        Names and titles.
    budgets
        Those of each setting that the table has; the first is read.
    rows
        As `Results.of` gives them.
    paper
        The paper's numbers by measure, keyed by these settings.
    first
        The arm that is on top in the paper's curves, by setting, where it gives no numbers.
    reading
        What is to be known before its numbers are read, computed from them.
    notes
        How this experiment was done, beside ``how``.
    how
        How it and others were done.
    figures
        What is drawn.
    """

    title: str
    settings: dict[str, str]
    budgets: dict[str, Sequence[str]]
    rows: pd.DataFrame
    quick: bool
    paper: dict[str, Numbers] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    reading: Sequence[str] = ()
    notes: Sequence[str] = ()
    how: Sequence[str] = tuple(HOW)
    figures: Sequence[Figure] = ()


def write(study: Study, out: Path) -> Path:
    """Write table, figures and report into a folder; returns the path of the report.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    table = tables.summarise(study.rows, list(study.settings), study.budgets, study.paper)
    readable = tables.format_tables(table, study.settings)
    try:
        write_whole(out / TABLE, lambda path: table.to_csv(path, index=False))
        write_whole(out / READABLE, lambda path: path.write_text(readable + "\n", "utf-8"))
        no_images = save(study.figures, out)
        text = _report(study, readable, no_images)
        write_whole(out / REPORT, lambda path: path.write_text(text, "utf-8"))
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror}") from error
    return out / REPORT


def _report(study: Study, table: str, no_images: str) -> str:
    read = {setting: budgets[0] for setting, budgets in study.budgets.items()}
    seeds = study.rows["seed"].nunique()
    found = [*claims(study.rows, read, study.paper), *first_in(study.rows, read, study.first)]
    blocks = [
        f"# {study.title}",
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} (0 … {seeds - 1})."
        + (
            " A quick run: smaller, with fewer seeds and arms; it shows that the experiment works, not what it finds."
            if study.quick
            else ""
        ),
    ]
    blocks += ["## What the numbers say", *study.reading, overall(study.rows, read)]
    blocks += [
        f"{sentence(study.rows, setting, read[setting], f'{title}, {budget_title(read[setting])}')}"
        for setting, title in study.settings.items()
    ]
    if found:
        blocks += ["## What repeated and what did not", summary(found), _claims(found, study.settings)]
    if study.figures:
        blocks += ["## Figures"]
        blocks += [
            f"{figure.caption}\n\n[{figure.name}.html]({figure.name}.html)"
            + ("" if no_images else f"\n\n![{figure.name}]({figure.name}.png)")
            for figure in study.figures
        ]
        if no_images:
            blocks.append(
                f"The figures are there as HTML only, PNG was not written: {no_images}. PNG needs kaleido (pip install "
                "'oga-core[reproduce]') and Chrome or Chromium on the PATH or named by BROWSER_PATH."
            )
    blocks += ["## Table", table, "## How it was done", "\n".join(f"* {line}" for line in (*study.how, *study.notes))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _claims(found: Sequence[Claim], settings: dict[str, str]) -> str:
    lines = ["| setting | measure | difference | paper | here | verdict |", "|-|-|-|-|-|-|"]
    for claim in found:
        here = f"{100 * claim.here.mean:+.2f}" + ("" if np.isnan(claim.here.half) else f" ± {100 * claim.here.half:.2f}")
        paper = "higher" if np.isnan(claim.paper) else f"{claim.paper:+.1f}"
        what = f"{arms.TITLES[claim.first]} − {arms.TITLES[claim.second]}"
        lines.append(f"| {settings[claim.setting]} | {MEASURES[claim.measure]} | {what} | {paper} | {here} | {claim.verdict} |")
    told = ["In points, paired by seed."]
    if not all(np.isnan(claim.paper) for claim in found):
        others = ", ".join(arms.TITLES[name] for name in dict.fromkeys(claim.second for claim in found))
        told.append(f"The paper's detectors against {others}, wherever the paper has two different numbers.")
    if any(np.isnan(claim.paper) for claim in found):
        told.append("“Higher”: the first arm is on top in the paper's curves, which have no numbers.")
    return "\n".join(lines) + f"\n\n{' '.join(told)}"
