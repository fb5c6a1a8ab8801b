"""Any outlier detector of PyOD by the name of its class, on a random projection of the gradients (optional extra ``pyod``)."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Self

import numpy as np

from oga_core.detectors.detector import Detector
from oga_core.detectors.gradients import Gradients
from oga_core.errors import InputError
from oga_core.gradients.factors import BLOCK
from oga_core.progress import Progress, silent

PREFIX = "pyod:"
WIDTH = 64
"""Numbers that a gradient is projected to: PyOD holds samples × width."""


class PyOD(Detector):
    """A PyOD detector with its own settings, seeded where it takes a seed; score = its ``decision_function``.

    Parameters
    ----------
    wanted
        Name of a class, such as ``ECOD`` or ``KNN``, in any case.
    """

    compares = True

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.name = PREFIX + wanted
        self.title = f"PyOD {wanted}"
        self.meaning = f"{wanted} of the PyOD library on the loss gradient projected to {WIDTH} numbers."

    def require(self) -> None:
        """Raise `InputError` if PyOD is not installed or has no such detector."""
        _find(self.wanted)

    def fit(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> Self:
        self.seed = seed
        make = _find(self.wanted)
        try:
            self.detector = make(random_state=seed)
        except TypeError:
            self.detector = make()
        progress(self.title, 0, 1)
        try:
            self.detector.fit(self._projected(gradients))
        except (ImportError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.title} cannot be fitted to these gradients: {' '.join(str(error).split())}") from error
        return self

    def score_samples(self, gradients: Gradients, *, progress: Progress = silent) -> np.ndarray:
        projected = self._projected(gradients)
        out = np.empty(len(projected))
        for start in range(0, len(projected), BLOCK):
            out[start : start + BLOCK] = self.detector.decision_function(projected[start : start + BLOCK])
            progress(self.title, min(start + BLOCK, len(projected)), len(projected))
        return self._finite(out)

    def fit_score(self, gradients: Gradients, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
        """As PyOD scores what it learned from: asked again, a sample would be its own neighbour, and counted twice."""
        return self._finite(self.fit(gradients, seed=seed, progress=progress).detector.decision_scores_)

    def _finite(self, scores: np.ndarray) -> np.ndarray:
        if not np.isfinite(scores).all():
            raise InputError(f"{self.title} gives scores that are not finite numbers on these gradients")
        return np.asarray(scores, dtype=np.float64)

    def _projected(self, gradients: Gradients) -> np.ndarray:
        factors = gradients.factors
        lengths = factors.residual_norms * factors.feature_norms
        return np.asarray(factors.sketch(WIDTH, self.seed) * lengths[:, None], dtype=np.float64)


def _find(wanted: str) -> Any:
    try:
        from pyod import models
    except ImportError as error:
        raise InputError(f"{PREFIX}{wanted} needs PyOD: pip install 'oga-core[pyod]'") from error
    modules = {
        _plain(module.name): module.name
        for module in pkgutil.iter_modules(models.__path__)
        if not module.name.startswith(("_", "base", "ts_", "pyg_"))
    }
    if _plain(wanted) in modules:
        try:
            module = importlib.import_module(f"pyod.models.{modules[_plain(wanted)]}")
        except ImportError as error:
            raise InputError(f"{PREFIX}{wanted} needs more than PyOD itself: {error}") from error
        for name, found in vars(module).items():
            if _plain(name) == _plain(wanted) and hasattr(found, "decision_function"):
                return found
    raise InputError(f"PyOD has no detector {wanted!r}; it has: {', '.join(sorted(modules.values()))}")


def _plain(name: str) -> str:
    """AutoEncoder is in auto_encoder."""
    return name.lower().replace("_", "")
