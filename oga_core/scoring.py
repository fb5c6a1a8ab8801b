"""Scoring: every sample's head gradient and loss in one forward pass, then the detectors; the result is a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from oga_core import detectors
from oga_core.data import Dataset, SampleError, Unreadable, located
from oga_core.detectors import listed
from oga_core.errors import InputError
from oga_core.files import save_array
from oga_core.gradients import Factors, captured_features, find_head, head_gradients, unit_rows
from oga_core.models import Classifier, class_mapping, label_indices, load_model, save_weights, schedule, train, untrained, wrap
from oga_core.models.loader import checked
from oga_core.progress import Progress, silent
from oga_core.runs import Run, Workspace
from oga_core.runs.run import FACTORS, NOT_SCORED, TABLE

SCOPES = ("head",)
BATCH = 64
LOOKED_AT = 8
"""Samples that the head is searched with."""
PROBED = 64
"""Samples that are timed for the estimate."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take: wall-clock seconds on this machine, and bytes of memory beside the program and the data."""

    seconds: float
    bytes: int


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
        A classifier whose logits are the output of one Linear layer. It is put into eval mode.
    dataset
        Labelled samples, e.g. from `open_dataset` or `from_arrays`.
    scope
        Parameters whose gradient is taken: ``head``.
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
    settings: dict[str, Any] = {"scope": scope, "head": head, "detectors": listed(detectors), "seed": seed}
    _check(scope, detectors)
    classifier = checked(model, dataset) if isinstance(model, Classifier) else wrap(model, dataset, transform)
    where = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    run = where.new_run(title or f"{classifier.name} on {len(dataset):,} samples", settings)
    with run.job("score").doing(progress) as report:
        origin = dataset.origin or dataset.save(run.path)
        run.set_settings({**settings, "data": origin[0], "data_options": origin[1], "model": classifier.name})
        _score(run, classifier, dataset, report, {"model_source": "given from Python"})
    return run


def prepare(
    workspace: Workspace,
    data: str | Path,
    *,
    inputs: str | None = None,
    label: str | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    scope: str = "head",
    head: str | None = None,
    detectors: str | list[str] = "l1,l2,iforest",
    seed: int = 0,
    epochs: int | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Run:
    """Enter a run to be done by `do_run`, in this process or another.

    Parameters
    ----------
    data, inputs, label
        As `open_dataset` takes them.
    model, weights
        As `load_model` takes them; without either, the starter model that suits the data is trained.
    scope, head, detectors, seed
        As `score` takes them.
    epochs
        Of the starter model's training.
    title
        What the run is called in lists.
    notes
        What the user should be told beside what the reader notices.

    Raises
    ------
    InputError
        For an unknown scope or detector, or where data or weights are not there; both are opened when the run is done.
    """
    _check(scope, detectors)
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"weights file {weights} is not there")
    spec = located(data)
    settings = {
        "data": spec, "data_options": {k: v for k, v in (("inputs", inputs), ("label", label)) if v}, "model": model or None,
        "weights": str(Path(weights).resolve()) if weights else None, "scope": scope, "head": head or None,
        "detectors": listed(detectors), "seed": seed, "epochs": epochs, "notes": list(notes),
    }  # fmt: skip
    return workspace.new_run(title or Path(spec).name, settings)


def do_run(run: Run, progress: Progress = silent) -> None:
    """Do a queued run from its settings: open the data, load or train the model, score.

    Raises
    ------
    InputError
        If model, data and settings do not fit together.
    Cancelled
        If the user asked for it meanwhile.
    """
    settings = run.settings
    _check(settings["scope"], settings["detectors"])
    with run.job("score").doing(progress) as report:
        report("opening the data", 0, 1)
        dataset = run.open_dataset()
        facts: dict[str, Any] = {}
        if settings.get("model") or settings.get("weights"):
            weights = Path(settings["weights"]) if settings.get("weights") else None
            classifier = load_model(settings.get("model"), weights, dataset)
            facts["model_source"] = f"weights {weights.name}" if weights else "made by the owner's factory"
        else:
            trained = train(dataset, seed=settings["seed"], epochs=settings.get("epochs"), progress=report)
            classifier = trained.classifier
            run.add_file("model.safetensors", lambda path: save_weights(classifier, path))
            facts["model_source"] = f"starter model trained here on 90 % of the samples, {trained.epochs} epochs"
            facts["held_out_accuracy"] = trained.accuracy
        _score(run, classifier, dataset, report, facts)


def estimate(dataset: Dataset, classifier: Classifier | None = None) -> Estimate:
    """Time and memory that a run will take, from a few timed samples.

    Without a classifier the starter model's training is counted too: a training step takes about three forward passes.
    """
    rows = np.linspace(0, len(dataset) - 1, min(PROBED, len(dataset))).astype(int)
    passes = 1.0
    if classifier is None:
        with torch.random.fork_rng(devices=[]):
            classifier = untrained(dataset)
        classifier.module.eval()
        passes += 3 * schedule(classifier.name, len(dataset))[1]
    started = time.perf_counter()
    encoded = []
    for i in rows:
        try:
            encoded.append(classifier.encode(dataset.load(int(i))))
        except SampleError:
            continue
    reading = time.perf_counter() - started
    if encoded:
        classifier.logits(classifier.collate(encoded))
    forward = time.perf_counter() - started - reading
    width = max((m.in_features for m in classifier.module.modules() if isinstance(m, nn.Linear)), default=0)
    # float16 factors of every sample twice, float32 while neighbours are searched, and one batch of float64.
    per_sample = (width + len(dataset.class_names)) * (2 + 2 + 4) + 200
    seconds = (reading * min(passes, 2) + forward * passes) / max(len(rows), 1) * len(dataset)
    return Estimate(seconds, per_sample * len(dataset) + BATCH * width * 8 + 4 * classifier.parameters)


def _check(scope: str, names: str | list[str]) -> None:
    if scope not in SCOPES:
        raise InputError(f"unknown scope {scope!r}; there is: {', '.join(SCOPES)}")
    detectors.chosen(names)


def _score(run: Run, classifier: Classifier, dataset: Dataset, progress: Progress, facts: dict[str, Any]) -> None:
    started = time.monotonic()
    settings = run.settings
    outputs = label_indices(classifier, dataset)
    head_name, head = _head(classifier, dataset, settings.get("head"))
    n = len(dataset)
    failed: list[Unreadable] = []
    parts: list[dict[str, np.ndarray]] = []
    with captured_features(head) as seen:
        for start in range(0, n, BATCH):
            rows, batch, ids = [], [], []
            for i in range(start, min(start + BATCH, n)):
                try:
                    if dataset.labels[i] < 0:
                        raise SampleError("has no label")
                    batch.append(classifier.encode(dataset.load(i)))
                    ids.append(dataset.sample_id(i))
                    rows.append(i)
                except SampleError as error:
                    failed.append(Unreadable(i, str(dataset.sources[i]), str(error)))
            if rows:
                seen.clear()
                logits = classifier.logits(classifier.collate(batch))
                part = _part(logits, seen[-1], np.array(rows), np.array(ids), outputs[dataset.labels[rows]], outputs)
                bad = ~part.pop("finite")
                failed += [Unreadable(r, str(dataset.sources[r]), "the model's output is not finite")
                           for r in part["index"][bad].tolist()]  # fmt: skip
                parts.append({name: values[~bad] for name, values in part.items()})
            progress("scoring", min(start + BATCH, n), n)
    whole = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}
    if not parts or len(whole["index"]) < 2:
        raise InputError(f"only {len(whole.get('index', ()))} of {n:,} samples could be scored; the first reason: "
                         + (f"{failed[0].source}: {failed[0].reason}" if failed else "there are no samples"))  # fmt: skip
    # In the order of the ids: the forest and the random control draw positions, and a score must not depend on the row.
    by_id = np.argsort(whole["sample_id"], kind="stable")
    factors = Factors(*(whole[name][by_id] for name in FACTORS))
    gradients = detectors.Gradients(factors, *(whole[name][by_id] for name in ("l1", "l2", "loss")))
    scores = detectors.scores(detectors.chosen(settings["detectors"]), gradients, seed=settings["seed"], progress=progress)
    back = np.argsort(by_id)
    table = _table(dataset, whole, {name: s[back] for name, s in scores.items()}, outputs, classifier.class_names)
    progress("writing", 0, 1)
    for name in FACTORS:
        run.add_file(f"{name}.npy", partial(save_array, whole[name]))
    reasons = pd.DataFrame({"index": [f.index for f in failed], "source": [f.source for f in failed],
                            "reason": [f.reason for f in failed]})  # fmt: skip
    run.add_file(NOT_SCORED, lambda path: reasons.to_parquet(path, index=False))
    run.add_file(TABLE, lambda path: table.to_parquet(path, index=False))
    progress("writing", 1, 1)
    notes = [*settings.get("notes", ()), *dataset.notes, *classifier.notes]
    run.set_summary({
        "class_names": dataset.class_names, "kind": dataset.kind, "model": classifier.name, "held_out_accuracy": None,
        "agreement": float((table["predicted"] == table["label"]).mean()), "scope": settings["scope"], "head": head_name,
        "mapping": class_mapping(classifier, dataset), "notes": notes, "samples": n, "scored": len(table),
        "not_scored": len(failed), "seconds": round(time.monotonic() - started, 3), "seed": settings["seed"],
        "detectors": list(scores), **facts,
    })  # fmt: skip


def _head(classifier: Classifier, dataset: Dataset, name: str | None) -> tuple[str, nn.Linear]:
    encoded = []
    for i in range(len(dataset)):
        try:
            encoded.append(classifier.encode(dataset.load(i)))
        except SampleError:
            continue
        if len(encoded) == LOOKED_AT:
            break
    if not encoded:
        raise InputError("none of the samples can be read")
    return find_head(classifier.module, classifier.logits, classifier.collate(encoded), name or classifier.head)


def _part(
    logits: torch.Tensor, features: torch.Tensor, rows: np.ndarray, ids: np.ndarray, given: np.ndarray, outputs: np.ndarray
) -> dict[str, np.ndarray]:
    labels = torch.from_numpy(given)
    g = head_gradients(logits, features, labels)
    finite = np.isfinite(g.residuals).all(1) & np.isfinite(g.features).all(1) & np.isfinite(g.losses)
    residuals, residual_norms = unit_rows(np.where(finite[:, None], g.residuals, 0))
    hidden, feature_norms = unit_rows(np.where(finite[:, None], g.features, 0))
    others = torch.full_like(logits, -torch.inf)
    others[:, outputs] = logits[:, outputs]
    others[torch.arange(len(labels)), labels] = -torch.inf
    return {
        "index": rows, "sample_id": ids, "finite": finite, "predicted": logits.argmax(1).numpy(),
        "best_other": others.argmax(1).numpy(), "loss": g.losses, "l1": g.l1, "l2": g.l2, "residuals": residuals,
        "features": hidden, "residual_norms": residual_norms, "feature_norms": feature_norms,
    }  # fmt: skip


def _table(
    dataset: Dataset, whole: dict[str, np.ndarray], scores: dict[str, np.ndarray], outputs: np.ndarray, names: list[str] | None
) -> pd.DataFrame:
    name_of = np.array(names or dataset.class_names, dtype=object)
    given = np.array(dataset.class_names, dtype=object)[dataset.labels[whole["index"]]]
    predicted = name_of[whole["predicted"]]
    # A sample cannot be relabelled to itself, nor to a class that only the model has.
    second = (predicted == given) | ~np.isin(whole["predicted"], outputs)
    return pd.DataFrame({
        "sample_id": whole["sample_id"], "index": whole["index"],
        "source": [str(dataset.sources[int(i)]) for i in whole["index"]],
        "label": given, "predicted": predicted, "loss": whole["loss"], "confidence": np.exp(-whole["loss"]),
        **scores,
        "suggested_label": np.where(second, name_of[whole["best_other"]], predicted),
        "suggested_label_source": np.where(second, "model's second choice", "model prediction"),
    })  # fmt: skip
