"""Entering a run that is to be done, in this process or another: nothing is opened yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oga_core.data import locate
from oga_core.data.examples import EXAMPLES, make_example
from oga_core.detectors import choose_detectors, list_names
from oga_core.errors import InputError
from oga_core.gradients import SCOPES
from oga_core.hub import download_model
from oga_core.runs import DataSource, Factory, ModelSource, Run, RunSpec, Starter, Weights, Workspace


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
    folds: int | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Run:
    """Enter a run to be done by `do_run`, in this process or another.

    Parameters
    ----------
    data, inputs, label
        As `open_dataset` takes them.
    model, weights
        As `load_model` takes them; weights may also be the name of a model on the Hugging Face hub, where the owner of the
        machine allows that. Without either, the starter model that suits the data is trained.
    scope, head, detectors, seed
        As `score` takes them.
    epochs
        Of the starter model's training.
    folds
        So many more starters are trained, each without a part of the samples, for the recommendation: see `cross_fitted`. 0 for
        none; by default 5 for texts and features, and none for images, whose training takes minutes.
    title
        What the run is called in lists.
    notes
        Notes for the user, beside those of the reader.

    Raises
    ------
    InputError
        For an unknown scope or detector, or where data or weights are not found; both are opened when the run is done.
    """
    check(scope, detectors)
    if folds is not None and (folds < 0 or folds == 1):
        raise InputError(f"{folds} folds: at least two are needed, or 0 for none")
    if weights is not None and not Path(weights).exists():
        weights = download_model(str(weights))
    source = locate(data)
    spec = RunSpec(
        data=DataSource(source, inputs or None, label or None),
        model=_source_of(model, weights, Starter(epochs, folds)),
        scope=scope,
        head=head or None,
        detectors=tuple(list_names(detectors)),
        seed=seed,
        notes=tuple(notes),
    )
    return workspace.new_run(title or Path(source).name, spec)


def _source_of(model: str | None, weights: str | Path | None, starter: Starter) -> ModelSource:
    if weights:
        return Weights(str(Path(weights).resolve()), model or None)
    return Factory(model) if model else starter


def prepare_example(workspace: Workspace, name: str) -> Run:
    """Enter a run on an embedded example, whose files are written into the workspace if missing.

    Raises
    ------
    InputError
        For an unknown name.
    """
    workspace.check_writable()
    path = make_example(name, workspace.path / "examples")
    example = EXAMPLES[name]
    return prepare(workspace, path, title=example.title, notes=[example.note], folds=example.folds)


def check(scope: str, names: str | list[str]) -> None:
    """InputError for no scope, or an unknown detector."""
    if not scope.strip():
        raise InputError(f"no scope is named; there are {', '.join(SCOPES)}, and patterns over parameter names")
    choose_detectors(names)
