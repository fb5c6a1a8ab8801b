"""``oga train``, ``oga score`` and ``oga resume``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from oga_core import models, scoring
from oga_core.cli.arguments import Shared, open_existing, parse_file, parse_path, parse_seed
from oga_core.containment import bound_reading
from oga_core.data import open_dataset
from oga_core.detectors import DEFAULT
from oga_core.errors import InputError
from oga_core.progress import Cancelled
from oga_core.runs import Run, Workspace
from oga_core.runs.run import TABLE
from oga_core.terminal import Bar, notify, say, write

REPORTED = ("samples", "scored", "not_scored", "seconds", "model", "model_source", "held_out_accuracy", "detectors", "notes")


def add_commands(commands: Any, shared: Shared) -> None:
    """Add ``train``, ``score`` and ``resume`` to a parser's commands."""
    fit = commands.add_parser("train", parents=[shared.data, shared.limited], help="train a starter model")
    fit.add_argument("--arch", metavar="NAME", help="architecture (default: the starter that suits the data)")
    fit.add_argument("--out", metavar="FILE", required=True, type=parse_file, help="weights, .safetensors")
    fit.add_argument("--seed", type=parse_seed, default=0)
    fit.add_argument("--epochs", type=int, help="number of epochs")
    fit.set_defaults(do=_train)

    _add_score(commands, shared)

    resume = commands.add_parser("resume", parents=[shared.common], help="resume a run that was stopped or killed")
    resume.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    resume.add_argument("--json", action="store_true", help="print the result as one JSON object")
    resume.set_defaults(do=_resume)


def _add_score(commands: Any, shared: Shared) -> None:
    score = commands.add_parser("score", parents=[shared.data, shared.common, shared.networked], help="score every sample")
    score.add_argument("--model", metavar="NAME", help="architecture, or package.module:function (default: a starter is trained)")
    score.add_argument(
        "--weights",
        metavar="FILE",
        type=parse_path,
        help=".safetensors, a state dict in .pt, or a Hugging Face folder or zip of one",
    )
    score.add_argument(
        "--scope",
        default="head",
        metavar="SCOPE",
        help="parameters whose gradient is taken: head, all, lora, or patterns over their names joined by commas, "
        "such as 'layer4.*' (default: %(default)s)",
    )
    score.add_argument("--head", metavar="NAME", help="the layer that gives the logits, where it is not found")
    score.add_argument(
        "--detectors",
        default=",".join(DEFAULT),
        metavar="NAMES",
        help="joined by commas: l1, l2, iforest, ocsvm, noise, the controls, pyod:NAME; each also with by_class: "
        "or oof: before it (default: %(default)s)",
    )
    score.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K more starters, each without a part of the samples, for the recommendation; 0 for none "
        "(default: 5 for texts and features, none for images)",
    )
    score.add_argument("--seed", type=parse_seed, default=0)
    score.add_argument("--json", action="store_true", help="print the result as one JSON object")
    score.set_defaults(do=_score)


def _train(options: argparse.Namespace) -> None:
    if options.out.suffix != ".safetensors":
        raise InputError(f"--out {options.out}: weights are saved as .safetensors")
    if not options.out.resolve().parent.is_dir():
        raise InputError(f"--out {options.out}: folder not found")
    with bound_reading():
        dataset = open_dataset(options.data, inputs=options.inputs, label=options.label)
    with Bar() as bar:
        trained = models.train(dataset, options.arch, seed=options.seed, epochs=options.epochs, progress=bar)
    try:
        models.save_weights(trained.classifier, options.out)
    except OSError as error:
        raise InputError(f"cannot write {options.out}: {error.strerror}") from error
    accuracy = (
        "too few samples to hold any out"
        if trained.accuracy is None
        else (f"{trained.accuracy:.1%} of {len(trained.held_out):,} held-out samples agree with their given label")
    )
    say(f"{options.out}: {trained.classifier.name}, {trained.epochs} epochs, seed {options.seed}; {accuracy}")


def _score(options: argparse.Namespace) -> None:
    run = scoring.prepare(
        Workspace(options.workspace),
        options.data,
        inputs=options.inputs,
        label=options.label,
        model=options.model,
        weights=options.weights,
        scope=options.scope,
        head=options.head,
        detectors=options.detectors,
        seed=options.seed,
        folds=options.folds,
    )
    _do(run, options.json)


def _resume(options: argparse.Namespace) -> None:
    run = open_existing(options).run(options.run)
    damaged = [name for name in run.file_names() if not run.intact(name)]
    if run.status().state == "done" and not damaged:
        raise InputError(f"run {run.id} is done; there is nothing to resume")
    run.require_model()
    run.remove_files(damaged)
    _do(run, options.json)


def _do(run: Run, as_json: bool) -> None:
    """Do a run that has been entered, and tell what came of it."""
    try:
        with Bar() as bar:
            scoring.do_run(run, bar)
    except (KeyboardInterrupt, Cancelled):
        notify(f"oga resume {run.id} resumes it")
        raise
    summary = run.summary
    told = {"run": run.id, "table": str(run.file(TABLE)), **{key: getattr(summary, key) for key in REPORTED}}
    if as_json:
        write(json.dumps(told))
        return
    say(
        f"run {run.id}: {summary.scored:,} of {summary.samples:,} samples scored in {summary.seconds:.1f} s "
        f"by {summary.model} ({summary.model_source})"
    )
    for note in summary.notes:
        say(f"note: {note}")
    for row in run.not_scored.head(10).itertuples():
        say(f"not scored: {row.source}: {row.reason}")
    if summary.not_scored > 10:
        say(f"not scored: {summary.not_scored - 10:,} more")
    say(f"table: {told['table']}")
    say(f"look at it: oga serve --workspace {run.workspace.path}")
