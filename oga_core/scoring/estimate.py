"""Estimate of the cost of a run, before it is started."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from oga_core.data import Dataset
from oga_core.errors import InputError
from oga_core.gradients import HEAD, LORA, SCOPES, WIDTH, parameters_in
from oga_core.measured import Estimate
from oga_core.models import Classifier, make_untrained, schedule
from oga_core.scoring.encoding import encode_samples
from oga_core.scoring.out_of_fold import default_folds
from oga_core.scoring.passes import BATCH
from oga_core.scoring.tasks import scoring_of

WHOLE_PASS, LORA_PASS = 4.3, 1.5
"""Forward passes that norms and sketch take, of all parameters and of adapters alone, measured by ``oga bench gradients``."""


def estimate(
    dataset: Dataset, classifier: Classifier | None = None, scopes: Sequence[str] = SCOPES, folds: int | None = None
) -> dict[str, Estimate]:
    """Estimate what a run will take with each of some scopes, from a few timed samples.

    ``head``, ``all`` and ``lora`` are left out where the model has none.

    Without a classifier the starter model's training is counted too, with that of the models of ``folds`` as `prepare`
    takes them: a training step takes about three forward passes.

    Raises
    ------
    InputError
        For a pattern that matches no parameter.
    """
    task = scoring_of(dataset.task)
    rows = np.linspace(0, len(dataset) - 1, min(task.timed_samples, len(dataset))).astype(int)
    steps = 0.0
    if classifier is None:
        with torch.random.fork_rng(devices=[]):
            classifier = make_untrained(dataset)
        classifier.module.eval()
        # Beside the first, each fold's model is trained on the other folds.
        steps = 3.0 * schedule(classifier.name, len(dataset))[1] * max(1, default_folds(dataset) if folds is None else folds)
    started = time.perf_counter()
    encoded = encode_samples(classifier, dataset, rows)[1]
    reading = time.perf_counter() - started
    found: dict[str, Estimate] = {}
    if encoded:
        classifier.logits(classifier.collate(encoded))
    forward = time.perf_counter() - started - reading
    width = max((m.in_features for m in classifier.module.modules() if isinstance(m, nn.Linear)), default=0)
    for scope in scopes:
        try:
            head = task.head_name(classifier, encoded) if scope == HEAD and encoded else None
            parameters = sum(p.numel() for p in parameters_in(classifier.module, scope, head).values())
        except InputError:
            if scope in SCOPES:
                continue
            raise
        closed = scope == HEAD and dataset.task.head_in_closed_form
        passes = steps + (1 if closed else LORA_PASS if scope == LORA else WHOLE_PASS)
        stored = width + len(dataset.class_names) if closed else WIDTH
        # float16 factors of every sample twice, and float32 while neighbours are searched.
        memory = (stored * (2 + 2 + 4) + 200) * len(dataset) + BATCH * width * 8 + 4 * classifier.parameters
        seconds = (reading * (2 if steps else 1) + forward * passes) / max(len(rows), 1) * len(dataset)
        found[scope] = Estimate(parameters, seconds, memory)
    return found
