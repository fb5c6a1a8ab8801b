"""Which samples a budget flags."""

from __future__ import annotations

import numpy as np

from oga_core.errors import InputError


def flag_count(budget: float, n: int) -> int:
    """How many of n samples a budget flags.

    Parameters
    ----------
    budget
        A share of the samples in [0, 1), or a whole number of samples (≥ 1).

    Raises
    ------
    InputError
        If the budget is neither.
    """
    if not np.isfinite(budget) or budget < 0 or (budget > 1 and budget != int(budget)):
        raise InputError(f"budget {budget} is not a share between 0 and 1 or a whole number of samples")
    return min(round(budget * n) if budget < 1 else int(budget), n)


def flag_rows(score: np.ndarray, budget: float) -> np.ndarray:
    """Positions of the most suspicious samples, most suspicious first, int64.

    Parameters
    ----------
    score
        Outlier scores, shape ``(n,)``. Equal scores keep the order of the data.
    budget
        As `flag_count` takes it.

    Raises
    ------
    InputError
        As `flag_count` does.
    """
    count = flag_count(budget, len(score))
    return np.argsort(-score, kind="stable")[:count]
