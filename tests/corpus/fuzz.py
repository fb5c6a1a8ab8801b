"""``python -m tests.corpus.fuzz --minutes N [--reader NAME]``: what do the readers make of damaged files?

A worker draws changes with hypothesis, makes them to a valid file and reads it. What is printed is what escaped as something
else than InputError or SampleError, what was said without the file's name or in several lines, what was warned about, what took
over 10 seconds or a gigabyte, and what ended the process; each with its seed and changes, so that it can be done again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st

from oga_core.data import SampleError, from_arrays, open_dataset
from oga_core.data.folders import Zip
from oga_core.data.images import ImageFolder, decode_image
from oga_core.errors import InputError
from oga_core.models import load_model
from tests.corpus.mutations import MUTATIONS, Mutation, mutated
from tests.corpus.seeds import SEEDS

HANG_SECONDS = 10
BYTES = 1 << 30
GUARD_BYTES = 12 << 30
IMAGES = ("png", "jpeg", "webp", "gif", "bmp")
SAMPLES = {"zip": 5, "parquet": 40, "npz": 12}
"""What the seeds of some readers hold: where the format knows how many there are, none may be left out in silence."""
ROUND = 300
"""Examples that hypothesis draws from one of its seeds."""

Recipe = tuple[int, list[Mutation]]


def attempt(reader: str, data: bytes, folder: Path) -> str:
    """Read damaged bytes as a user's file is read: ``read``, or the message that says why not; anything else is a fault."""
    if reader in IMAGES:
        try:
            return decode_image(data).mode
        except SampleError as error:
            return str(error)
    path = folder / f"damaged.{reader}"
    path.write_bytes(data)
    try:
        if reader in ("safetensors", "pt"):
            values = from_arrays(np.random.default_rng(0).random((6, 4)), np.arange(6) % 3, ["a", "b", "c"])
            load_model("feature_mlp" if reader == "pt" else None, path, values)
            return "read"
        dataset = open_dataset(path)
    except InputError as error:
        if path.name not in str(error) and reader not in ("safetensors", "pt"):
            raise AssertionError(f"the file is not named: {error}") from error
        return str(error)
    said = "read"
    there = len(dataset)
    if isinstance(dataset, ImageFolder) and isinstance(dataset.files, Zip):
        there = len(dataset.files.names) + sum(entry.is_dir() for entry in dataset.files.archive.infolist())
    if there != SAMPLES.get(reader, there):
        raise AssertionError(f"{there} are there in silence, and {SAMPLES[reader]} were given")
    for i in range(len(dataset)):
        try:
            dataset.load(i)
            dataset.text(i)
            dataset.sample_id(i)
            dataset.original(i)
        except SampleError as error:
            said = str(error)
    dataset.search("one")
    return said


def data_of(reader: str, recipe: Recipe) -> bytes:
    """The damaged bytes of a recipe: which seed, and what is done to it."""
    which, mutations = recipe
    return mutated(SEEDS[reader][which % len(SEEDS[reader])](), mutations)


def _work(reader: str, number: int, sent: Connection) -> None:
    """Draw and read for ever; send each recipe before it is read, and what was wrong after."""
    resource.setrlimit(resource.RLIMIT_AS, (GUARD_BYTES, GUARD_BYTES))
    crc = st.just([("crc",)]) if reader == "png" else st.just([])
    recipes = st.tuples(st.integers(0, 7), st.lists(MUTATIONS, min_size=1, max_size=4), st.one_of(st.just([]), crc))
    folder = Path(tempfile.mkdtemp())

    def one(drawn: tuple[int, list[Mutation], list[Mutation]]) -> None:
        recipe = (drawn[0], drawn[1] + drawn[2])
        sent.send(("reading", recipe, ""))
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fault = ""
        with warnings.catch_warnings(record=True) as warned:
            try:
                said = attempt(reader, data_of(reader, recipe), folder)
                if "\n" in said or not said.isprintable():
                    fault = f"said in several lines or unprintable: {said!r}"
            except BaseException as error:
                fault = _place(error)
        if warned and not fault:
            fault = f"warned: {warned[0].category.__name__}: {re.sub('[0-9]+', '#', str(warned[0].message))[:60]}"
        if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > BYTES:
            fault = f"memory over 1 GB; {fault}"
        if time.monotonic() - started > HANG_SECONDS:
            fault = f"slow: over {HANG_SECONDS} s; {fault}"
        sent.send(("read", recipe, fault))

    while True:
        number += 1
        drawing = settings(
            database=None, deadline=None, max_examples=ROUND, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        seed(number)(drawing(given(recipes)(one)))()


def _place(error: BaseException) -> str:
    """Kind and place of an exception, the same for the same fault."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "oga_core" in f.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else "?"
    words = f": {str(error)[:80]}" if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} at {where}{words}"


def fuzz(reader: str, minutes: float, number: int = 0) -> tuple[int, dict[str, tuple[Recipe, int]]]:
    """Fuzz one reader; returns how many files were read, and each fault with its first recipe and how often it came."""
    faults: dict[str, tuple[Recipe, int]] = {}
    count = 0
    end = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("fork")
    while time.monotonic() < end:
        received, sent = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(reader, number, sent), daemon=True)
        child.start()
        sent.close()
        recipe: Recipe = (0, [])
        while time.monotonic() < end:
            try:
                if not received.poll(3 * HANG_SECONDS):
                    _enter(faults, f"hang: over {3 * HANG_SECONDS} s", recipe)
                    break
                state, recipe, fault = received.recv()
            except EOFError:
                child.join()
                _enter(faults, f"the process ended with {child.exitcode}", recipe)
                break
            count += state == "read"
            if fault:
                _enter(faults, fault, recipe)
        child.kill()
        child.join()
        number += 1_000_000
    return count, faults


def _enter(faults: dict[str, tuple[Recipe, int]], fault: str, recipe: Any) -> None:
    first, times = faults.get(fault, (recipe, 0))
    faults[fault] = (min(first, recipe, key=lambda r: len(repr(r))), times + 1)


def main() -> int:
    """Fuzz the readers asked for, and print what was found; 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each reader")
    parser.add_argument("--reader", action="append", choices=list(SEEDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = 0
    for reader in options.reader or SEEDS:
        count, faults = fuzz(reader, options.minutes, options.seed)
        print(f"{reader}: {count:,} files, {len(faults)} faults", flush=True)
        for fault, (recipe, times) in faults.items():
            print(f"  {times:,} × {fault}\n      {recipe!r}", flush=True)
        found += len(faults)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
