"""Measures: how well a score finds wrong labels, and means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit
from sklearn.metrics import average_precision_score, roc_auc_score

DETECTION = ("auc", "average_precision", "precision", "recall", "detection_accuracy")
"""Measures in the result of `detection`."""


def mean_and_half(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and half the width of its 95 % t-interval; values that are no numbers are left out.

    The half is not a number with fewer than two values, and neither is the mean with none.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    n = len(known)
    if n < 2:
        return (float(known[0]) if n else np.nan), np.nan
    return float(known.mean()), float(stdtrit(n - 1, 0.975) * known.std(ddof=1) / np.sqrt(n))


def detection(score: np.ndarray, wrong: np.ndarray | None, flagged: np.ndarray) -> dict[str, float]:
    """How well a score and the trim by it find the wrong samples.

    Parameters
    ----------
    score
        Outlier scores, shape ``(n,)``.
    wrong
        Which samples are truly wrong, bool, shape ``(n,)``; None where that is not known.
    flagged
        Positions of the trimmed samples.

    Returns
    -------
    dict
        Area under the ROC curve, average precision; of the trim precision, recall, and the paper's detection accuracy: the
        share of all samples for which trimmed or not is right. Not a number where the truth is unknown or of one kind.
    """
    if wrong is None or not wrong.any() or wrong.all():
        return dict.fromkeys(DETECTION, np.nan)
    found = int(wrong[flagged].sum())
    return {
        "auc": float(roc_auc_score(wrong, score)),
        "average_precision": float(average_precision_score(wrong, score)),
        "precision": found / len(flagged) if len(flagged) else np.nan,
        "recall": found / int(wrong.sum()),
        "detection_accuracy": 1 - (len(flagged) - found + int(wrong.sum()) - found) / len(wrong),
    }
