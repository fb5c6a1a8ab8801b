"""``oga reproduce`` and ``oga bench``: experiments and measurements."""

from __future__ import annotations

import argparse
import json
from typing import Any

from oga_core import experiments
from oga_core.cli.arguments import Shared, parse_file
from oga_core.terminal import Bar, say, write


def add_commands(commands: Any, shared: Shared) -> None:
    """Add ``reproduce`` and ``bench`` to a parser's commands."""
    _add_reproduce(commands)
    bench = commands.add_parser("bench", help="measure what things cost on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    _add_gradients(benches)
    _add_dashboard(benches)


def _add_reproduce(commands: Any) -> None:
    repeat = commands.add_parser("reproduce", help="repeat an experiment of the paper")
    repeat.add_argument("experiment", metavar="NAME", help=", ".join(experiments.EXPERIMENTS))
    repeat.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        type=parse_file,
        help="folder of table, figures and report; the same folder again resumes an interrupted experiment",
    )
    repeat.add_argument(
        "--data", metavar="DIR", type=parse_file, help="folder of the data (default: what every installation has)"
    )
    repeat.add_argument("--seeds", metavar="N", type=int, help="how many (default: as many as the experiment needs)")
    repeat.add_argument("--quick", action="store_true", help="smaller, to see that it works")
    repeat.add_argument("--samples", metavar="N", type=int, help="training samples at most, in the vision experiment")
    repeat.add_argument("--arch", metavar="NAME", help="model to train, in the vision, text and shift experiments")
    repeat.add_argument("--device", default="cpu", help="cpu or cuda, for transformers (default: %(default)s)")
    repeat.add_argument(
        "--shard",
        metavar="SETTING:SEED",
        help="do only this, in the text and llm experiments; without it the shards in the folder are put together",
    )
    repeat.set_defaults(do=_reproduce)


def _add_gradients(benches: Any) -> None:
    measured = benches.add_parser("gradients", help="per-sample gradients, as a ratio to a plain forward and backward pass")
    measured.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="resnet18, encoder, bert, llama, …; may be repeated (default: the first two)",
    )
    measured.add_argument("--scope", metavar="SCOPE", help="all, head, lora, or patterns (default: lora if there are adapters)")
    measured.add_argument(
        "--against", default="all", metavar="NAMES", help="other libraries, joined by commas, all or none (default: %(default)s)"
    )
    measured.add_argument("--batch", type=int, default=64, help="samples (default: %(default)s)")
    measured.add_argument("--repeats", type=int, default=9, help="measurements of each method (default: %(default)s)")
    measured.add_argument("--threads", type=int, help="of torch (default: as many as torch takes)")
    measured.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    measured.add_argument("--dtype", default="float32", help="float32 or bfloat16 (default: %(default)s)")
    measured.add_argument("--json", action="store_true", help="print a JSON list")
    measured.set_defaults(do=_bench_gradients)


def _add_dashboard(benches: Any) -> None:
    pages = benches.add_parser("dashboard", help="what a person waits for, in a real Chromium")
    pages.add_argument(
        "--samples",
        metavar="N",
        type=int,
        action="append",
        help="size of the run; may be repeated (default: 10,000, 100,000 and 1,000,000)",
    )
    pages.add_argument("--repeats", type=int, default=7, help="tries of each (default: %(default)s)")
    pages.add_argument("--keep", metavar="DIR", type=parse_file, help="a workspace for the runs, which are used again from it")
    pages.add_argument("--json", action="store_true", help="print a JSON list")
    pages.set_defaults(do=_bench_dashboard)


def _reproduce(options: argparse.Namespace) -> None:
    with Bar() as bar:
        report = experiments.reproduce(
            options.experiment,
            data=options.data,
            out=options.out,
            seeds=options.seeds,
            quick=options.quick,
            arch=options.arch,
            samples=options.samples,
            device=options.device,
            shard=options.shard,
            progress=bar,
        )
    say(str(report))


def _bench_gradients(options: argparse.Namespace) -> None:
    from oga_core import benchmarks  # seconds, which no other command should wait

    with Bar() as bar:
        rows = benchmarks.compare(
            options.model or benchmarks.SHOWN,
            options.scope,
            options.against,
            batch=options.batch,
            repeats=options.repeats,
            threads=options.threads,
            device=options.device,
            dtype=options.dtype,
            progress=bar,
        )
    write(json.dumps(rows) if options.json else benchmarks.format_table(rows))


def _bench_dashboard(options: argparse.Namespace) -> None:
    from oga_core.benchmarks import dashboard

    with Bar() as bar:
        rows = [
            row
            for samples in options.samples or dashboard.SIZES
            for row in dashboard.measure(samples, repeats=options.repeats, keep=options.keep, progress=bar)
        ]
    write(json.dumps(rows) if options.json else dashboard.format_table(rows))
