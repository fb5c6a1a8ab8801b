"""The command line: the same road as the dashboard, without a browser."""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from oga_core import experiments, hub, models, scoring, serving, upkeep, worker
from oga_core.children import wait
from oga_core.containment import list_bounds, reading
from oga_core.data import SOURCES, open_dataset
from oga_core.data.examples import EXAMPLES
from oga_core.detectors import DEFAULT, Interval, named
from oga_core.errors import InputError, one_line, shorten
from oga_core.export import FORMATS, WHAT, export
from oga_core.files import resolve_path
from oga_core.floors import check_floors
from oga_core.limits import LIMITS, set_limits
from oga_core.progress import Cancelled
from oga_core.runs import Run, Workspace, recommend
from oga_core.runs.run import TABLE
from oga_core.runs.stale import stale
from oga_core.runs.workspace import restore
from oga_core.terminal import (
    BAD_INPUT,
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    Bar,
    OutputError,
    complete_streams,
    flush,
    notify,
    say,
    show_traceback,
    write,
)

TRACEBACK = "OGA_TRACEBACK"
"""Environment variable: with 1, the traceback is shown of what has ended a command."""
LONG_WORD = re.compile(r"\S{256,}")
"""What no file name is, and nobody reads."""
REPORTED = ("samples", "scored", "not_scored", "seconds", "model", "model_source", "held_out_accuracy", "detectors", "notes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    It is 0, 2 for bad input and for files that cannot be read or written, 130 when interrupted, 141 when the reader of the output
    has gone, and 1 when the output cannot be written or for an error of OGA's own. Each is one line on stderr.
    """
    try:
        options = _parser().parse_args(arguments)
        _check_current_folder()
        check_floors()
        set_limits(getattr(options, "limits", ()))
        if getattr(options, "allow_hub", False):
            hub.allow()
        return int(options.do(options) or 0)
    except (KeyboardInterrupt, Cancelled):
        notify("oga: stopped")
        return INTERRUPTED
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries in other languages raise kinds of their own
        return _report(error)


def apply_options(arguments: Sequence[str]) -> Workspace | None:
    """Set the limits that a command names; return the workspace that it works in, None where it has none or there is none."""
    try:
        options = _parser().parse_args(arguments)
        set_limits(options.limits)
        return _existing(options)
    except (InputError, OSError, AttributeError):
        return None


def _check_current_folder() -> None:
    """InputError where it has been deleted: PyTorch would end the process."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError("the current folder has been deleted; change to another one") from error


def _report(error: BaseException) -> int:
    """Say in one line what has ended a command; returns its exit code."""
    if os.environ.get(TRACEBACK) == "1":
        show_traceback(error)
    if isinstance(error, OutputError):
        if error.code != BROKEN_PIPE:
            notify(f"oga: {error}")
        return error.code
    if isinstance(error, InputError):
        notify("oga: " + LONG_WORD.sub(lambda found: shorten(found[0]), " ".join(str(error).split())))
        return BAD_INPUT
    if isinstance(error, OSError):
        name = f"{shorten(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
        notify(f"oga: {name}{error.strerror or one_line(error) or type(error).__name__}")
        return BAD_INPUT
    notify(f"oga: unexpected {type(error).__name__}: {shorten(one_line(error), 500)} ({TRACEBACK}=1 shows the traceback)")
    return FAILED


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as is done with all bad input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            write(message, file, end="")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="oga", description="Find the training samples that hurt a deep model.")
    parser.add_argument("--version", action="version", version=f"oga {version('oga-core')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    limited = _Parser(add_help=False)
    limited.add_argument(
        "--limit",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="limits",
        help="change how much is read of a file (see oga limits); may be repeated",
    )
    common = _Parser(add_help=False, parents=[limited])
    common.add_argument(
        "--workspace", metavar="DIR", type=_path, help="folder of the runs (default: OGA_WORKSPACE, else your data folder)"
    )
    data = _Parser(add_help=False)
    data.add_argument(
        "data", metavar="DATA", type=_path, help=f"folder of images, {', '.join(SOURCES)}, or torchvision:NAME:FOLDER"
    )
    data.add_argument(
        "--inputs", metavar="NAME", help="column of the text (two as 'a,b', prompt and answer as 'a>b'), or array of the samples"
    )
    data.add_argument("--label", metavar="NAME", help="column or array of the given labels")

    networked = _Parser(add_help=False)
    networked.add_argument(
        "--allow-hub", action="store_true", help="weights may be named as on the Hugging Face hub and are fetched from there"
    )

    demo = commands.add_parser("demo", parents=[common], help="the dashboard on an embedded example")
    demo.add_argument("--example", choices=list(EXAMPLES), default="digits")
    _server_options(demo, _demo)

    serve = commands.add_parser("serve", parents=[common, networked], help="the dashboard")
    serve.add_argument(
        "--root",
        metavar="DIR",
        action="append",
        default=[],
        type=_path_of_file,
        help="the page may open data by path below it; may be repeated (default: this folder)",
    )
    _server_options(serve, _serve)

    fit = commands.add_parser("train", parents=[data, limited], help="train a starter model")
    fit.add_argument("--arch", metavar="NAME", help="architecture (default: the starter that suits the data)")
    fit.add_argument("--out", metavar="FILE", required=True, type=_path_of_file, help="weights, .safetensors")
    fit.add_argument("--seed", type=_seed, default=0)
    fit.add_argument("--epochs", type=int, help="times that each sample is seen")
    fit.set_defaults(do=_train)

    score = commands.add_parser("score", parents=[data, common, networked], help="score every sample")
    score.add_argument("--model", metavar="NAME", help="architecture, or package.module:function (default: a starter is trained)")
    score.add_argument(
        "--weights", metavar="FILE", type=_path, help=".safetensors, a state dict in .pt, or a Hugging Face folder or zip of one"
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
    score.add_argument("--seed", type=_seed, default=0)
    score.add_argument("--json", action="store_true", help="print the result as one JSON object")
    score.set_defaults(do=_score)

    resume = commands.add_parser("resume", parents=[common], help="go on with a run that was stopped or killed")
    resume.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    resume.add_argument("--json", action="store_true", help="print the result as one JSON object")
    resume.set_defaults(do=_resume)

    advice = commands.add_parser("recommend", parents=[common], help="which score to trust, and how much to trim")
    advice.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    advice.add_argument("--json", action="store_true", help="print it with all its evidence as one JSON object")
    advice.set_defaults(do=_recommend)

    pushes = commands.add_parser(
        "influence",
        parents=[common, networked],
        help="training samples that push a language model or classifier of texts towards a test sample, and against it",
    )
    pushes.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    pushes.add_argument("--prompt", metavar="TEXT", help="the test prompt; of a classifier the text")
    pushes.add_argument("--answer", metavar="TEXT", help="its answer; of a classifier the name of its class")
    pushes.add_argument("--row", metavar="N", type=int, help="instead of both: a sample of the run, by its row in the table")
    pushes.add_argument("--top", metavar="N", type=int, default=10, help="samples of each kind (default: %(default)s)")
    pushes.add_argument("--json", action="store_true", help="print both lists as one JSON object")
    pushes.set_defaults(do=_influence)

    write = commands.add_parser("export", parents=[common], help="write a list or the cleaned data")
    write.add_argument("run", metavar="RUN", help="id of a run, or its unique beginning")
    write.add_argument("--format", choices=list(FORMATS), required=True)
    write.add_argument("--what", choices=list(WHAT), default="removed")
    write.add_argument("--detector", metavar="NAME", help="with --budget: flagged samples count too, marked as such")
    write.add_argument("--budget", type=float, help="share of the samples, or a number of them")
    write.add_argument("--out", metavar="FILE", required=True, type=_path_of_file)
    write.set_defaults(do=_export)

    runs = commands.add_parser("runs", parents=[common], help="list the runs, newest first")
    runs.add_argument("--json", action="store_true", help="print a JSON list")
    runs.add_argument("--trash", action="store_true", help="list those that were deleted, the last one first")
    runs.set_defaults(do=_runs)

    upkeep.add_commands(commands, common, say)

    restored = commands.add_parser("restore", parents=[common], help="put the backup of a damaged workspace file in its place")
    restored.set_defaults(do=_restore)

    bounds = commands.add_parser("limits", parents=[limited], help="size limits for untrusted files, and of the image cache")
    bounds.add_argument("--json", action="store_true", help="print a JSON list")
    bounds.set_defaults(do=_limits)

    repeat = commands.add_parser("reproduce", help="repeat an experiment of the paper")
    repeat.add_argument("experiment", metavar="NAME", help=", ".join(experiments.EXPERIMENTS))
    repeat.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        type=_path_of_file,
        help="folder of table, figures and report; the same again goes on where it was interrupted",
    )
    repeat.add_argument(
        "--data", metavar="DIR", type=_path_of_file, help="folder of the data (default: what every installation has)"
    )
    repeat.add_argument("--seeds", metavar="N", type=int, help="how many (default: as many as the experiment needs)")
    repeat.add_argument("--quick", action="store_true", help="smaller, to see that it works")
    repeat.add_argument("--samples", metavar="N", type=int, help="training samples at most, in the vision experiment")
    repeat.add_argument("--arch", metavar="NAME", help="model to train, in the vision, text and shift experiments")
    repeat.add_argument("--device", default="cpu", help="cpu or cuda, for transformers (default: %(default)s)")
    repeat.add_argument(
        "--part",
        metavar="SETTING:SEED",
        help="do only this, in the text and llm experiments; without it the parts in the folder are put together",
    )
    repeat.set_defaults(do=_reproduce)

    bench = commands.add_parser("bench", help="measure what things cost on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
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
    pages = benches.add_parser("dashboard", help="what a person waits for, in a real Chromium")
    pages.add_argument(
        "--samples",
        metavar="N",
        type=int,
        action="append",
        help="size of the run; may be repeated (default: 10,000, 100,000 and 1,000,000)",
    )
    pages.add_argument("--repeats", type=int, default=7, help="tries of each (default: %(default)s)")
    pages.add_argument("--keep", metavar="DIR", type=_path_of_file, help="a workspace for the runs, which are used again from it")
    pages.add_argument("--json", action="store_true", help="print a JSON list")
    pages.set_defaults(do=_bench_dashboard)
    return parser


def _seed(written: str) -> int:
    if not written.isdecimal() or int(written) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{written!r} is not a whole number from 0 to 4294967295")
    return int(written)


def _port(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and 0 < int(written[:6]) < 1 << 16):
        raise argparse.ArgumentTypeError(f"port {written[:20]}: a port is a number from 1 to 65535")
    return int(written)


def _path(written: str) -> str:
    """A path that a file can have; a name on the hub, or a torchvision set with its folder, is one too."""
    if not written:
        raise argparse.ArgumentTypeError("an empty path")
    try:
        os.lstat(os.path.expanduser(written))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shorten(written)}: a path cannot hold a NUL character") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise argparse.ArgumentTypeError(f"{shorten(written)}: {error.strerror}") from None
    return written


def _path_of_file(written: str) -> Path:
    return Path(_path(written))


def _server_options(parser: argparse.ArgumentParser, do: object) -> None:
    parser.add_argument("--port", type=_port, default=serving.PORT, help="where it listens (default: %(default)s)")
    parser.add_argument(
        "--address",
        metavar="A",
        default=serving.ADDRESS,
        help="likewise; on any but this machine's own the URL has a token (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        dest="hosts",
        help="a name by which it is reached, beside the address; may be repeated",
    )
    parser.add_argument(
        "--origin",
        metavar="URL",
        action="append",
        default=[],
        dest="origins",
        help="where a tunnel or proxy leads to it from, as the browser has it, such as https://oga.example.org; may be repeated",
    )
    parser.add_argument(
        "--token", action="store_true", help="the URL has a token in any case: no other user of the machine is let in"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.set_defaults(do=do)


def _demo(options: argparse.Namespace) -> int:
    def begin(workspace: Workspace) -> str:
        run = scoring.prepare_example(workspace, options.example)
        worker.start(run, "score")  # it has begun by the time the server answers
        return f"?run={run.id}"

    return _until_stopped(options, begin)


def _serve(options: argparse.Namespace) -> int:
    for root in options.root:
        if not root.is_dir():
            raise InputError(f"root {root} is not a folder")
    return _until_stopped(options, roots=[resolve_path(root, "root") for root in options.root])


def _until_stopped(
    options: argparse.Namespace, begin: Callable[[Workspace], str] = lambda workspace: "", roots: Sequence[Path] = ()
) -> int:
    """Serve the page that ``begin`` names until Ctrl+C, SIGTERM or SIGHUP, or until the server ends."""
    serving.find_place(options.address, options.port, options.hosts)  # before anything is created
    workspace = Workspace(options.workspace)
    with _stopped_by_signals():
        dashboard = serving.serve(
            workspace,
            port=options.port,
            page=begin(workspace),
            roots=roots,
            address=options.address,
            hosts=options.hosts,
            origins=options.origins,
            token=options.token,
        )
        try:
            _say_where(dashboard, workspace, serving.is_loopback(options.address))
            if not options.no_browser and not dashboard.open_browser():
                notify("note: no browser could be opened; open the URL yourself")
            code = wait(dashboard.process)
        finally:
            dashboard.stop()
    if code < 0:
        notify(f"oga: the server was ended by {signal.Signals(-code).name}")
        return FAILED
    return code


def _say_where(dashboard: serving.Dashboard, workspace: Workspace, loopback: bool) -> None:
    if workspace.read_only:
        notify(f"note: {workspace.read_only}")
    notify(f"OGA is at {dashboard.url} (Ctrl+C stops it)")
    if dashboard.redirect is None:
        notify("Every user of this machine can open it; --token asks for a launch token.")
    elif loopback:
        notify("Anyone on this machine who has this URL is let in.")
    else:
        notify("Anyone who has this URL is let in. The connection is not encrypted: a tunnel, or a proxy with TLS, is safer.")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """While open, SIGTERM and SIGHUP do what Ctrl+C does; one that is ignored, as SIGHUP by nohup, stays ignored."""
    interrupt = signal.getsignal(signal.SIGINT)
    handler = interrupt if callable(interrupt) else signal.default_int_handler
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP", "SIGBREAK"))
    before = {number: signal.getsignal(number) for number in numbers if number is not None}
    heeded = [number for number, old in before.items() if old != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heeded:
            if signal.getsignal(number) is handler:  # else the command is being stopped
                signal.signal(number, before[number])


def _train(options: argparse.Namespace) -> None:
    if options.out.suffix != ".safetensors":
        raise InputError(f"--out {options.out}: weights are saved as .safetensors")
    if not options.out.resolve().parent.is_dir():
        raise InputError(f"--out {options.out}: its folder is not there")
    with reading():
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


def _existing(options: argparse.Namespace) -> Workspace:
    """The workspace of a command that needs one, and creates none where its name is mistyped."""
    return Workspace(options.workspace, create=False)


def _resume(options: argparse.Namespace) -> None:
    run = _existing(options).run(options.run)
    damaged = [name for name in run.file_names() if not run.intact(name)]
    if run.status().state == "done" and not damaged:
        raise InputError(f"run {run.id} is done; there is nothing to go on with")
    run.require_model()
    run.remove_files(damaged)
    _do(run, options.json)


def _do(run: Run, as_json: bool) -> None:
    """Do a run that has been entered, and tell what came of it."""
    try:
        with Bar() as bar:
            scoring.do_run(run, bar)
    except (KeyboardInterrupt, Cancelled):
        notify(f"oga resume {run.id} goes on where it was stopped")
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


def _recommend(options: argparse.Namespace) -> None:
    run = _existing(options).run(options.run)
    found = recommend(run)
    _say_stale(run)
    if options.json:
        write(json.dumps(found.to_dict()))
        return
    say(f"recommended score: {' and '.join(named(name).title for name in found.detectors)}")
    say(f"labels estimated wrong: {_in_percent(found.wrong)}")
    if found.at_budget is None:
        say("suggested budget: nothing to trim")
    else:
        say(
            f"suggested budget: {found.budget:.4f} ({round(found.budget * len(run.table)):,} samples), "
            f"of which wrong: {_in_percent(found.at_budget.precision)}"
        )
    for true, given, count in found.mistaken[:5]:
        say(f"mistaken: {count:.1f} samples of {true} are labelled {given}")


def _influence(options: argparse.Namespace) -> None:
    from oga_core import influence  # seconds, which most commands should not wait

    run = _existing(options).run(options.run)
    _say_stale(run)
    if options.top < 1:
        raise InputError(f"--top {options.top}: at least one is needed")
    if (options.row is None) == (options.prompt is None) or (options.prompt is None) != (options.answer is None):
        raise InputError("give a test sample: --prompt with --answer, or --row")
    with reading():
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
    run = _existing(options).run(options.run)
    _say_stale(run)
    count = export(run, options.what, options.format, options.out, detector=options.detector, budget=options.budget)
    say(f"{options.out}: {count:,} rows")


def _runs(options: argparse.Namespace) -> None:
    workspace = _existing(options)
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
            part=options.part,
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
    write(json.dumps(rows) if options.json else benchmarks.markdown(rows))


def _bench_dashboard(options: argparse.Namespace) -> None:
    from oga_core.benchmarks import dashboard

    with Bar() as bar:
        rows = [
            row
            for samples in options.samples or dashboard.SIZES
            for row in dashboard.measure(samples, repeats=options.repeats, keep=options.keep, progress=bar)
        ]
    write(json.dumps(rows) if options.json else dashboard.markdown(rows))


if __name__ == "__main__":
    complete_streams()
    sys.exit(flush(main()))
