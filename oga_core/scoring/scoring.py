"""Doing a run: every sample's gradient and loss in one pass, then the detectors, and what is kept of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from oga_core import detectors
from oga_core.containment import reading
from oga_core.data import Dataset, Unreadable
from oga_core.data.noticed import noticed
from oga_core.detectors import RECOMMENDED, Recommended, listed
from oga_core.detectors.recommended import FEWEST
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import FORM, HEAD, Factors, parameters_in
from oga_core.models import Classifier, LanguageModel, class_mapping, label_indices, load_model, train, untrained, wrap
from oga_core.models.inputs import cut_texts
from oga_core.models.loader import checked
from oga_core.progress import Progress, silent
from oga_core.runs import DataSource, Factory, InMemory, Run, RunSpec, RunSummary, Starter, Weights, Workspace
from oga_core.runs.records import NO_RECOMMENDATION, Fingerprint, MappedClass
from oga_core.runs.run import FACTORS, MODEL, NOT_SCORED, RECOMMENDATION, SKETCHES, TABLE
from oga_core.runs.stale import fingerprint
from oga_core.scoring.answers import AnswerPass
from oga_core.scoring.one_pass import OnePass, Pass, passed
from oga_core.scoring.parts import Parts, alone, room
from oga_core.scoring.preparing import check
from oga_core.scoring.unseen import Unseen, cross_fitted, usual_folds
from oga_core.scoring.unsteady import unsteady


@dataclass(frozen=True)
class _ModelFacts:
    """What the summary says of the model beside its name."""

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
        Parameters whose gradient is taken: ``head``, the weight of the last linear layer, in closed form; ``all``; ``lora``;
        or patterns over parameter names joined by commas (``layer4.*``). Beyond the head the forest and the map see a random
        projection of the gradient to 512 numbers; the norms are exact.
    head
        Name of the head's Linear layer, where it is not to be found automatically.
    detectors
        Names of detectors, as a list or joined by commas; the controls are always added.
    seed
        Seed of the forest and the random control.
    workspace
        Folder of the run; see `Workspace`.
    title
        What the run is called in lists.
    transform
        Makes the model's input (a tensor without the batch axis) of a decoded sample; by default what suits the kind.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    InputError
        If model, data and settings do not fit together; nothing has been scored then.
    """
    check(scope, detectors)
    classifier = checked(model, dataset) if isinstance(model, Classifier) else wrap(model, dataset, transform)
    if scope != HEAD:
        parameters_in(classifier.module, scope)
    where = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    spec = RunSpec(None, InMemory(classifier.name), scope, head, tuple(listed(detectors)), seed)
    run = where.new_run(title or f"{classifier.name} on {len(dataset):,} samples", spec)
    with run.job("score").doing(progress) as report:
        source, options = dataset.origin or dataset.save(run.path)
        run.set_spec(replace(spec, data=DataSource(source, **options)))
        _score(run, classifier, dataset, report, _ModelFacts("given from Python"))
    return run


def do_run(run: Run, progress: Progress = silent) -> None:
    """Do a queued run from its settings: open the data, load or train the model, score.

    One that was broken off goes on from what it has kept.

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
    with alone(run):
        with run.job("score").doing(progress) as report:
            model = run.require_model()
            report("opening the data", 0, 1)
            with reading():
                dataset = run.open_dataset()
            parts = Parts(run, dataset, report)
            if isinstance(model, Starter):
                classifier, facts, unseen = _starters(spec, model, dataset, parts, report)
            else:
                classifier, facts, unseen = *_opened(model, dataset, parts, report), None
            _score(run, classifier, dataset, report, facts, unseen, parts)
        parts.remove()


def _opened(model: Weights | Factory, dataset: Dataset, parts: Parts, progress: Progress) -> tuple[Classifier, _ModelFacts]:
    """Open a model of the user."""
    name, weights = model.arguments
    progress("opening the model", 0, 1)
    with reading():
        classifier = load_model(name, weights, dataset)
    parts.only_of(classifier)
    if weights is None:
        return classifier, _ModelFacts("made by the owner's factory")
    return classifier, _ModelFacts(f"weights {weights.name}", weights=fingerprint(weights) if weights.is_file() else None)


def _starters(
    spec: RunSpec, asked: Starter, dataset: Dataset, parts: Parts, progress: Progress
) -> tuple[Classifier, _ModelFacts, Unseen | None]:
    """The starter, what the summary tells of it, and what those say that have not seen a part."""
    if spec.scope != HEAD:  # before it is trained
        with torch.random.fork_rng(devices=[]):
            parameters_in(untrained(dataset).module, spec.scope)
    options: dict[str, Any] = {"seed": spec.seed, "epochs": asked.epochs, "progress": progress}
    classifier, trained = parts.starter(MODEL, dataset, partial(train, dataset, **options))
    source = f"starter model trained here on 90 % of the samples, {trained['epochs']} epochs"
    folds = usual_folds(dataset) if asked.folds is None else asked.folds
    # Where there are too few samples, there will be no recommendation.
    unseen = cross_fitted(dataset, folds, parts=parts, **options) if folds and len(dataset) >= FEWEST else None
    return classifier, _ModelFacts(source, trained["accuracy"]), unseen


def _score(
    run: Run,
    classifier: Classifier,
    dataset: Dataset,
    progress: Progress,
    facts: _ModelFacts,
    unseen: Unseen | None = None,
    parts: Parts | None = None,
) -> None:
    started = time.monotonic()
    spec = run.spec
    causal = isinstance(classifier, LanguageModel)
    wanted = [d for d in detectors.chosen(list(spec.detectors), not causal) if d.name != RECOMMENDED]
    outputs = label_indices(classifier, dataset)
    each: Pass
    if isinstance(classifier, LanguageModel):
        each = AnswerPass(classifier, dataset, spec.scope, spec.seed, spec.head)
    else:
        each = OnePass(classifier, dataset, outputs, spec.scope, spec.head, spec.seed)
    steady = unsteady(classifier, dataset)
    whole, failed = passed(each, dataset, partial(progress, "scoring"), parts)
    if len(whole.get("index", ())) < 2:
        raise InputError(
            f"only {len(whole.get('index', ()))} of {len(dataset):,} samples could be scored; the first reason: "
            + (f"{failed[0].source}: {failed[0].reason}" if failed else "there are no samples")
        )
    # In the order of the ids: the forest and the random control draw positions, and a score must not depend on the row.
    by_id = np.argsort(whole["sample_id"], kind="stable")
    back = np.argsort(by_id)
    gradients = _gradients({name: values[by_id] for name, values in whole.items()}, unseen)
    recommended, no_recommendation = _recommended(gradients, spec.seed, progress)
    scores = detectors.scores(wanted, gradients, seed=spec.seed, progress=progress)
    if recommended:
        scores = {RECOMMENDED: recommended.scores, **scores}
    scores = {name: score[back] for name, score in scores.items()}
    table = _table(dataset, whole, scores, None if causal else outputs, classifier.class_names)
    found = None
    if recommended:
        class_of = {int(output): dataset.class_names[label] for label, output in enumerate(outputs)}
        found = recommended.recommendation.in_words([class_of.get(i, str(i)) for i in range(gradients.classes)])
    progress("writing", 0, 1)
    _write(run, whole, failed, table, found)
    progress("writing", 1, 1)
    with reading():
        looked_at, cut = noticed(dataset, progress), cut_texts(classifier.encode, dataset)
    notes = [*spec.notes, *dataset.notes, *looked_at, *classifier.notes, *steady, *cut, *each.notes]
    run.set_summary(
        RunSummary(
            class_names=tuple(dataset.class_names),
            kind=dataset.kind,
            model=classifier.name,
            model_source=facts.source,
            held_out_accuracy=facts.held_out_accuracy,
            agreement=None if causal else float((table["predicted"] == table["label"]).mean()),
            scope=spec.scope,
            head=each.head,
            mapping=tuple(MappedClass(*one) for one in class_mapping(classifier, dataset)),
            samples=len(dataset),
            scored=len(table),
            not_scored=len(failed),
            seconds=round(time.monotonic() - started, 3),
            seed=spec.seed,
            detectors=tuple(scores),
            notes=(*notes, f"{NO_RECOMMENDATION}{no_recommendation}") if no_recommendation else tuple(notes),
            sketch_form=FORM if "sketches" in whole else None,
            no_recommendation=no_recommendation,
            weights=facts.weights,
        )
    )


def _write(
    run: Run,
    whole: dict[str, np.ndarray],
    failed: list[Unreadable],
    table: pd.DataFrame,
    recommendation: detectors.Recommendation | None,
) -> None:
    """Write the files of a run, the table last."""
    arrays = [name for name in (*FACTORS, *SKETCHES) if name in whole]
    reasons = pd.DataFrame(
        {"index": [f.index for f in failed], "source": [f.source for f in failed], "reason": [f.reason for f in failed]}
    )
    with room(run, sum(whole[name].nbytes for name in arrays) + int(table.memory_usage(deep=True).sum())):
        for name in arrays:
            run.add_file(f"{name}.npy", partial(save_array, whole[name]))
        if recommendation is not None:
            kept = json.dumps(recommendation.to_dict())
            run.add_file(RECOMMENDATION, lambda path: path.write_text(kept, "utf-8"))
        run.add_file(NOT_SCORED, lambda path: reasons.to_parquet(path, index=False))
        run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))


def _gradients(whole: dict[str, np.ndarray], unseen: Unseen | None) -> detectors.Gradients:
    """What the detectors look at, of the columns of all scored samples."""
    if "sketches" in whole:
        ones = np.ones((len(whole["l2"]), 1), np.float16)
        factors = Factors(ones, whole["sketches"], ones[:, 0].astype(np.float32), whole["sketch_norms"])
    else:
        factors = Factors(*(whole[name] for name in FACTORS))
    if "logits" not in whole:
        none = np.empty((len(whole["l2"]), 0), np.float32)
        return detectors.Gradients(factors, whole["l1"], whole["l2"], none, whole["targets"], own_losses=whole["loss"])
    return detectors.Gradients(
        factors,
        whole["l1"],
        whole["l2"],
        whole["logits"],
        whole["targets"],
        whole.get("features"),
        whole.get("feature_norms"),
        unseen.gradients(whole["index"], whole["targets"]) if unseen else None,
    )


def _recommended(gradients: detectors.Gradients, seed: int, progress: Progress) -> tuple[Recommended | None, str]:
    """The recommended detector, fitted, or why there is none."""
    try:
        return Recommended().fit(gradients, seed=seed, progress=progress), ""
    except InputError as error:
        return None, str(error)


def _table(
    dataset: Dataset,
    whole: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    outputs: np.ndarray | None,
    names: list[str] | None,
) -> pd.DataFrame:
    """What `Run.table` has; without ``outputs``, the place of each class in the logits, nothing that a model says of classes."""
    about = {
        "sample_id": whole["sample_id"],
        "index": whole["index"],
        "source": [str(dataset.sources[int(i)]) for i in whole["index"]],
    }
    if outputs is None:
        groups = np.array(dataset.class_names, dtype=object)[dataset.labels[whole["index"]]]
        return pd.DataFrame({**about, "label": groups, "loss": whole["loss"], **scores})
    name_of = np.array(names or dataset.class_names, dtype=object)
    given = np.array(dataset.class_names, dtype=object)[dataset.labels[whole["index"]]]
    predicted = name_of[whole["predicted"]]
    # A sample cannot be relabelled to itself, nor to a class that only the model has.
    second = (predicted == given) | ~np.isin(whole["predicted"], outputs)
    return pd.DataFrame(
        {
            **about,
            "label": given,
            "predicted": predicted,
            "loss": whole["loss"],
            "confidence": np.exp(-whole["loss"]),
            **scores,
            "suggested_label": np.where(second, name_of[whole["best_other"]], predicted),
            "suggested_label_source": np.where(second, "model's second choice", "model prediction"),
        }
    )
