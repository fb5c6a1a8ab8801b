"""``oga recommend``, ``oga influence`` and ``oga export``: what a finished run says."""

from __future__ import annotations

import argparse
import json
from typing import Any

from oga_core.cli.arguments import Shared, open_existing, parse_file
from oga_core.containment import bound_reading
from oga_core.detectors import Interval, make_detector
from oga_core.errors import InputError
from oga_core.export import FORMATS, WHAT, export
from oga_core.runs import Run, recommend
from oga_core.runs.stale import stale
from oga_core.terminal import notify, say, write


def add_commands(commands: Any, shared: Shared) -> None:
    """Add ``recommend``, ``influence`` and ``export`` to a parser's commands."""
    advice = commands.add_parser("recommend", parents=[shared.common], help="which score to trust, and how much to trim")
    advice.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    advice.add_argument("--json", action="store_true", help="print it with all its evidence as one JSON object")
    advice.set_defaults(do=_recommend)

    pushes = commands.add_parser(
        "influence",
        parents=[shared.common, shared.networked],
        help="training samples that push a language model or classifier of texts towards a test sample, and against it",
    )
    pushes.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    pushes.add_argument("--prompt", metavar="TEXT", help="the test prompt; of a classifier the text")
    pushes.add_argument("--answer", metavar="TEXT", help="its answer; of a classifier the name of its class")
    pushes.add_argument("--row", metavar="N", type=int, help="instead of both: a sample of the run, by its row in the table")
    pushes.add_argument("--top", metavar="N", type=int, default=10, help="samples of each kind (default: %(default)s)")
    pushes.add_argument("--json", action="store_true", help="print both lists as one JSON object")
    pushes.set_defaults(do=_influence)

    export_ = commands.add_parser("export", parents=[shared.common], help="write a list or the cleaned data")
    export_.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    export_.add_argument("--format", choices=list(FORMATS), required=True)
    export_.add_argument("--what", choices=list(WHAT), default="removed")
    export_.add_argument("--detector", metavar="NAME", help="with --budget: flagged samples count too, marked as such")
    export_.add_argument("--budget", type=float, help="share of the samples, or a number of them")
    export_.add_argument("--out", metavar="FILE", required=True, type=parse_file)
    export_.set_defaults(do=_export)


def _recommend(options: argparse.Namespace) -> None:
    run = open_existing(options).run(options.run)
    found = recommend(run)
    _say_stale(run)
    if options.json:
        write(json.dumps(found.to_dict()))
        return
    say(f"recommended score: {' and '.join(make_detector(name).title for name in found.detectors)}")
    say(f"estimated label errors: {_in_percent(found.wrong)}")
    if found.at_budget is None:
        say("suggested budget: nothing to trim")
    else:
        say(
            f"suggested budget: {found.budget:.4f} ({round(found.budget * len(run.table)):,} samples), "
            f"expected precision: {_in_percent(found.at_budget.precision)}"
        )
    for true, given, count in found.mistaken[:5]:
        say(f"mistaken: {count:.1f} samples of {true} are labelled {given}")


def _influence(options: argparse.Namespace) -> None:
    from oga_core import influence  # seconds, which most commands should not wait

    run = open_existing(options).run(options.run)
    _say_stale(run)
    if options.top < 1:
        raise InputError(f"--top {options.top}: at least one is needed")
    if (options.row is None) == (options.prompt is None) or (options.prompt is None) != (options.answer is None):
        raise InputError("give a test sample: --prompt with --answer, or --row")
    with bound_reading():
        if options.row is not None:
            found = influence.influence_of_row(run, options.row)
        else:
            found = influence.influence_of(run, options.prompt, options.answer)
    lists = {"towards": influence.towards(found, options.top), "against": influence.against(found, options.top)}
    if options.json:
        write(json.dumps({name: json.loads(rows.to_json(orient="records")) for name, rows in lists.items()}))
        return
    for name, rows in lists.items():
        say(f"{name}: a step of training on these {'lowers' if name == 'towards' else 'raises'} the loss of the test sample")
        for row in rows.itertuples():
            say(f"{row.cosine:+.3f} ± {row.error:.3f}  {row.source}  {row.label}")


def _say_stale(run: Run) -> None:
    if why := stale(run):
        notify(f"note: {why}")


def _in_percent(estimate: Interval) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _export(options: argparse.Namespace) -> None:
    run = open_existing(options).run(options.run)
    _say_stale(run)
    count = export(run, options.what, options.format, options.out, detector=options.detector, budget=options.budget)
    say(f"{options.out}: {count:,} rows")
