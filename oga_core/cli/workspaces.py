"""``oga runs``, ``oga restore`` and ``oga limits``, and the commands of `oga_core.upkeep`."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

from oga_core import upkeep
from oga_core.cli.arguments import Shared, open_existing
from oga_core.containment import list_bounds
from oga_core.limits import LIMITS
from oga_core.runs.workspace import restore
from oga_core.terminal import say, write


def add_commands(commands: Any, shared: Shared) -> None:
    """Add ``runs``, ``restore``, ``limits`` and those of `upkeep` to a parser's commands."""
    runs = commands.add_parser("runs", parents=[shared.common], help="list the runs, newest first")
    runs.add_argument("--json", action="store_true", help="print a JSON list")
    runs.add_argument("--trash", action="store_true", help="list those that were deleted, the last one first")
    runs.set_defaults(do=_runs)

    upkeep.add_commands(commands, shared.common, say)

    restored = commands.add_parser(
        "restore", parents=[shared.common], help="put the backup of a damaged workspace file in its place"
    )
    restored.set_defaults(do=_restore)

    bounds = commands.add_parser(
        "limits", parents=[shared.limited], help="size limits for untrusted files, and of the image cache"
    )
    bounds.add_argument("--json", action="store_true", help="print a JSON list")
    bounds.set_defaults(do=_limits)


def _runs(options: argparse.Namespace) -> None:
    workspace = open_existing(options)
    runs = workspace.trash() if options.trash else workspace.runs()
    if options.json:
        write(json.dumps([{"run": r.id, "title": r.title, "created": r.created, "state": r.status().state} for r in runs]))
        return
    for run in runs:
        say(f"{run.id}  {run.status().state:<9}  {run.created}  {run.title}")


def _restore(options: argparse.Namespace) -> None:
    aside, before, saved = restore(options.workspace)
    say(f"{before:,} events are back, and {saved:,} more that could still be read; the damaged file is kept as {aside}")


def _limits(options: argparse.Namespace) -> None:
    if options.json:
        write(json.dumps([{"name": x.name, "value": x.value, "unit": x.unit, "of": x.meaning} for x in LIMITS.values()]))
        return
    for limit in LIMITS.values():
        say(f"{limit.name:<17} {limit.value:>15,} {limit.unit:<10} {limit.meaning}")
    say(f"Sandbox: the process that reads untrusted files, on {platform.system()}")
    for bound in list_bounds():
        say(f"{bound.name:<17} {'holds' if bound.holds else 'does not hold':<15} {bound.meaning}")
