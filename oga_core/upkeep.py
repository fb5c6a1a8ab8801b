"""Commands that look after a workspace: ``oga delete``, ``undelete``, ``clean`` and ``workspace``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from oga_core.errors import InputError
from oga_core.runs import Workspace
from oga_core.runs.cleaning import clean, describe, plan_cleaning
from oga_core.runs.removal import Size, format_bytes
from oga_core.runs.sizes import RunSize, measure_workspace

LARGEST = 10
"""Runs that ``oga workspace`` lists."""

Say = Callable[[str], object]


def add_commands(commands: Any, common: argparse.ArgumentParser, say: Say) -> None:
    """Add the commands to a parser.

    Parameters
    ----------
    commands
        What ``add_subparsers`` of the parser has returned.
    common
        Parser of the options that they share, with ``--workspace``.
    say
        Called with each line of output.
    """
    delete = commands.add_parser("delete", parents=[common], help="move runs to the trash, which oga clean empties")
    delete.add_argument("runs", metavar="RUN", nargs="+", help="id of a run, or its unique beginning")
    delete.set_defaults(do=partial(_delete, say))

    undelete = commands.add_parser("undelete", parents=[common], help="put runs back from the trash")
    undelete.add_argument("runs", metavar="RUN", nargs="+", help="id of a run in the trash, or its unique beginning")
    undelete.set_defaults(do=partial(_undelete, say))

    empty = commands.add_parser("clean", parents=[common], help="empty the trash, and remove what no run needs any more")
    empty.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    empty.set_defaults(do=partial(_clean, say))

    measure = commands.add_parser("workspace", parents=[common], help="how much disk runs, trash, uploads and decisions take")
    measure.add_argument("--json", action="store_true", help="print all sizes as one JSON object")
    measure.set_defaults(do=partial(_measure, say))


def _find_existing(options: argparse.Namespace) -> Workspace:
    return Workspace(options.workspace, create=False)


def _delete(say: Say, options: argparse.Namespace) -> None:
    workspace = _find_existing(options)
    for run in workspace.delete(options.runs):
        say(f"deleted: {run.id}  {run.title}")
    plan = plan_cleaning(workspace, {run.id for run in workspace.trash()})
    count = len(plan.of("run"))
    size = sum((one.size for one in (*plan.of("run"), *plan.of("upload"))), Size())
    many, them, whose = ("runs are", "them", "Their") if count != 1 else ("run is", "it", "Its")
    say(
        f"{count:,} {many} in the trash ({format_bytes(size.bytes)}); oga clean removes {them} for good, "
        f"oga undelete puts {them} back. {whose} decisions stay."
    )


def _undelete(say: Say, options: argparse.Namespace) -> None:
    for run in _find_existing(options).undelete(options.runs):
        say(f"put back: {run.id}  {run.title}")


def _clean(say: Say, options: argparse.Namespace) -> None:
    workspace = _find_existing(options)
    plan = plan_cleaning(workspace)
    for one in plan.removed:
        say(f"{one.kind:<6}  {one.name}  {format_bytes(one.size.bytes)}{'  ' if one.title else ''}{one.title}")
    if not plan.removed:
        say("nothing to remove: the trash is empty")
    elif options.dry_run:
        say(f"oga clean would remove {describe(plan)}. Decisions stay.")
    if options.dry_run:
        return
    if plan.removed:
        say(f"removing {describe(plan)}")
    done = clean(workspace)  # even where nothing is planned: rows of an earlier cleaning that was killed
    if done.removed:
        say(f"removed {describe(done)}. Decisions stay.")
    if done.failed:
        raise InputError("; ".join(done.failed))


def _measure(say: Say, options: argparse.Namespace) -> None:
    sizes = measure_workspace(_find_existing(options))
    if options.json:
        say(json.dumps(sizes.to_dict()))
        return
    say(f"{sizes.path} (schema {sizes.schema})")
    if sizes.read_only:
        say(f"note: {sizes.read_only}")
    rows = [
        ("runs", f"{len(sizes.runs):,}", _bytes_of(sizes.runs)),
        ("trash", f"{len(sizes.trash):,}", _bytes_of(sizes.trash)),
        ("uploads in use", f"{sizes.used.files:,}", sizes.used.bytes),
        ("uploads unused", f"{sizes.unused.files:,}", sizes.unused.bytes),
        ("examples", f"{sizes.examples.files:,}", sizes.examples.bytes),
        ("database", f"{sizes.database.files:,}", sizes.database.bytes),
        ("database copies", f"{sizes.copies.files:,}", sizes.copies.bytes),
        ("other files", f"{sizes.other.files:,}", sizes.other.bytes),
        ("total", "", sizes.total.bytes),
        ("free on the disk", "", sizes.free),
    ]
    for name, count, size in rows:
        say(f"{name:<16}  {count:>7}  {format_bytes(size):>8}")
    say(f"{'decisions':<16}  {sizes.events:>7,}  on {sizes.decided:,} samples")
    largest = sorted(sizes.runs, key=lambda run: -run.bytes)[:LARGEST]
    if largest:
        say("largest runs" if len(sizes.runs) > LARGEST else "runs, largest first")
    for run in largest:
        samples = "not scored" if run.samples is None else f"{run.samples:,} samples"
        say(f"  {run.run}  {run.state:<9}  {samples:>17}  {format_bytes(run.bytes):>8}  {run.title}")


def _bytes_of(runs: list[RunSize]) -> int:
    return sum(run.bytes for run in runs)
