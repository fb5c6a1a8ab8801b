"""Cost of the scope ``lora`` on a GPU: ``python -m oga_core.benchmarks.gpu --device cuda --json FILE`` (about a minute).

A BERT and a Llama of a billion parameters with random weights, 512 tokens a sample, in bfloat16 and in float32 without TF32.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from oga_core.benchmarks.gradients import compare
from oga_core.benchmarks.table import format_table
from oga_core.errors import InputError

BATCHES = {
    "cuda": (
        ("llama-1b", "bfloat16", 16),
        ("bert-base", "bfloat16", 64),
        ("llama-1b", "float32", 4),
        ("bert-base", "float32", 32),
    ),
    "cpu": (("tiny-bert", "bfloat16", 6), ("tiny-llama", "float32", 6)),
}
"""Model, precision and samples at a time, by device; those on the CPU only show that it works."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=sorted(BATCHES), default="cuda")
    parser.add_argument("--model", action="append", metavar="NAME", help="only this; may be repeated (default: all)")
    parser.add_argument("--against", default="vmap", metavar="NAMES", help="other libraries (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each method (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows are written")
    options = parser.parse_args(arguments)
    rows = []
    for model, dtype, batch in BATCHES[options.device]:
        if options.model and model not in options.model:
            continue
        try:
            found = compare(
                [model], None, options.against, batch=batch, repeats=options.repeats, device=options.device, dtype=dtype
            )
        except (InputError, RuntimeError, AssertionError) as error:  # a model too large for the GPU must not cost the others
            print(f"{model} in {dtype}: {error}", file=sys.stderr, flush=True)
            continue
        rows += [{**row, "dtype": dtype, "batch": batch} for row in found]
        print(format_table(found), end="\n\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1), "utf-8")
        if options.device == "cuda":
            torch.cuda.empty_cache()
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
