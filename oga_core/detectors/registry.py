"""Detectors and controls by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from oga_core.detectors import by_class, out_of_fold, pyod
from oga_core.detectors.cleanlab import Cleanlab
from oga_core.detectors.controls import EL2N, ConfidenceEntropy, Loss, LowConfidence, Margin, Random
from oga_core.detectors.detector import Detector
from oga_core.detectors.forest import IsolationForest
from oga_core.detectors.gradients import Gradients
from oga_core.detectors.noise import Noise
from oga_core.detectors.norms import L1, L2
from oga_core.detectors.one_class_svm import OneClassSVM
from oga_core.detectors.recommended import Recommended
from oga_core.errors import InputError
from oga_core.progress import Progress, silent
from oga_core.task import CLASSIFICATION, Task

DETECTORS: dict[str, Callable[[], Detector]] = {d.name: d for d in (L1, L2, IsolationForest, OneClassSVM)}
"""Detectors of Outlier Gradient Analysis (arXiv 2405.03869, section 3 and appendix)."""

BEYOND: dict[str, Callable[[], Detector]] = {d.name: d for d in (Recommended, Noise)}
"""Beyond the paper."""

CONTROLS: dict[str, Callable[[], Detector]] = {d.name: d for d in (Random, Loss, LowConfidence, Margin, ConfidenceEntropy, EL2N)}
"""Simple scores that a detector is shown beside."""

OPTIONAL: dict[str, Callable[[], Detector]] = {Cleanlab.name: Cleanlab}
"""Controls that need another library."""

DEFAULT = ("l1", "l2", "iforest")
ALWAYS = ("random", "loss", "low_confidence")
"""Controls that every result has."""


def make_detector(name: str) -> Detector:
    """A fresh detector or control.

    Parameters
    ----------
    name
        ``l1``, ``l2``, ``iforest``, ``ocsvm``; a control; ``pyod:NAME``. Before it ``by_class:`` for one detector a given label,
        and before that ``oof:`` for gradients by heads trained without the sample.

    Raises
    ------
    InputError
        For any other name, or one whose library is not installed.
    """
    return _maker(name, name)()


def _maker(name: str, asked: str) -> Callable[[], Detector]:
    known = DETECTORS | BEYOND | CONTROLS | OPTIONAL
    if name in known and (name == asked or name != Recommended.name):  # which is out of fold itself, and needs all classes
        return known[name]
    if name.startswith(pyod.PREFIX):
        return partial(pyod.PyOD, name.removeprefix(pyod.PREFIX))
    if name.startswith(out_of_fold.PREFIX) and name == asked:
        return partial(out_of_fold.OutOfFold, _maker(name.removeprefix(out_of_fold.PREFIX), asked))
    if name.startswith(by_class.PREFIX):
        inner = name.removeprefix(by_class.PREFIX)
        if not inner.startswith((by_class.PREFIX, out_of_fold.PREFIX)):
            return partial(by_class.ByClass, _maker(inner, asked))
    raise InputError(
        f"unknown detector {asked!r}; there are: {', '.join(known)}, {pyod.PREFIX}NAME, and any of them "
        f"after {by_class.PREFIX} or {out_of_fold.PREFIX}"
    )


def list_names(names: str | list[str]) -> list[str]:
    """Names as a list, from one or from ``"l1,iforest"``."""
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def choose_detectors(names: str | list[str], task: Task = CLASSIFICATION) -> list[Detector]:
    """The detectors asked for, as ``"l1,iforest"`` or a list, followed by the controls that every result has.

    Parameters
    ----------
    task
        What the model was trained for. Where its outputs are not the classes of the data, only detectors of gradients and
        losses can be had.

    Raises
    ------
    InputError
        For a name that is not a detector, none at all, or one that needs classes where there are none.
    """
    wanted = list_names(names)
    if not wanted:
        raise InputError("no detector is named")
    found = [make_detector(n) for n in dict.fromkeys([*(n for n in wanted if n not in ALWAYS), *ALWAYS])]
    for detector in found:
        detector.require()
    if task.class_probabilities:
        return found
    if wrong := [d.name for d in found if d.of_classes and d.name in wanted and d.name not in ALWAYS]:
        raise InputError(f"{wrong[0]} needs the probabilities of classes, which a {task.model} does not have; take others")
    return [d for d in found if not d.of_classes]


def scores(detectors: list[Detector], gradients: Gradients, *, seed: int, progress: Progress = silent) -> dict[str, np.ndarray]:
    """Each detector's score by name, float64, shape ``(n,)``, of the samples it is fitted to."""
    return {d.name: d.fit_score(gradients, seed=seed, progress=progress) for d in detectors}
