"""Computations of scoring for each task: a module per task, found by the facts in `oga_core.task`."""

from __future__ import annotations

from oga_core.scoring.tasks.classification import ClassificationScoring
from oga_core.scoring.tasks.language_modelling import LanguageModelScoring
from oga_core.scoring.tasks.task_scoring import TaskScoring
from oga_core.task import CLASSIFICATION, LANGUAGE_MODELLING, Task

_SCORING: dict[Task, TaskScoring] = {
    CLASSIFICATION: ClassificationScoring(),
    LANGUAGE_MODELLING: LanguageModelScoring(),
}


def scoring_of(task: Task) -> TaskScoring:
    """Return what is computed for a task."""
    return _SCORING[task]
