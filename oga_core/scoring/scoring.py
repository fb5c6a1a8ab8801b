"""Scoring of a run: every sample's gradient and loss in one pass, then the detectors, and what is kept of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from oga_core import detectors
from oga_core.containment import bound_reading
from oga_core.data import Dataset, Unreadable
from oga_core.data.inventory import Inventory, take_inventory
from oga_core.detectors import RECOMMENDED, Recommendation, Recommended, list_names
from oga_core.detectors.recommended import FEWEST
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import FORM, HEAD, parameters_in
from oga_core.models import Classifier, class_mapping, label_indices, load_model, make_untrained, starter_for, train, wrap
from oga_core.models.inputs import list_truncations
from oga_core.models.loader import check_model
from oga_core.progress import Progress, silent
from oga_core.runs import DataSource, Factory, InMemory, Run, RunSpec, RunSummary, Starter, Weights, Workspace
from oga_core.runs.records import NO_RECOMMENDATION, Fingerprint, MappedClass
from oga_core.runs.run import FACTORS, MODEL, NOT_SCORED, RECOMMENDATION, SKETCHES, TABLE
from oga_core.runs.stale import fingerprint
from oga_core.scoring.out_of_fold import OutOfFold, cross_fit, default_folds
from oga_core.scoring.passes import run_pass
from oga_core.scoring.preparing import check
from oga_core.scoring.saved_state import SavedState, lock_run, reserve_disk
from oga_core.scoring.scored_samples import ScoredSamples
from oga_core.scoring.tasks import scoring_of


@dataclass(frozen=True)
class _ModelFacts:
    """Facts of the model for the summary, beside its name."""

    source: str
    held_out_accuracy: float | None = None
    weights: Fingerprint | None = None


def score(
    model: nn.Module | Classifier,
    dataset: Dataset,
    *,
    scope: str = "head",
    head: str | None = None,
    detectors: str | list[str] = "l1,l2,iforest",
    seed: int = 0,
    workspace: str | Path | Workspace | None = None,
    title: str | None = None,
    transform: Callable[[Any], torch.Tensor] | None = None,
    progress: Progress = silent,
) -> Run:
    """Score every sample of a data set with a model, and keep the result as a run.

    Parameters
    ----------
    model
        A classifier; for the scope ``head``, one whose logits are the output of one Linear layer. It is put into eval mode. For
        prompts with answers an `oga_core.models.language_model`.
    dataset
        Labelled samples, e.g. from `open_dataset` or `from_arrays`, or prompts with answers.
    scope
        Parameters whose gradient is taken: ``head``, the last linear layer's weight, in closed form; ``all``; ``lora``; or
        patterns over names (``layer4.*,fc.*``). Beyond the head norms stay exact; forest and map see a random projection to 512.
    head
        Name of the head's Linear layer, where it is not to be found automatically.
    detectors, seed
        Names of detectors, as a list or joined by commas; the controls are always added. Seed of forest and random control.
    workspace, title
        Folder of the run (see `Workspace`), and its name in lists.
    transform
        Makes the model's input (a tensor without the batch axis) of a decoded sample; by default what suits the kind.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    InputError
        If model, data and settings do not fit together; nothing has been scored then.

    Examples
    --------
    >>> model = torch.nn.Linear(4, 3)
    >>> run = oga.score(model, dataset, detectors="l1,l2")
    >>> len(run.table), [detector.name for detector in run.detectors][:3]
    (60, ['recommended', 'l1', 'l2'])
    """
    check(scope, detectors)
    classifier = check_model(model, dataset) if isinstance(model, Classifier) else wrap(model, dataset, transform)
    if scope != HEAD:
        parameters_in(classifier.module, scope)
    where = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    spec = RunSpec(None, InMemory(classifier.name), scope, head, tuple(list_names(detectors)), seed)
    run = where.new_run(title or f"{classifier.name} on {len(dataset):,} samples", spec)
    with run.job("score").track(progress) as report:
        source, options = dataset.origin or dataset.save(run.path)
        run.set_spec(replace(spec, data=DataSource(source, **options)))
        _score(run, classifier, dataset, take_inventory(dataset, report), report, _ModelFacts("given from Python"))
    return run


def do_run(run: Run, progress: Progress = silent) -> None:
    """Do a queued run from its settings: open the data, load or train the model, score.

    One that was broken off resumes from its saved state.

    Raises
    ------
    InputError
        If model, data and settings do not fit together, the data have changed since the run was begun, the model was given from
        Python, the disk is full, or another process does the run already.
    Cancelled
        If the user asked for it meanwhile.
    """
    spec = run.spec
    check(spec.scope, list(spec.detectors))
    with lock_run(run):
        with run.job("score").track(progress) as report:
            model = run.require_model()
            report("opening the data", 0, 1)
            with bound_reading():
                dataset = run.open_dataset()
            # Models are refused before all samples are read, which takes long.
            if isinstance(model, Starter):
                _check_starter(dataset, spec.scope)
                saved = SavedState(run, dataset, take_inventory(dataset, report))
                classifier, facts, out_of_fold = _train_starters(spec, model, dataset, saved, report)
            else:
                classifier, facts = _open_model(model, dataset, report)
                saved = SavedState(run, dataset, take_inventory(dataset, report))
                saved.only_of(classifier)
                out_of_fold = None
            _score(run, classifier, dataset, saved.inventory, report, facts, out_of_fold, saved)
        saved.remove()


def _open_model(model: Weights | Factory, dataset: Dataset, progress: Progress) -> tuple[Classifier, _ModelFacts]:
    """Open a model of the user."""
    name, weights = model.arguments
    progress("opening the model", 0, 1)
    with bound_reading():
        classifier = load_model(name, weights, dataset)
    if weights is None:
        return classifier, _ModelFacts("made by the owner's factory")
    return classifier, _ModelFacts(f"weights {weights.name}", weights=fingerprint(weights) if weights.is_file() else None)


def _check_starter(dataset: Dataset, scope: str) -> None:
    """InputError where there is no starter for these data, or it has no parameters in a scope."""
    starter_for(dataset)
    if scope != HEAD:
        with torch.random.fork_rng(devices=[]):
            parameters_in(make_untrained(dataset).module, scope)


def _train_starters(
    spec: RunSpec, asked: Starter, dataset: Dataset, saved: SavedState, progress: Progress
) -> tuple[Classifier, _ModelFacts, OutOfFold | None]:
    """Return the starter, what the summary says of it, and the out-of-fold outputs of further starters."""
    options: dict[str, Any] = {"seed": spec.seed, "epochs": asked.epochs, "progress": progress}
    classifier, trained = saved.starter(MODEL, dataset, partial(train, dataset, **options))
    source = f"starter model trained here on 90 % of the samples, {trained['epochs']} epochs"
    folds = default_folds(dataset) if asked.folds is None else asked.folds
    # Where there are too few samples, there will be no recommendation.
    out_of_fold = cross_fit(dataset, folds, saved=saved, **options) if folds and len(dataset) >= FEWEST else None
    return classifier, _ModelFacts(source, trained["accuracy"]), out_of_fold


def _score(
    run: Run,
    classifier: Classifier,
    dataset: Dataset,
    inventory: Inventory,
    progress: Progress,
    facts: _ModelFacts,
    out_of_fold: OutOfFold | None = None,
    saved: SavedState | None = None,
) -> None:
    """Pass, detect, write."""
    started = time.monotonic()
    spec = run.spec
    task = scoring_of(classifier.task)
    wanted = [d for d in detectors.choose_detectors(list(spec.detectors), classifier.task) if d.name != RECOMMENDED]
    each = task.make_pass(classifier, dataset, spec.scope, spec.head, spec.seed)
    unstable = task.note_nondeterminism(classifier, dataset)
    samples, failed = run_pass(each, dataset, partial(progress, "scoring"), saved, sizes=inventory.sizes)
    if samples is None or len(samples) < 2:
        raise InputError(
            f"only {0 if samples is None else len(samples)} of {len(dataset):,} samples could be scored; the first reason: "
            + (f"{failed[0].source}: {failed[0].reason}" if failed else "there are no samples")
        )
    found = _detect(samples, wanted, out_of_fold, spec.seed, progress)
    table = task.make_table(classifier, dataset, samples, found.scores)
    progress("writing", 0, 1)
    names = {int(output): dataset.class_names[label] for label, output in enumerate(label_indices(classifier, dataset))}
    _write(run, samples, table, failed, found.recommendation, names)
    progress("writing", 1, 1)
    with bound_reading():
        truncated = list_truncations(classifier.encode, dataset)
    notes = [*spec.notes, *dataset.notes, *inventory.notes(dataset), *classifier.notes, *unstable, *truncated, *each.notes]
    if found.no_recommendation:
        notes.append(f"{NO_RECOMMENDATION}{found.no_recommendation}")
    run.set_summary(
        RunSummary(
            class_names=tuple(dataset.class_names),
            kind=dataset.kind,
            model=classifier.name,
            model_source=facts.source,
            held_out_accuracy=facts.held_out_accuracy,
            agreement=float((table["predicted"] == table["label"]).mean()) if "predicted" in table else None,
            scope=spec.scope,
            head=each.head,
            mapping=tuple(MappedClass(*one) for one in class_mapping(classifier, dataset)),
            samples=len(dataset),
            scored=len(table),
            not_scored=len(failed),
            seconds=round(time.monotonic() - started, 3),
            seed=spec.seed,
            detectors=tuple(found.scores),
            notes=tuple(notes),
            sketch_form=FORM if samples.sketches is not None else None,
            no_recommendation=found.no_recommendation,
            weights=facts.weights,
        )
    )


class Detected(NamedTuple):
    """Results of the detectors for n samples.

    Attributes
    ----------
    scores
        Outlier scores by detector, float64, shape ``(n,)``.
    recommendation
        Its classes are positions in the logits; None where there is none.
    no_recommendation
        Why there is none; empty where there is one.
    """

    scores: dict[str, np.ndarray]
    recommendation: Recommendation | None
    no_recommendation: str


def _detect(
    samples: ScoredSamples, wanted: list[detectors.Detector], out_of_fold: OutOfFold | None, seed: int, progress: Progress
) -> Detected:
    """Fit each detector to the samples and score them."""
    # In the order of the ids: the forest and the random control draw positions, and a score must not depend on the row.
    by_id = np.argsort(samples.sample_id, kind="stable")
    ordered = samples.take(by_id)
    gradients = ordered.gradients(out_of_fold.gradients(ordered.index, ordered.targets) if out_of_fold else None)
    recommended, reason = _fit_recommended(gradients, seed, progress)
    scores = detectors.scores(wanted, gradients, seed=seed, progress=progress)
    if recommended:
        scores = {RECOMMENDED: recommended.scores, **scores}
    back = np.argsort(by_id)
    in_rows = {name: score[back] for name, score in scores.items()}
    return Detected(in_rows, recommended.recommendation if recommended else None, reason)


def _write(
    run: Run,
    samples: ScoredSamples,
    table: pd.DataFrame,
    failed: list[Unreadable],
    recommendation: Recommendation | None,
    names: dict[int, str],
) -> None:
    """Write the files of a run but for its summary.

    Parameters
    ----------
    names
        Classes of the data by their position in the logits.

    Raises
    ------
    InputError
        If the disk is too full.
    """
    arrays = {name: values for name, values in samples.arrays().items() if name in (*FACTORS, *SKETCHES)}
    reasons = pd.DataFrame(
        {"index": [f.index for f in failed], "source": [f.source for f in failed], "reason": [f.reason for f in failed]}
    )
    with reserve_disk(run, sum(values.nbytes for values in arrays.values()) + int(table.memory_usage(deep=True).sum())):
        for name, values in arrays.items():
            run.add_file(f"{name}.npy", partial(save_array, values))
        if recommendation:
            assert samples.logits is not None
            in_words = recommendation.in_words([names.get(i, str(i)) for i in range(samples.logits.shape[1])])
            run.add_file(RECOMMENDATION, lambda path: path.write_text(json.dumps(in_words.to_dict()), "utf-8"))
        run.add_file(NOT_SCORED, lambda path: reasons.to_parquet(path, index=False))
        run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))


def _fit_recommended(gradients: detectors.Gradients, seed: int, progress: Progress) -> tuple[Recommended | None, str]:
    """The recommended detector, fitted, or why there is none."""
    try:
        return Recommended().fit(gradients, seed=seed, progress=progress), ""
    except InputError as error:
        return None, str(error)
