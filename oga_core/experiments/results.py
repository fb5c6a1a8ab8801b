"""Results as they come: one row per setting, seed, budget and arm, on disk at once; an interrupted experiment resumes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oga_core.errors import InputError
from oga_core.files import write_whole

RESULTS, SETTINGS = "results.csv", "settings.json"
SHARDS = "results-*.csv"
"""Of shards that were done by themselves."""
VALIDATED, AT_NOISE_RATE, RELATED = "validated", "noise rate", "related"
"""Budgets that are no share: the best on validation data for each arm and seed, as many as are truly wrong, and as many as are of
the test sample's kind."""


@dataclass(frozen=True)
class Row:
    """The results of one arm; not a number where something was not measured or is not known.

    Attributes
    ----------
    budget
        Share that is trimmed, as it is called in tables; empty for the untrimmed arm and the oracle.
    trimmed
        Number of samples left out.
    auc, average_precision, precision, recall, detection_accuracy
        As `oga_core.experiments.measures.detection` gives them.
    accuracy, validation_accuracy
        Of the model trained on the rest, at its last epoch, on test and validation data.
    random_accuracy
        On test data, of a model trained without as many random samples of each class.
    by_epoch
        Accuracy on test data after each epoch; of a language model the AUC.
    """

    setting: str
    seed: int
    budget: str
    arm: str
    trimmed: int
    auc: float = np.nan
    average_precision: float = np.nan
    precision: float = np.nan
    recall: float = np.nan
    detection_accuracy: float = np.nan
    accuracy: float = np.nan
    random_accuracy: float = np.nan
    validation_accuracy: float = np.nan
    by_epoch: tuple[float, ...] = ()


Key = tuple[str, int, str, str]
"""Setting, seed, budget, arm."""


class Results:
    """The rows of an experiment, kept in its folder.

    Parameters
    ----------
    folder
        Where ``results.csv`` is; rows that are there already are kept if they were made under the same settings.
    settings
        All that a row depends on beside setting, seed, budget and arm; JSON.
    shard
        A setting and a seed: their rows are kept in a file of their own, which no other process writes. Without it, the rows
        of all shards are taken over.

    Raises
    ------
    InputError
        If the folder has results made under other settings, or cannot be written or read.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], shard: tuple[str, int] | None = None) -> None:
        self.path = folder / (SHARDS.replace("*", "{}-{}").format(*shard) if shard else RESULTS)
        self.rows: dict[Key, Row] = {}
        known = folder / SETTINGS
        text = json.dumps(settings, indent=1, sort_keys=True, default=str)
        try:
            shards = sorted(folder.glob(SHARDS))
            if (shards or self.path.exists()) and (not known.exists() or known.read_text("utf-8") != text):
                raise InputError(f"{folder} holds results made under other settings; name another folder, or empty it")
            for path in (self.path, *([] if shard else shards)):
                if path.exists():
                    self.rows |= {(row.setting, row.seed, row.budget, row.arm): row for row in _read(path)}
            write_whole(known, lambda path: path.write_text(text, "utf-8"))
            if shards and not shard:
                write_whole(self.path, self._write)
        except OSError as error:
            raise InputError(f"cannot use {folder}: {error.strerror}") from error

    def __contains__(self, key: Key) -> bool:
        return key in self.rows

    def add(self, row: Row) -> None:
        """Keep a row, on disk before this returns."""
        self.rows[row.setting, row.seed, row.budget, row.arm] = row
        write_whole(self.path, self._write)

    def add_all(self, rows: Iterable[Row]) -> None:
        """Keep several rows."""
        self.rows |= {(row.setting, row.seed, row.budget, row.arm): row for row in rows}
        write_whole(self.path, self._write)

    def of(self, seeds: int) -> pd.DataFrame:
        """The rows of the seeds below a number, one column an attribute of `Row`."""
        names = [f.name for f in fields(Row)]
        return pd.DataFrame([asdict(row) for row in self.rows.values() if row.seed < seeds], columns=names)

    def _write(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8", newline="") as handle:
            table = csv.writer(handle)
            table.writerow([f.name for f in fields(Row)])
            table.writerows([_text(value) for value in asdict(row).values()] for row in self.rows.values())


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    if isinstance(value, float):
        return "" if np.isnan(value) else repr(float(value))
    return str(value)


def _read(path: Path) -> list[Row]:
    with open(path, encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    rows = []
    try:
        for line in lines:
            measured: dict[str, Any] = {f.name: float(line[f.name] or "nan") for f in fields(Row) if f.default is np.nan}
            measured["by_epoch"] = tuple(float(v) for v in line["by_epoch"].split())
            where = line["setting"], int(line["seed"]), line["budget"], line["arm"]
            rows.append(Row(*where, int(line["trimmed"]), **measured))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a table that this command wrote; name another folder, or empty it") from error
    return rows
